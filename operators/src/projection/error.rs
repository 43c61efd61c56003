//! What can go wrong with a projection and a query.

use std::time::Duration;

use super::{EffectId, Lag};
use millstream_engine::codec::{DecodeError, EncodeError};
use millstream_engine::event::{PartitionId, Position};
use millstream_engine::log::LogError;
use millstream_engine::state::StateError;

/// Why a query gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The read model had not come far enough when the deadline passed. Ask again, or for less.
    #[error(
        "{projection} is {behind} events behind what was asked for in partition {partition}, after {waited:?}"
    )]
    Behind {
        /// Name of the projection.
        projection: &'static str,
        /// A partition in which it is behind.
        partition: PartitionId,
        /// Events that it still has to apply there.
        behind: u64,
        /// How long the query waited.
        waited: Duration,
    },
    /// The read model was further behind the log than the query allows when the deadline passed.
    #[error(
        "{projection} is {} events and {:?} behind the log, which is more than was asked for, after {waited:?}",
        .lag.events, .lag.age
    )]
    Stale {
        /// Name of the projection.
        projection: &'static str,
        /// How far it is behind.
        lag: Lag,
        /// How long the query waited.
        waited: Duration,
    },
    /// The projection begins again after a failure and takes back the rows that it had not stored; it was not done when the
    /// deadline passed. Ask again.
    #[error(
        "{projection} begins again and was still taking back what it had not stored after {waited:?}"
    )]
    BeginsAgain {
        /// Name of the projection.
        projection: &'static str,
        /// How long the query waited.
        waited: Duration,
    },
    /// The projection was given up: it will not come further before the process is started again.
    #[error("{projection} was given up: {cause}")]
    Stopped {
        /// Name of the projection.
        projection: &'static str,
        /// Why.
        cause: String,
    },
    /// The table is a dataflow's, which cannot say yet which events of the log its rows come from: ask without a
    /// token, or wait for the dataflow's end.
    #[error("table {table:?} is a dataflow's: it cannot be asked to have seen a token")]
    NoPositions {
        /// Name of the table.
        table: &'static str,
    },
    /// No projection of the topology has this table.
    #[error("no projection of this topology has a table {table:?} with such keys and rows")]
    UnknownTable {
        /// Name of the table.
        table: &'static str,
    },
    /// Another version of the projection answers now. Ask for its tables, or for this version by itself with
    /// `Engine::version`.
    #[error(
        "version {active} of {projection} answers now, and {asked} was asked for as version {version} has it"
    )]
    OtherVersion {
        /// Name of the projection.
        projection: &'static str,
        /// What was asked for.
        asked: &'static str,
        /// Version that has it.
        version: u32,
        /// Version that answers.
        active: u32,
    },
    /// The version that the reader was got of was dropped: get another reader.
    #[error("version {version} of {projection} was dropped: get another reader")]
    Dropped {
        /// Name of the projection.
        projection: &'static str,
        /// Its version.
        version: u32,
    },
    /// The topology has no such projection.
    #[error("the topology has no projection {projection:?}: add it with .projection(…)")]
    UnknownProjection {
        /// Its name.
        projection: &'static str,
    },
    /// More rows have changed while a snapshot was open than it may keep: open another one, and let it go sooner.
    #[error(
        "more than {rows_max} rows of table {table:?} have changed since the snapshot was opened: open another one"
    )]
    SnapshotLost {
        /// Name of the table.
        table: &'static str,
        /// Rows that a snapshot keeps.
        rows_max: usize,
    },
    /// The dataflow that writes the table began again while a snapshot was open.
    #[error("table {table:?} was made anew since the snapshot was opened: open another one")]
    MadeAnew {
        /// Name of the table.
        table: &'static str,
    },
    /// The table has no such index.
    #[error("table {table:?} has no index {index:?}: name it in .indexed(…)")]
    UnknownIndex {
        /// Name of the table.
        table: &'static str,
        /// Name of the index.
        index: &'static str,
    },
    /// What the answer needs of the versions of rows is not kept any more: ask for a later moment, or for a replay.
    #[error(
        "versions of table {table:?} as of this moment are not kept any more: replay the log, or ask for a later one"
    )]
    VersionsGone {
        /// Name of the table.
        table: &'static str,
    },
    /// A cursor goes on with the range, the order and the table that it came from.
    #[error("the cursor is of another table, index, range or order")]
    ForeignCursor,
    /// The log does not have the event of this effect any more, as after the restore of a backup: others may have come to its place.
    /// Discard it; what it was can be seen in the list.
    #[error(
        "the log does not have the event at {position} any more that the effect is of: discard it"
    )]
    EventGone {
        /// Where it was.
        position: Position,
    },
    /// Another effect was given up at this place than the one that is to be settled: it is as it was. List them anew.
    #[error(
        "effect {index} of the event at {position} is another one by now, {}, and {} was to be settled: list them anew",
        told(*found), told(*asked)
    )]
    OtherEffect {
        /// Of the event.
        position: Position,
        /// Number of the effect among those of its event.
        index: u32,
        /// Which one was to be settled.
        asked: Option<EffectId>,
        /// Which one is there.
        found: Option<EffectId>,
    },
    /// The stored rows could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row cannot be written.
    #[error("a row cannot be written: {0}")]
    Unwritable(EncodeError),
    /// A stored row is not of the table's type: raise the projection's version.
    #[error("a stored row cannot be read: {0}")]
    Row(#[from] DecodeError),
}

/// An effect as errors name it.
fn told(effect: Option<EffectId>) -> String {
    effect.map_or_else(|| "a damaged one".to_owned(), |id| id.to_string())
}

impl QueryError {
    /// Whether the same query may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Behind { .. }
            | Self::Stale { .. }
            | Self::BeginsAgain { .. }
            | Self::SnapshotLost { .. }
            | Self::MadeAnew { .. } => true,
            Self::State(cause) => cause.is_retryable(),
            Self::Stopped { .. }
            | Self::NoPositions { .. }
            | Self::UnknownTable { .. }
            | Self::UnknownProjection { .. }
            | Self::OtherVersion { .. }
            | Self::Dropped { .. }
            | Self::UnknownIndex { .. }
            | Self::ForeignCursor
            | Self::EventGone { .. }
            | Self::OtherEffect { .. }
            | Self::VersionsGone { .. }
            | Self::Unwritable(_)
            | Self::Row(_) => false,
        }
    }
}

/// Why a row could not be read or written while an event was applied.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The store failed.
    #[error(transparent)]
    Store(StateError),
    /// The stored row is not of the table's type.
    #[error("a stored row cannot be read: {0}")]
    Decode(DecodeError),
    /// A row that the event changed cannot be written.
    #[error("a row cannot be stored: {0}")]
    Encode(EncodeError),
    /// Another row is found by the same in a unique index.
    #[error("another row is found by the same in the unique index {index:?}")]
    Taken {
        /// Name of the index.
        index: &'static str,
    },
    /// The key of an index's entry, which is what a row is found by and the row's key, has too many bytes.
    #[error(
        "an entry of index {index:?} of {bytes} bytes is too long: find the row by a hash or a prefix of it"
    )]
    EntryTooLong {
        /// Name of the index.
        index: &'static str,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The key of a version, which is the row's key and what tells its versions apart, has too many bytes.
    #[error(
        "a version's key of {bytes} bytes is too long: use a hash of the row's key, or let the table not be versioned"
    )]
    VersionTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The key has too many bytes.
    #[error("a row key of {bytes} bytes is too long: use a hash of it")]
    KeyTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
}

/// Why a projection could not be started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenProjectionError {
    /// What its predecessor stored last is still on its way.
    #[error("rows are still being stored")]
    InFlight,
    /// Its tables were made for another projection.
    #[error("the tables do not belong to this projection")]
    Tables,
    /// What it was given to read of other projections is not what [`Projection::reads`](super::Projection::reads) names.
    #[error("the tables that are given do not belong to the projections that it reads")]
    Reads,
    /// Another projection that it reads does not run: it was dropped, or the topology does not have it.
    #[error(
        "it reads table {table:?} of version {version} of {of:?}, which does not run: declare it again, in a version that was \
         not dropped, or read another version and raise the VERSION of this one"
    )]
    NotRunning {
        /// Name of the projection that is read.
        of: &'static str,
        /// Its version.
        version: u32,
        /// The table.
        table: &'static str,
    },
    /// The threads of owners of rows could not be made.
    #[error(
        "the threads of the owners of its rows could not be started ({0}): let there be fewer, by ProjectionConfig::owners"
    )]
    Threads(String),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
}
