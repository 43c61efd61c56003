//! Walking through everything that the log holds, and its stream indexes.

use std::ops::Bound;

use super::{EmbeddedReader, damaged, follows, offset_of, same_place};
use crate::event::{Offset, PartitionId};
use crate::index::IndexError;
use crate::log::frame::{Frame, FrameHeader};
use crate::log::index_chunks::{self, INDEX};
use crate::log::index_damage::Damage;
use crate::log::indexes::failed;
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
    /// Walks the log: the store's pages, each frame's checksum and hash, and the chain of each partition. The stream
    /// indexes, which are made of it, are looked at by [`verify_indexes`](Self::verify_indexes).
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

    /// Reads the stream indexes of all partitions, also beside who writes them; gives how many chunks they have. One that is
    /// damaged is noted as such beside the log, if this process may write there, so that the next opening makes it anew.
    ///
    /// # Errors
    /// [`LogError::Index`], of the first partition with a fault.
    pub fn verify_indexes(&self) -> Result<u64, LogError> {
        let table = self.environment.table(INDEX)?;
        let (mut chunks, mut fault) = (0, None);
        for partition in (0..self.partitions()).map(PartitionId) {
            match index_chunks::verify(&self.environment, table, partition) {
                Ok(read) => chunks += read,
                Err(cause) => {
                    let damage = Damage::of(&self.environment, partition);
                    // A newer program's index is none of ours to judge: a reader beside it may be the older one.
                    if !matches!(cause, IndexError::UnknownFormat { .. }) {
                        damage.note(&cause);
                    }
                    fault.get_or_insert(failed(partition, cause));
                }
            }
        }
        fault.map_or(Ok(chunks), Err)
    }

    /// Whether it is noted beside the log that the stream index of a partition is damaged: then the next opening for
    /// writing makes it anew.
    #[must_use]
    pub fn is_index_noted_damaged(&self, partition: PartitionId) -> bool {
        Damage::of(&self.environment, partition).is_noted()
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
