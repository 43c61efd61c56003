//! Limits of one partition.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::{BatchLimits, InvalidBatchLimits};
use crate::mailbox::MailboxLimits;

/// How long a command's id is remembered, together with its stream: until the first of these bounds is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupLimits {
    /// Ids remembered by a partition, one that went to several streams once for each. Default 262,144. More: some 150 bytes of
    /// memory for each.
    pub ids_max: usize,
    /// Events of the partition, with and without ids, after which an id is forgotten. Default 2,097,152.
    /// More: a longer start, which reads them again.
    pub events_max: u64,
    /// Time after which an id is forgotten, as events are recorded and as monotonic time says: the longer of both counts, so
    /// that a clock that jumps empties no window. Time in which no engine runs does not count. Default one hour.
    pub age_max: Duration,
}

impl Default for DedupLimits {
    fn default() -> Self {
        Self {
            ids_max: 262_144,
            events_max: 2_097_152,
            age_max: Duration::from_secs(3_600),
        }
    }
}

/// Limits of one partition; checked once by [`validate`](Self::validate) when the engine opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PartitionConfig {
    /// What may wait before callers do.
    pub mailbox: MailboxLimits,
    /// Bounds of a turn.
    pub batch: BatchLimits,
    /// How long command ids are remembered.
    pub dedup: DedupLimits,
    /// Frames that may wait for the disk. Default 4, 1..=64. More: the disk never waits for the next
    /// frame; less: larger frames, fewer of them.
    pub frames_in_flight_max: u32,
    /// Bytes of events after which a frame is sealed. Default 2 MiB, 1 KiB..=32 MiB; a command's events
    /// stay together even if they pass it.
    pub frame_bytes_max: usize,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self {
            mailbox: MailboxLimits::default(),
            batch: BatchLimits::default(),
            dedup: DedupLimits::default(),
            frames_in_flight_max: 4,
            frame_bytes_max: 2 << 20,
        }
    }
}

/// A field of [`PartitionConfig`] outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPartitionConfig {
    /// One of its own.
    #[error("partition config: `{field}` must be {wanted}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its range.
        wanted: &'static str,
    },
    /// One of the batch limits.
    #[error(transparent)]
    Batch(#[from] InvalidBatchLimits),
}

impl PartitionConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`InvalidPartitionConfig`] names the first field that is out of range.
    pub fn validate(&self) -> Result<(), InvalidPartitionConfig> {
        let wrong = |field, wanted| Err(InvalidPartitionConfig::Field { field, wanted });
        if !(1..=64).contains(&self.frames_in_flight_max) {
            return wrong("frames_in_flight_max", "in 1..=64");
        }
        if !(1 << 10..=32 << 20).contains(&self.frame_bytes_max) {
            return wrong("frame_bytes_max", "in 1 KiB..=32 MiB");
        }
        Ok(self.batch.validate()?)
    }
}
