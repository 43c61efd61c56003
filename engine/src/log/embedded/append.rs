//! The write side: groups of frames, each in one transaction with a slice of the index's upkeep.

use super::{EmbeddedStore, damaged, follows};
use crate::event::PartitionId;
use crate::fail_point;
#[cfg(feature = "failpoints")]
use crate::fail_points;
use crate::index::IndexWrite;
use crate::log::frame::{FrameHeader, SealedFrame};
use crate::log::indexes::OwnIndex;
use crate::log::{Head, LogError, LogStore, index_chunks};
use crate::store::StoreError;

/// Bytes of index upkeep that may share a transaction with frames: this, and half of the frames' own.
const UPKEEP_BYTES_MIN: usize = 64 << 10;

impl LogStore for EmbeddedStore {
    fn append(&mut self, group: &[SealedFrame]) -> Result<(), LogError> {
        fail_point!(LOG_BEFORE_TRANSACTION, |cause| fail_points::store_error(
            cause
        )
        .into());
        let mut heads = self.heads.clone();
        let mut txn = self.writer.begin()?;
        for frame in group {
            let partitions =
                u16::try_from(self.tables.len()).expect("opened with a u16 of partitions");
            let unknown = LogError::UnknownPartition {
                partition: frame.partition,
                partitions,
            };
            let head = heads
                .get_mut(usize::from(frame.partition.0))
                .ok_or(unknown)?;
            let header = FrameHeader::parse(&frame.bytes)
                .map_err(|cause| damaged(frame.partition, frame.first, cause))?;
            follows(frame.partition, head, &header)?;
            txn.put_append(
                self.tables[usize::from(frame.partition.0)],
                &frame.first.0.to_be_bytes(),
                &frame.bytes,
            )?;
            *head = Head {
                next: header.end(),
                hash: header.hash,
            };
        }
        let bytes = group.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        let upkept = upkeep(
            &self.indexes,
            &mut self.upkeep,
            &mut self.told,
            UPKEEP_BYTES_MIN + bytes / 2,
            |partition, writes| index_chunks::store(&mut txn, self.index_table, partition, writes),
        )?;
        fail_point!(LOG_BEFORE_COMMIT, |cause| fail_points::store_error(cause)
            .into());
        txn.commit()?;
        fail_point!(LOG_AFTER_COMMIT, |cause| fail_points::store_error(cause)
            .into());
        if let Some(index) = upkept {
            fail_point!(INDEX_FLUSHED);
            self.indexes[index].index.applied();
        }
        for frame in group {
            let partition = usize::from(frame.partition.0);
            self.indexes[partition].index.push(&frame.entries);
        }
        self.heads = heads;
        Ok(())
    }
}

/// One slice of upkeep for the first index that has something to do, from `next` on around.
///
/// Index failures do not stop the log, and the index is asked again in the next turn: behind damage it goes on to flush,
/// without merging, until it is made anew at the next opening.
pub(super) fn upkeep(
    indexes: &[OwnIndex],
    next: &mut usize,
    told: &mut [bool],
    budget_bytes: usize,
    store: impl FnOnce(PartitionId, Vec<IndexWrite>) -> Result<(), StoreError>,
) -> Result<Option<usize>, LogError> {
    for step in 0..indexes.len() {
        let at = (*next + step) % indexes.len();
        match indexes[at].index.maintain(budget_bytes) {
            Ok(None) => {}
            Ok(Some(writes)) => {
                // An index with work left keeps its turn until a whole run is done.
                *next = at;
                let partition =
                    PartitionId(u16::try_from(at).expect("opened with a u16 of partitions"));
                fail_point!(INDEX_BEFORE_FLUSH, |cause| fail_points::store_error(cause)
                    .into());
                store(partition, writes)?;
                return Ok(Some(at));
            }
            Err(cause) if cause.is_damage() => indexes[at].damage.note(&cause),
            Err(cause) => {
                if !std::mem::replace(&mut told[at], true) {
                    tracing::error!(partition = at, %cause, "stream index upkeep failed, it is tried again");
                }
            }
        }
    }
    Ok(None)
}
