//! The write side: groups of frames, each in one transaction with a slice of the index's upkeep.

use super::upkeep::Budget;
use super::{EmbeddedStore, damaged, follows};
use crate::fail_point;
#[cfg(feature = "failpoints")]
use crate::fail_points;
use crate::log::frame::{FrameHeader, SealedFrame};
use crate::log::{Head, LogError, LogStore, index_chunks};

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
        let entries = group.iter().map(|frame| frame.entries.len()).sum();
        let budget = Budget::beside(bytes, entries);
        let upkept = self
            .upkeep
            .slice(&self.indexes, &budget, |partition, writes| {
                index_chunks::store(&mut txn, self.index_table, partition, writes)
            })?;
        fail_point!(LOG_BEFORE_COMMIT, |cause| fail_points::store_error(cause)
            .into());
        txn.commit()?;
        fail_point!(LOG_AFTER_COMMIT, |cause| fail_points::store_error(cause)
            .into());
        if let Some(index) = upkept {
            fail_point!(INDEX_FLUSHED);
            self.upkeep.applied(&self.indexes, index);
        }
        for frame in group {
            let partition = usize::from(frame.partition.0);
            self.indexes[partition].index.push(&frame.entries);
        }
        self.heads = heads;
        Ok(())
    }
}
