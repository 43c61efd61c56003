//! Figures of a partition, for a person who asks what a log holds.

use std::ops::Bound;

use super::embedded::{damaged, offset_of};
use super::frame::FrameHeader;
use super::{EmbeddedReader, LogError};
use crate::event::PartitionId;
use crate::time::Timestamp;

/// Frames looked at in one read transaction, which is well under a millisecond.
const SLICE_FRAMES: usize = 1_024;

/// What [`EmbeddedReader::partition_stats`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionStats {
    /// Frames.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of the frames as they are stored, headers included.
    pub bytes: u64,
    /// When the first and the last event were recorded; `None` without events.
    pub recorded: Option<(Timestamp, Timestamp)>,
}

impl PartitionStats {
    fn add(&mut self, header: &FrameHeader, bytes: usize) {
        self.frames += 1;
        self.events += u64::from(header.count);
        self.bytes += bytes as u64;
        let first = self
            .recorded
            .map_or(header.recorded_first, |(first, _)| first);
        self.recorded = Some((first, header.recorded_last));
    }
}

impl EmbeddedReader {
    /// Counts the frames of a partition by their headers; what is written meanwhile may or may not be
    /// counted. Cost: one page per frame. Checksums are not looked at, see [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`], [`LogError::Frame`] for a header that makes no sense,
    /// [`LogError::Store`].
    pub fn partition_stats(&self, partition: PartitionId) -> Result<PartitionStats, LogError> {
        let table = self.table(partition)?;
        let mut stats = PartitionStats::default();
        let mut last: Option<Vec<u8>> = None;
        loop {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            // A read held for the whole walk would stop page reuse.
            let next = self.environment.read(|reader| {
                let mut next = None;
                let entries = reader.range(table, from, Bound::Unbounded)?;
                for entry in entries.take(SLICE_FRAMES) {
                    let (key, value) = entry?;
                    let offset = offset_of(partition, key)?;
                    let header = FrameHeader::parse(value)
                        .map_err(|cause| damaged(partition, offset, cause))?;
                    stats.add(&header, value.len());
                    next = Some(key.to_vec());
                }
                Ok::<_, LogError>(next)
            })??;
            match next {
                Some(key) => last = Some(key),
                None => return Ok(stats),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Offset;
    use crate::log::frame::FrameBuilder;
    use crate::log::frame::fixtures::{deposit, deposited};
    use crate::log::{EmbeddedLog, Head, LogStore};
    use crate::store::EnvironmentOptions;

    #[test]
    fn frames_events_bytes_and_times_are_counted_past_one_slice() {
        let folder = tempfile::tempdir().unwrap();
        let EmbeddedLog { mut store, reader } =
            EmbeddedLog::open(folder.path(), 2, EnvironmentOptions::default()).unwrap();
        let (mut head, mut bytes) = (Head::default(), 0);
        let mut frames = Vec::new();
        for at in 0..SLICE_FRAMES as i64 + 1 {
            let mut builder = FrameBuilder::new();
            let kind = builder.kind(&deposited());
            for slot in 0..2 {
                let draft = deposit(kind, head.next.0 + slot, b"abc");
                builder.push(Timestamp(at), &draft).unwrap();
            }
            let frame = builder
                .seal(PartitionId(1), head.next, uuid::Uuid::nil(), head.hash, &[])
                .unwrap();
            head = Head {
                next: head.next.plus(2),
                hash: frame.hash,
            };
            bytes += frame.bytes.len() as u64;
            frames.push(frame);
        }
        store.append(&frames).unwrap();
        let expected = PartitionStats {
            frames: 1_025,
            events: 2_050,
            bytes,
            recorded: Some((Timestamp(0), Timestamp(1_024))),
        };
        assert_eq!(head.next, Offset(expected.events));
        assert_eq!(reader.partition_stats(PartitionId(1)).unwrap(), expected);
        let empty = reader.partition_stats(PartitionId(0)).unwrap();
        assert_eq!(empty, PartitionStats::default());
        assert!(reader.partition_stats(PartitionId(2)).is_err());
    }
}
