//! The stream indexes of a log, by partition: those that its writer keeps, or others beside it.
//!
//! An index beside the writer's has its runs from its manifest, and the writer goes on: it merges them and deletes their
//! chunks. A look-up that misses a chunk opens the index again, and asks again.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::index_damage::Damage;
use super::{EmbeddedReader, LogError, index_chunks};
use crate::event::PartitionId;
use crate::index::{IndexError, IndexStats, StreamIndex};
use crate::store::Table;

/// How often a look-up opens its index again: each time the writer has to have merged and deleted what it was about to
/// read. One that misses a chunk still is told so.
const OPENED_AGAIN_MAX: usize = 8;

/// The indexes of all partitions; none where they were not opened.
#[derive(Clone, Debug)]
pub(super) enum Indexes {
    Own(Arc<Vec<OwnIndex>>),
    Beside(Arc<Vec<BesideIndex>>),
}

impl Default for Indexes {
    fn default() -> Self {
        Self::Own(Arc::default())
    }
}

/// The index of one partition, of the process that writes the log.
#[derive(Debug)]
pub(super) struct OwnIndex {
    pub(super) index: StreamIndex,
    pub(super) damage: Damage,
}

/// The index of one partition, opened beside the process that writes it.
#[derive(Debug)]
pub(super) struct BesideIndex {
    log: EmbeddedReader,
    table: Table,
    partition: PartitionId,
    damage: Damage,
    current: RwLock<Arc<StreamIndex>>,
    /// Held by the one who opens it again.
    opening: Mutex<()>,
}

impl Indexes {
    /// What the index of a partition answers. Damage that it meets is noted, so that the next opening makes it anew.
    pub(super) fn ask<T>(
        &self,
        partition: PartitionId,
        ask: impl Fn(&StreamIndex) -> Result<T, IndexError>,
    ) -> Result<T, LogError> {
        let at = usize::from(partition.0);
        let unknown = |partitions| LogError::UnknownPartition {
            partition,
            partitions,
        };
        match self {
            Self::Own(indexes) => {
                let own = indexes.get(at).ok_or(unknown(indexes.len() as u16))?;
                ask(&own.index).map_err(|cause| {
                    own.damage.note(&cause);
                    failed(partition, cause)
                })
            }
            Self::Beside(indexes) => {
                let beside = indexes.get(at).ok_or(unknown(indexes.len() as u16))?;
                beside.ask(ask)
            }
        }
    }

    /// Figures of one; `None` where there is none.
    pub(super) fn stats(&self, partition: PartitionId) -> Option<IndexStats> {
        let at = usize::from(partition.0);
        match self {
            Self::Own(indexes) => Some(indexes.get(at)?.index.stats()),
            Self::Beside(indexes) => Some(indexes.get(at)?.current().stats()),
        }
    }

    /// Notes that the index of a partition gave what cannot be true.
    pub(super) fn note(&self, partition: PartitionId, cause: &IndexError) {
        let at = usize::from(partition.0);
        let damage = match self {
            Self::Own(indexes) => indexes.get(at).map(|own| &own.damage),
            Self::Beside(indexes) => indexes.get(at).map(|beside| &beside.damage),
        };
        if let Some(damage) = damage {
            damage.note(cause);
        }
    }
}

impl BesideIndex {
    /// Cost: reads what the index does not hold yet.
    pub(super) fn open(
        log: &EmbeddedReader,
        table: Table,
        partition: PartitionId,
    ) -> Result<Self, LogError> {
        let index = index_chunks::open_beside(log, &log.environment, table, partition)?;
        Ok(Self {
            log: log.clone(),
            table,
            partition,
            damage: Damage::of(&log.environment, partition),
            current: RwLock::new(Arc::new(index)),
            opening: Mutex::default(),
        })
    }

    fn current(&self) -> Arc<StreamIndex> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn ask<T>(&self, ask: impl Fn(&StreamIndex) -> Result<T, IndexError>) -> Result<T, LogError> {
        let mut index = self.current();
        let mut opened_again = 0;
        loop {
            match ask(&index) {
                Err(IndexError::Missing { .. }) if opened_again < OPENED_AGAIN_MAX => {
                    opened_again += 1;
                    index = self.open_again(&index)?;
                }
                Err(cause) => {
                    // The writer may be of a newer program, or about to make the index anew.
                    if matches!(cause, IndexError::Corrupt { .. }) {
                        self.damage.note(&cause);
                    }
                    return Err(failed(self.partition, cause));
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// The index as it is now, in the place of one that is behind.
    fn open_again(&self, behind: &Arc<StreamIndex>) -> Result<Arc<StreamIndex>, LogError> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current();
        if !Arc::ptr_eq(&current, behind) {
            return Ok(current);
        }
        let (log, environment) = (&self.log, &self.log.environment);
        let index = index_chunks::open_beside(log, environment, self.table, self.partition)?;
        let index = Arc::new(index);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&index);
        Ok(index)
    }
}

/// The error of an index, as one of the log.
pub(super) fn failed(partition: PartitionId, cause: IndexError) -> LogError {
    LogError::Index {
        partition,
        cause: Arc::new(cause),
    }
}
