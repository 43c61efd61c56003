//! What can be wrong with a projection's reading of another one's tables, when it is declared and while it runs.

use super::super::QueryError;

/// Why a projection may not read a table of another one. Told when a topology is built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadFault {
    /// The topology does not have the version of the projection whose table is read.
    #[error(
        "it reads table {table:?} of version {version} of {of:?}, which the topology does not have: add it with \
         .projection(…) or .candidate(…), or read the version that it has and raise the VERSION of this one"
    )]
    Undeclared {
        /// Name of the projection that is read.
        of: &'static str,
        /// Its version.
        version: u32,
        /// The table.
        table: &'static str,
    },
    /// The projection that is read has no such table.
    #[error("{of:?} has no table {table:?} with such keys and rows")]
    NoTable {
        /// Name of the projection that is read.
        of: &'static str,
        /// The table.
        table: &'static str,
    },
    /// Only versions of rows say what they were as of a position.
    #[error(
        "table {table:?} of {of:?} keeps no versions of its rows: say .versioned(Retention::FOREVER) and raise its \
         projection's VERSION"
    )]
    NotVersioned {
        /// Name of the projection that is read.
        of: &'static str,
        /// The table.
        table: &'static str,
    },
    /// Rows that depend on the order in which partitions were read are not the same in a rebuild.
    #[error(
        "the rows of {of:?} are made by events of all partitions in no order that is kept, so they have no state as of a position: let its \
         rows be Rows::Global with Order::Recorded, or Rows::ByPartition"
    )]
    ByArrival {
        /// Name of the projection that is read.
        of: &'static str,
    },
    /// Rows that events of all partitions make can be read only by whoever sees these events in the same order.
    #[error(
        "the rows of {of:?} are made by events of all partitions, in the order in which they were recorded: let this \
         projection have Rows::Global and Order::Recorded too"
    )]
    OtherOrder {
        /// Name of the projection that is read.
        of: &'static str,
    },
    /// Each would wait for the other.
    #[error("it reads {of:?}, which reads it in turn: none of them could go first")]
    Cycle {
        /// Name of the projection that is read.
        of: &'static str,
    },
}

/// Why a row of another projection could not be looked up. Whatever the projection made of it does not count: it stops there,
/// since each later answer would be as wrong; an event that was freed late stays parked instead.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The projection does not say that it reads this table.
    #[error(
        "table {table:?} was looked into and is not declared with such keys and rows: name it in Projection::reads"
    )]
    Undeclared {
        /// The table.
        table: &'static str,
    },
    /// What the rows were as of the event's position is not kept any more.
    #[error(
        "what the rows of {of} in table {table:?} were as of this event is not kept any more: let the table keep versions \
         longer (Retention::FOREVER), raise the VERSION of {of}, and build both anew"
    )]
    Gone {
        /// Name of the projection that is read.
        of: &'static str,
        /// The table.
        table: &'static str,
    },
    /// The projection that is read had not stored all up to the event: it is waited for, so this is a fault of this program.
    #[error("{of} has not stored all up to the event for which table {table:?} was looked into")]
    NotStored {
        /// Name of the projection that is read.
        of: &'static str,
        /// The table.
        table: &'static str,
    },
    /// Rows could not be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The log could not be read for the place of an event that was freed late.
    #[error(transparent)]
    Log(#[from] millstream_engine::log::LogError),
}
