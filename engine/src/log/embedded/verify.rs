//! Walking through everything that the log holds.

use std::ops::Bound;

use super::{EmbeddedReader, damaged, follows, offset_of, same_place};
use crate::event::{Offset, PartitionId};
use crate::log::frame::{Frame, FrameHeader};
use crate::log::{Head, LogError, LogReader};
use crate::store::structure;

/// What [`EmbeddedReader::verify`] walked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Frames whose checksum, hash and place in the chain hold.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
}

impl EmbeddedReader {
    /// Walks everything: the store's pages, each frame's checksum and hash, and the chain of each partition.
    ///
    /// # Errors
    /// The first fault, with its partition and offset.
    pub fn verify(&self) -> Result<Verified, LogError> {
        self.environment.check(structure::Scope::Full)?;
        let mut verified = Verified::default();
        for partition in (0..self.partitions()).map(PartitionId) {
            let mut head = Head::default();
            // One short transaction per frame: a read held for the whole walk would stop page reuse.
            while let Some(header) = self.verified_at(partition, head.next)? {
                follows(partition, &head, &header)?;
                head = Head {
                    next: header.end(),
                    hash: header.hash,
                };
                verified.frames += 1;
                verified.events += u64::from(header.count);
            }
        }
        Ok(verified)
    }

    /// The first frame at or after `from`, checked in full.
    fn verified_at(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Result<Option<FrameHeader>, LogError> {
        let table = self.table(partition)?;
        self.environment.read(|reader| {
            let key = from.0.to_be_bytes();
            let Some(entry) = reader
                .range(table, Bound::Included(&key), Bound::Unbounded)?
                .next()
            else {
                return Ok(None);
            };
            let (key, value) = entry?;
            let offset = offset_of(partition, key)?;
            let frame =
                Frame::parse_verified(value).map_err(|cause| damaged(partition, offset, cause))?;
            same_place(partition, offset, frame.header())?;
            Ok(Some(*frame.header()))
        })?
    }
}
