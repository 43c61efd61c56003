//! What a partition is made from, and what outlives its core.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use crate::event::PartitionId;
use crate::log::{Committed, LogError, LogWriter, Stamps, StreamReader};
use crate::mailbox::Mailbox;
use crate::partition::{PartitionConfig, PartitionInput, Watch};
use crate::time::{Clock, Timestamp};

/// What outlives a core: its successor must know what is still on its way to the disk.
#[derive(Debug, Default)]
pub struct PartitionShared {
    pub(super) submitted: AtomicU64,
    pub(super) settled: AtomicU64,
    stopped: OnceLock<LogError>,
    pub(super) watch: Watch,
}

impl PartitionShared {
    /// Why nothing is decided any more, if so.
    #[must_use]
    pub fn stopped(&self) -> Option<&LogError> {
        self.stopped.get()
    }

    /// What the partition is busy with.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(super) fn settle(&self, number: u64, committed: &Committed) {
        match committed {
            Ok(_) => self.settled.store(number, Ordering::Release),
            Err(cause) => {
                // The first cause stays.
                let _ = self.stopped.set(cause.clone());
            }
        }
    }
}

/// What a core is made from.
pub struct PartitionParts {
    /// Its partition.
    pub partition: PartitionId,
    /// Its limits, validated.
    pub config: PartitionConfig,
    /// Where its inputs' lanes belong.
    pub mailbox: Arc<Mailbox>,
    /// What feeds it.
    pub inputs: Vec<Box<dyn PartitionInput>>,
    /// Where its frames go.
    pub writer: LogWriter,
    /// Durable events.
    pub streams: Arc<dyn StreamReader>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Draws the base of a frame's event ids; [`random_ids`](super::random_ids) but in simulations.
    pub ids: fn(Timestamp) -> Uuid,
    /// When its events are recorded; the same for all partitions.
    pub stamps: Arc<Stamps>,
    /// The same for every incarnation.
    pub shared: Arc<PartitionShared>,
}

impl fmt::Debug for PartitionParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionParts")
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

/// Why a partition could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenPartitionError {
    /// Frames of the core before are still on their way to the disk: try again in a moment.
    #[error("{frames} frames are still being written")]
    InFlight {
        /// How many.
        frames: u64,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}
