//! The runtime of dataflows: operators fused into stages, stages joined by edges.
//!
//! Place: above mailboxes and stages; `operators` supplies what is named (maps, windows, joins), `topologies`
//! declares and starts. A [`FlowStage`] is a [`Head`] (a [`SourceHead`], an [`Inlet`] or [`TwoInlets`]) that drives
//! one fused [`Operator`], whose last part is an [`Outlet`] or a sink.
//! Invariants: (1) between two exchanges nothing is boxed or queued per item: operators are composed by type
//! and call each other; (2) batches, watermarks, idleness and the end travel in the lanes, in order, and a
//! watermark follows every item it covers; (3) a stage whose output was refused as full takes no further input
//! until that output is queued, so memory is bounded by the mailboxes plus one turn's output; (4) the merged
//! watermark of a stage never decreases.
//! Threads: a stage is stepped by one thread at a time; edges are crossed by batches.
//! Failure: an operator that panics ends its stage; what that means for the dataflow is the deployer's business.
//! Cost: per item the operators' own work, and at an exchange one hash and one push; the rest is per batch.
//! Not here: any operator by name; when checkpoints are taken and where they are kept, see [`checkpoint`](crate::checkpoint).

mod alignment;
mod barriers;
mod edge;
mod fence;
mod head;
mod inlet;
mod inner_sink;
mod lanes;
mod load;
mod merge;
mod message;
mod operator;
mod outlet;
mod processing_time;
mod resources;
mod route;
mod source;
mod source_head;
mod stage;
mod watermarks;

pub use crate::{inner_sink, stateless};
pub use alignment::Alignment;
pub use edge::{BatchSize, Edge, EdgeOptions, Wiring};
pub(crate) use fence::Fenced;
pub use fence::{Fence, Pass};
pub use head::{Head, Pull, tell_end};
pub(crate) use inlet::KIND as INPUT_KIND;
pub use inlet::{Inlet, Side, TwoInlets};
pub use load::{StageLoad, StageMeter};
pub use merge::{Merged, WatermarkMerger};
pub use message::Message;
pub use operator::{Discard, Emit, Fault, Identity, Operator, Then, Turn};
pub use outlet::Outlet;
pub use resources::Resources;
pub use route::{Broadcast, ByKey, Forward, Rebalance, Route, exchange_hash, target_of};
pub use source::{Pulled, SeekError, Source, number_position, position_number};
pub use source_head::{SourceHead, SourceOptions, Split};
pub use stage::{FlowStage, FlowStageParts};
pub use watermarks::{Ascending, BoundedOutOfOrderness, NoWatermarks, Punctuated, WatermarkPolicy};
