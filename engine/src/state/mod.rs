//! What is derived from the log: rows of projections, their progress, snapshots and dead letters.
//!
//! Place: `store` -> **`state`** -> stages and partitions. A second LMDB environment in the folder
//! `state/` beside `log/`. Everything in it can be rebuilt from the log, so a commit syncs data but not the meta
//! page: a power failure may undo the last commits, never half of one.
//! Invariants: (1) all writes of a [`StateBatch`] are committed in one transaction or not at all, so rows and
//! the [`Progress`] that explains them never disagree; (2) ids of projections and tables are never used
//! twice, so what is left of a dropped projection is never read as another's; (3) after a failed commit
//! nothing is written by this process again.
//! Threads: [`StateStore`] clones cheaply and never waits for the writer; [`StateWriter`] belongs to the
//! thread that [`start`] makes and that is reached through [`StateWriterHandle`], a bounded queue.
//! Failure: damage of the file is found at open, the folder is set aside and made anew. A snapshot that
//! cannot be read is `None`; progress that does not fit the log is seen by [`Progress::check`].
//! Cost: one fdatasync per commit group, and a CRC32C per entry.
//! Not here: what rows mean (see `codec`), when snapshots are taken, which key is parked and why.

mod batch;
mod budget;
mod catalog;
mod chain;
mod dead_letter;
mod drops;
mod earlier;
mod error;
mod gate;
mod layout;
mod letting_go;
mod options;
mod page;
mod progress;
mod registration;
mod room;
mod seal;
mod service;
mod snapshot;
mod stopped;
mod store;
mod verify;
mod versions;
mod view;
mod wire;
mod writer;

// The lock of `Room`; its loom test puts loom's in its place.
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard};
}

pub use batch::{Done, StateBatch, StateWrite};
pub use catalog::{FoundTable, NAME_BYTES_MAX, ProjectionId, RegisteredProjection, TableId};
pub use dead_letter::{
    CAUSES_MAX, DeadLetter, DeadLetterId, DeadLetterStatus, EARLIER_MAX, EarlierTries,
    FOLLOWERS_MAX, ParseDeadLetterIdError,
};
pub use error::StateError;
pub use letting_go::SeenLetter;
pub use options::StateOptions;
pub use page::RowPage;
pub use progress::{Progress, ProgressStanding};
pub use service::{
    Refused, StateWriterHandle, StateWriterThread, SteppedStateWriter, start, stepped,
};
pub use snapshot::{SNAPSHOT_BYTES_MAX, Snapshot};
pub use store::StateStore;
pub use versions::ProjectionVersions;
pub use view::{Row, RowsSize, StateView};
pub use writer::StateWriter;

/// Longest key of a row, in bytes: LMDB's limit less the table's id. Hash longer ones.
pub const ROW_KEY_BYTES_MAX: usize = crate::store::KEY_BYTES_MAX - 4;

#[cfg(test)]
mod tests;
