//! What is written together.

use std::fmt;

use super::budget::Share;
use super::{
    DeadLetter, DeadLetterId, Progress, ProjectionId, ROW_KEY_BYTES_MAX, SNAPSHOT_BYTES_MAX,
    Snapshot, StateError, TableId,
};
use crate::event::{PartitionId, StreamId};

/// Called once with the outcome of a batch, on the writer's thread: keep it short, and let it not panic.
pub type Done = Box<dyn FnOnce(Result<(), StateError>) + Send>;

/// Largest value of a row in bytes: LMDB's values end at 4 GiB, a commit should be far below.
const ROW_BYTES_MAX: usize = 1 << 30;
/// What a write costs beyond its bytes: the page that it changes.
const PAGE_BYTES: u64 = 4_096;

/// One atomic change: all writes are committed in one transaction, in their order, or none is.
#[derive(Default)]
pub struct StateBatch {
    /// What to write.
    pub writes: Vec<StateWrite>,
    /// Whom to tell. `Ok` means visible to every later read and safe from the death of this process; only
    /// [`sync`](super::StateWriterHandle::sync) makes it safe from a power failure.
    pub done: Option<Done>,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StateWrite {
    /// Stores a row, in place of an earlier one.
    PutRow {
        /// Its table.
        table: TableId,
        /// Its key, at most [`ROW_KEY_BYTES_MAX`] bytes.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Removes a row, if it is there.
    DeleteRow {
        /// Its table.
        table: TableId,
        /// Its key.
        key: Vec<u8>,
    },
    /// Says how far a projection has come.
    Progress {
        /// The projection.
        projection: ProjectionId,
        /// The partition of which it has applied events.
        partition: PartitionId,
        /// How far it has come.
        progress: Progress,
    },
    /// Forgets how far a projection has come.
    DeleteProgress {
        /// The projection.
        projection: ProjectionId,
        /// The partition.
        partition: PartitionId,
    },
    /// Stores the state of an aggregate, in place of an earlier one.
    Snapshot {
        /// Its stream.
        stream: StreamId,
        /// Its state.
        snapshot: Snapshot,
    },
    /// Removes the state of an aggregate, if it is there.
    DeleteSnapshot {
        /// Its stream.
        stream: StreamId,
    },
    /// Stores a dead letter, in place of the one with the same id.
    DeadLetter(Box<DeadLetter>),
    /// Removes a dead letter, if it is there.
    DeleteDeadLetter(DeadLetterId),
}

impl StateBatch {
    /// A batch that nobody waits for.
    pub fn new(writes: Vec<StateWrite>) -> Self {
        Self { writes, done: None }
    }

    /// The same batch with somebody to tell.
    #[must_use]
    pub fn on_done(self, done: impl FnOnce(Result<(), StateError>) + Send + 'static) -> Self {
        Self {
            done: Some(Box::new(done)),
            ..self
        }
    }

    /// What the batch counts for in a commit group, in bytes: its content, and a page per write.
    pub fn bytes(&self) -> u64 {
        let content: u64 = self.writes.iter().map(StateWrite::content_bytes).sum();
        content + self.writes.len() as u64 * PAGE_BYTES
    }

    /// What the batch counts for while it waits, in bytes: about the memory that it holds.
    pub fn memory_bytes(&self) -> u64 {
        let content: u64 = self.writes.iter().map(StateWrite::content_bytes).sum();
        content + self.writes.len() as u64 * size_of::<StateWrite>() as u64
    }

    /// Whether it can be stored at all. Done before a batch is queued, so that a mistake of one caller
    /// does not stop the writer for all.
    ///
    /// # Errors
    /// [`StateError::RowKey`], [`StateError::TooLarge`].
    pub fn check(&self) -> Result<(), StateError> {
        self.writes.iter().try_for_each(StateWrite::check)
    }
}

impl StateWrite {
    fn content_bytes(&self) -> u64 {
        let content = match self {
            Self::PutRow { key, value, .. } => key.len() + value.len(),
            Self::DeleteRow { key, .. } => key.len(),
            Self::Snapshot { snapshot, .. } => snapshot.bytes.len(),
            Self::DeadLetter(letter) => letter.bytes(),
            Self::Progress { .. }
            | Self::DeleteProgress { .. }
            | Self::DeleteSnapshot { .. }
            | Self::DeleteDeadLetter(_) => 0,
        };
        content as u64
    }

    fn check(&self) -> Result<(), StateError> {
        let (what, bytes, max) = match self {
            Self::PutRow { key, .. } | Self::DeleteRow { key, .. }
                if key.len() > ROW_KEY_BYTES_MAX =>
            {
                return Err(StateError::RowKey {
                    length: key.len(),
                    max: ROW_KEY_BYTES_MAX,
                });
            }
            Self::PutRow { value, .. } => ("a row", value.len(), ROW_BYTES_MAX),
            Self::Snapshot { snapshot, .. } => {
                ("a snapshot", snapshot.bytes.len(), SNAPSHOT_BYTES_MAX)
            }
            Self::DeadLetter(letter) => ("a dead letter", letter.bytes(), ROW_BYTES_MAX),
            Self::DeleteRow { .. }
            | Self::Progress { .. }
            | Self::DeleteProgress { .. }
            | Self::DeleteSnapshot { .. }
            | Self::DeleteDeadLetter(_) => return Ok(()),
        };
        if bytes > max {
            return Err(StateError::TooLarge {
                what,
                bytes: bytes as u64,
                max: max as u64,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for StateBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateBatch")
            .field("writes", &self.writes.len())
            .field("done", &self.done.is_some())
            .finish()
    }
}

/// A batch on its way: whoever waits for it is answered even when it is dropped on the way.
#[derive(Debug)]
pub(super) struct Pending {
    batch: Option<StateBatch>,
    /// Its part of the queue's bytes, held until it is answered.
    share: Option<Share>,
}

impl Pending {
    pub(super) fn new(batch: StateBatch, share: Option<Share>) -> Self {
        Self {
            batch: Some(batch),
            share,
        }
    }

    pub(super) fn writes(&self) -> &[StateWrite] {
        self.batch.as_ref().map_or(&[], |batch| &batch.writes)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.batch.as_ref().map_or(0, StateBatch::bytes)
    }

    /// Gives the batch back unanswered.
    pub(super) fn take(mut self) -> StateBatch {
        self.batch.take().unwrap_or_default()
    }

    pub(super) fn answer(mut self, outcome: Result<(), StateError>) {
        // Given back first: whoever is told may submit the next one at once.
        self.share = None;
        if let Some(done) = self.batch.take().and_then(|batch| batch.done) {
            done(outcome);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(done) = self.batch.take().and_then(|batch| batch.done) {
            done(Err(StateError::Closed));
        }
    }
}
