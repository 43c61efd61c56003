//! What can go wrong with the log.

use std::sync::Arc;

use super::frame::FrameError;
use crate::event::{Offset, PartitionId};
use crate::index::IndexError;
use crate::store::StoreError;

/// Why the log gave no answer. A failed append stored nothing of its group that a reader could see.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The store below failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// A stored frame is not what was written: restore the log from a backup.
    #[error("partition {partition}, frame at offset {offset}: {cause}")]
    Frame {
        /// The partition.
        partition: PartitionId,
        /// First offset of the frame.
        offset: Offset,
        /// What is wrong with it.
        cause: FrameError,
    },
    /// Frames do not follow each other: one is missing, doubled or exchanged.
    #[error("partition {partition}: frame at offset {found} follows {expected}: {what}")]
    Chain {
        /// The partition.
        partition: PartitionId,
        /// Where the frame should begin.
        expected: Offset,
        /// Where it begins.
        found: Offset,
        /// What does not fit.
        what: &'static str,
    },
    /// The store was created with another number of partitions, which is fixed for its life.
    #[error("the log has {stored} partitions, {asked} were asked for: open it with {stored}")]
    Partitions {
        /// Number in the store.
        stored: u16,
        /// Number asked for.
        asked: u16,
    },
    /// The folder holds something that is not a log of this program, or what the log says of itself is damaged. Nothing was changed.
    #[error("the log's description is not readable: {what}")]
    Description {
        /// What was found.
        what: String,
    },
    /// The stream index of a partition gave no answer. One that is damaged is made anew from the log when that is opened
    /// for writing again; any other cause may be gone by the next try.
    #[error("stream index of partition {partition}: {cause}")]
    Index {
        /// The partition.
        partition: PartitionId,
        /// What is wrong with it.
        cause: Arc<IndexError>,
    },
    /// No such partition in this log.
    #[error("the log has {partitions} partitions, there is no partition {partition}")]
    UnknownPartition {
        /// The partition asked for.
        partition: PartitionId,
        /// Number of partitions.
        partitions: u16,
    },
    /// The log was closed in order; nothing of this was stored.
    #[error("the log was closed")]
    Closed,
    /// The store panicked while it appended, or whoever the writer told of it: a bug. Whether anything was stored is not known.
    #[error("the log's writer panicked")]
    Panicked,
    /// An earlier append failed, and after that nothing is written by this process: restart it.
    #[error("the log stopped writing: {cause}; start the process again once that is mended")]
    Stopped {
        /// The first failure.
        cause: Arc<LogError>,
    },
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}
