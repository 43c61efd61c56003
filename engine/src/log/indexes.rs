//! The stream indexes of a log, by partition, and how a look-up that fails is told.

use std::sync::Arc;

use super::LogError;
use super::index_damage::Damage;
use crate::event::PartitionId;
use crate::index::{IndexError, StreamIndex};

/// The index of one partition.
#[derive(Debug)]
pub(super) struct PartitionIndex {
    pub(super) index: StreamIndex,
    pub(super) damage: Damage,
}

impl PartitionIndex {
    /// What `ask` is answered. Damage that it meets is noted, so that the next opening makes the index anew.
    pub(super) fn ask<T>(
        &self,
        partition: PartitionId,
        ask: impl Fn(&StreamIndex) -> Result<T, IndexError>,
    ) -> Result<T, LogError> {
        ask(&self.index).map_err(|cause| {
            self.damage.note(&cause);
            failed(partition, cause)
        })
    }
}

/// The error of an index, as one of the log.
pub(super) fn failed(partition: PartitionId, cause: IndexError) -> LogError {
    LogError::Index {
        partition,
        cause: Arc::new(cause),
    }
}
