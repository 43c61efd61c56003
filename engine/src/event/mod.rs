//! The words every layer shares: streams, positions, tokens, event identities and recorded events.
//!
//! Invariants: a [`StreamId`] is valid by construction; the hash that places a stream in a partition
//! is part of the on-disk format and held by golden tests. Not here: payload bytes (see `codec`).

mod metadata;
mod position;
mod recorded;
mod seal;
mod stream_id;

pub use metadata::{EventId, Metadata};
pub use position::{Offset, PartitionId, Position, Token};
pub use recorded::Recorded;
pub use seal::{StoreId, TokenKey, TokenSeal, UnsealError};
pub use stream_id::{STREAM_ID_BYTES_MAX, StreamId, StreamIdError, partition_of, stream_hash};
