//! The single writer of a partition: it assigns offsets and versions, and nobody else does.
//!
//! Place: callers -> mailbox lanes -> **partition** -> [`log`](crate::log) writer -> replies. Whatever is
//! appended to a partition, by commands, raw appends or sinks, comes through a [`PartitionInput`] of
//! its one [`PartitionCore`], which is a plain step core and runs as a stage.
//! How a turn works: each input decides what it drained against its own state in memory and appends events to
//! the frame under construction; the frame is sealed and handed to the log's writer, and the turn's
//! replies go with it. The next turn begins at once, on state that is not durable yet.
//! Invariants: (1) offsets and versions have no gaps; (2) nobody is answered before every frame is durable
//! whose state the answer was decided on, which for a rejection means the frames before it; (3) at most
//! [`frames_in_flight_max`](PartitionConfig::frames_in_flight_max) frames wait for the disk, so a slow disk
//! makes batches larger instead of queues longer; (4) recorded time never decreases.
//! Failure: after a failed commit nothing is decided any more; every caller gets "outcome unknown" or
//! "stopped". A core that panics is made anew from the log once its frames in flight are settled.
//! Threads: one steps the core; replies are given on the log writer's thread.

mod append;
mod appender;
mod config;
mod core;
mod dedup;
mod error;
mod expected;
mod heads;
mod input;
mod meter;
mod turn;
mod watch;

pub use self::core::{
    OpenPartitionError, PartitionCore, PartitionParts, PartitionShared, random_ids,
};
pub use append::{AppendRequest, Appended, Appends};
pub use appender::{Appender, EncodeFn, NewEvent, Payload};
pub use config::{DedupLimits, InvalidPartitionConfig, PartitionConfig};
pub use dedup::{CommandId, DedupWindow, Moment, Seen};
pub use error::{AppendError, TryAppendError};
pub use expected::{Conflict, Expected};
pub use input::{Completion, PartitionInput, Replies, Reply};
pub use turn::{Target, Turn, TurnError, TurnMark};
pub use watch::Watch;
