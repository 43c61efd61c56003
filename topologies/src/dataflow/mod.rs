//! Dataflows: declared as typed streams, checked as a whole, run as stages of actors.
//!
//! Place: above `operators`, whose operators the methods of [`Stream`] and [`KeyedStream`] put together. A
//! [`Flow`] collects what is declared; `build` (of a topology, or [`Dataflow::build`] for one alone) checks it and
//! names everything that is wrong; [`Dataflow::start`] runs it on the current tokio runtime, and
//! [`Driver`] steps the same stages on one thread with a clock of the test's.
//! Not here: what operators do.

mod apart;
mod channels;
mod check;
pub(crate) mod chosen;
mod deploy;
mod driver;
mod driver_tables;
mod failing;
mod feed;
mod file_sink;
mod files;
mod flow;
mod forks;
mod guard;
mod handle;
pub(crate) mod home;
mod items;
mod joins;
mod keyed;
mod left_letters;
mod log;
mod log_sink;
mod open_all;
mod origin;
mod paced;
#[cfg(feature = "parquet")]
mod parquet;
mod patterns;
mod pre_aggregated;
mod pressure;
mod processed;
mod reach;
mod run;
mod sink;
mod site;
mod source;
mod stream;
pub(crate) mod table;
mod unnamed;
mod windowed;
mod windows;

#[cfg(test)]
mod tests;

pub use channels::Received;
pub use check::{DataflowFault, InvalidDataflow};
pub use deploy::{RunDataflowError, StartDataflowError};
pub use driver::Driver;
pub use failing::{Tried, TriedByKey, TriedProcess};
pub use feed::{Feed, FeedSource};
pub use files::Files;
pub use flow::{Dataflow, Flow, FlowOptions, SideOutput};
pub use forks::Branch;
pub use handle::{DataflowHandle, DataflowStatus, Failure, SavepointError, TakeCheckpointError};
pub(crate) use handle::{Stalled, StalledStage};
pub use items::Items;
pub use joins::{
    ForeignJoinedStream, ForeignJoining, IntervalJoining, JoinBothSides, JoinInTime, JoinLeft,
    JoinOf, JoinedStream, JoinedTables, Joining, Meeting, TableJoining, Unbounded, Undecided,
    UniqueRight, WindowJoining,
};
pub use keyed::KeyedStream;
pub use log::{LogFrom, LogPlan};
pub use origin::{InletOrigin, Opening, Origin, PairOrigin};
pub use paced::{AsyncOrigin, RateLimitOrigin};
#[cfg(feature = "parquet")]
pub use parquet::ParquetFiles;
pub use patterns::PatternStream;
pub use pre_aggregated::PreAggregated;
pub use processed::Processed;
pub use sink::Collected;
pub(crate) use site::FilesNote;
pub use source::{
    Generate, IteratorSource, SourceBuilder, SourceNotes, SourceOrigin, SourcePlan, Timestamped,
    WithoutTime,
};
pub use stream::Stream;
pub use windowed::WindowedStream;
pub use windows::{Retracting, WindowKind};
