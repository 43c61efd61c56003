//! Reads of one stream: the index says where its events may lie, the frames say whose they are.
//!
//! Two streams may share a hash, so every record is compared with the stream's name. What an index
//! answers without gaps stays without gaps after the strangers are dropped.

use std::sync::Arc;

use super::frame::{Frame, Record};
use super::indexes::failed;
use super::{LogError, LogReader};
use crate::event::{Offset, PartitionId, StreamId};
use crate::index::{IndexEntry, IndexError};

/// Which way a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forwards,
    /// Newest first.
    Backwards,
}

/// A log that can find the events of one stream.
pub trait StreamReader: LogReader {
    /// Where events with this hash lie from `from_version` (inclusive) on, at most `limit`, in order of
    /// version. See [`StreamIndex`](crate::index::StreamIndex) for streams that share a hash.
    ///
    /// # Errors
    /// [`LogError::Index`], [`LogError::UnknownPartition`].
    fn locate(
        &self,
        partition: PartitionId,
        hash: u64,
        from_version: u64,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<IndexEntry>, LogError>;

    /// Tells that what [`locate`](Self::locate) answered cannot be true.
    fn index_failed(&self, _partition: PartitionId, _cause: &IndexError) {}
}

/// A stream whose name was split and hashed already.
#[derive(Clone, Copy, Debug)]
pub struct StreamRef<'a> {
    /// Its partition.
    pub partition: PartitionId,
    /// What stands before the first `-`.
    pub category: &'a str,
    /// What stands behind it.
    pub id: &'a str,
    /// Hash of the whole id.
    pub hash: u64,
}

impl<'a> StreamRef<'a> {
    /// The stream `id` in a log of `partitions` partitions.
    pub fn new(id: &'a StreamId, partitions: u16) -> Self {
        Self {
            partition: id.partition(partitions),
            category: id.category(),
            id: id.id(),
            hash: id.hash(),
        }
    }

    fn owns(&self, record: &Record<'_>) -> bool {
        record.stream == self.id && record.kind.category == self.category
    }
}

/// Entries asked of the index at a time.
const PAGE: usize = 1_024;

/// Hands up to `limit` events of a stream to `with`, from `from_version` (inclusive) on, with the frame
/// that holds each, and gives how many there were. Fewer than `limit` only at the stream's end. None is left out: versions
/// follow each other.
///
/// Cost: a look into the index per page and one unpacked frame per frame that holds an event.
///
/// # Errors
/// As [`StreamReader::locate`] and [`LogReader::frame_at`], and whatever `with` answers, at once. [`LogError::Index`] with
/// [`IndexError::Versions`] where the index passes over an event.
pub fn for_each_event<R: StreamReader + ?Sized, E: From<LogError>>(
    reader: &R,
    stream: StreamRef<'_>,
    from_version: u64,
    limit: usize,
    direction: Direction,
    mut with: impl FnMut(&Arc<Frame>, &Record<'_>) -> Result<(), E>,
) -> Result<usize, E> {
    let (mut next, mut seen, mut page) = (from_version, 0, PAGE.min(limit));
    let mut held: Option<Arc<Frame>> = None;
    let mut expected = (direction == Direction::Forwards).then_some(from_version);
    while seen < limit {
        let entries = reader.locate(stream.partition, stream.hash, next, page, direction)?;
        let mut last = None;
        for entry in &entries {
            let frame = frame_with(reader, stream.partition, Offset(entry.offset), &mut held)?;
            let slot = entry.offset - frame.header().first.0;
            let record = frame.records_from(slot as u32).next();
            let Some(record) = record.filter(|record| stream.owns(record)) else {
                continue;
            };
            if expected.is_some_and(|expected| expected != record.version) {
                return Err(passed_over(reader, stream, expected, record.version).into());
            }
            expected = match direction {
                Direction::Forwards => record.version.checked_add(1),
                Direction::Backwards => record.version.checked_sub(1),
            };
            with(&frame, &record)?;
            last = Some(record.version);
            seen += 1;
            if seen == limit {
                return Ok(seen);
            }
        }
        if entries.len() < page {
            break;
        }
        match (last, direction) {
            (Some(last), Direction::Forwards) => next = last + 1,
            (Some(0), Direction::Backwards) => break,
            (Some(last), Direction::Backwards) => next = last - 1,
            // Strangers filled the page: ask for more from the same place.
            (None, _) => page = page.saturating_mul(4),
        }
    }
    Ok(seen)
}

#[cold]
fn passed_over<R: StreamReader + ?Sized>(
    reader: &R,
    stream: StreamRef<'_>,
    expected: Option<u64>,
    found: u64,
) -> LogError {
    let cause = IndexError::Versions {
        hash: stream.hash,
        expected: expected.unwrap_or(found),
        found,
    };
    reader.index_failed(stream.partition, &cause);
    failed(stream.partition, cause)
}

fn frame_with<R: StreamReader + ?Sized>(
    reader: &R,
    partition: PartitionId,
    offset: Offset,
    held: &mut Option<Arc<Frame>>,
) -> Result<Arc<Frame>, LogError> {
    if let Some(frame) = held
        && frame.header().first <= offset
        && offset < frame.header().end()
    {
        return Ok(Arc::clone(frame));
    }
    let found = reader.frame_at(partition, offset)?;
    let frame = found.ok_or(LogError::Chain {
        partition,
        expected: offset,
        found: offset,
        what: "the index names an event that the log does not hold",
    })?;
    *held = Some(Arc::clone(&frame));
    Ok(frame)
}
