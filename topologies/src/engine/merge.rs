//! Reading all partitions at once, merged by time.
//!
//! Place: frames of each partition -> **`read_all`** -> a page of events, and the token to go on from.
//! Invariants: (1) within a partition events come in the order of the log, none twice and none left out from page to
//! page; (2) the token stands behind all that was looked at and is either given or not wanted.
//! Cost: in proportion to what lies between two tokens: the last read of a page passes their end by as much as was
//! read before it, or [`AHEAD_BYTES`]. Frames without the category are passed over by their head. Nothing is kept
//! between pages.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::log::frame::Frame;
use millstream_engine::log::{LogError, LogReader};
use millstream_engine::time::Timestamp;

use super::read::{READ_BYTES, StoredEvent, may_hold};

/// Memory that frames of the first read of a partition take, in bytes. Each later one of the same page takes twice as many.
const AHEAD_BYTES: usize = 4 << 10;
/// Events of a partition that are unpacked before it is known whether they are on the page.
const AHEAD_EVENTS: usize = 64;

/// Events of all partitions behind `after`, at most `limit`, of one category if it is given, merged by the
/// time they were recorded, with the token to go on from. Between partitions that order is a convenience,
/// not a promise; within each it is the log's. Events recorded meanwhile may have earlier times.
///
/// The token also passes over events of other categories, so that the next page does not read them again; it is the
/// end when a page has fewer than `limit` events.
///
/// Cost: reads what lies between the two tokens, and a few kilobytes of each partition more. Where a
/// partition holds no further event of the category, that is the rest of it.
///
/// # Errors
/// As [`LogReader::read`].
pub fn read_all(
    reader: &(impl LogReader + ?Sized),
    after: &Token,
    limit: usize,
    category: Option<&str>,
) -> Result<(Vec<StoredEvent>, Token), LogError> {
    let (mut events, mut token) = (Vec::new(), after.clone());
    if limit == 0 {
        return Ok((events, token));
    }
    let mut sources: Vec<_> = (0..reader.partitions())
        .map(|partition| Source::after(after, PartitionId(partition)))
        .collect();
    let mut first = BinaryHeap::new();
    for source in &mut sources {
        source.fill(reader, limit, category)?;
        first.extend(source.first());
    }
    while let Some(Reverse((_, position))) = first.pop() {
        let source = &mut sources[usize::from(position.partition.0)];
        events.extend(source.waiting.pop_front());
        if events.len() == limit {
            break;
        }
        source.fill(reader, limit - events.len(), category)?;
        first.extend(source.first());
    }
    for source in &sources {
        if let Some(offset) = source.passed().0.checked_sub(1).map(Offset) {
            token.observe(Position {
                partition: source.partition,
                offset,
            });
        }
    }
    Ok((events, token))
}

/// A partition on its way through a page.
struct Source {
    partition: PartitionId,
    /// The first event that was not looked at.
    next: Offset,
    /// Frames read from the log, the first of which holds `next`.
    frames: VecDeque<Frame>,
    /// Bytes of the next read.
    bytes: usize,
    /// Wanted events that were not given yet.
    waiting: VecDeque<StoredEvent>,
}

impl Source {
    fn after(token: &Token, partition: PartitionId) -> Self {
        let mut positions = token.positions().iter();
        let seen = positions.find(|position| position.partition == partition);
        Self {
            partition,
            next: seen.map_or(Offset(0), |position| position.offset.plus(1)),
            frames: VecDeque::new(),
            bytes: AHEAD_BYTES,
            waiting: VecDeque::new(),
        }
    }

    /// Where the next event belongs in the merge.
    fn first(&self) -> Option<Reverse<(Timestamp, Position)>> {
        let event = self.waiting.front()?;
        Some(Reverse((event.recorded_at, event.position)))
    }

    /// The first event that was neither given nor passed over.
    fn passed(&self) -> Offset {
        let waiting = self.waiting.front();
        waiting.map_or(self.next, |event| event.position.offset)
    }

    /// Looks for events until one waits or the partition ends.
    fn fill(
        &mut self,
        reader: &(impl LogReader + ?Sized),
        limit: usize,
        category: Option<&str>,
    ) -> Result<(), LogError> {
        while self.waiting.is_empty() {
            let Some(frame) = self.frames.front() else {
                let frames = reader.read(self.partition, self.next, self.bytes)?;
                if frames.is_empty() {
                    return Ok(());
                }
                self.bytes = (self.bytes * 2).min(READ_BYTES);
                self.frames = frames.into();
                continue;
            };
            let (first, end) = (frame.header().first, frame.header().end());
            if may_hold(frame, category) {
                let slot = self.next.0.saturating_sub(first.0) as u32;
                for record in frame.records_from(slot) {
                    self.next = record.offset.plus(1);
                    if category.is_none_or(|name| record.kind.category == name) {
                        let event = StoredEvent::of(self.partition, frame, &record);
                        self.waiting.push_back(event);
                        if self.waiting.len() == limit.min(AHEAD_EVENTS) {
                            break;
                        }
                    }
                }
            } else {
                self.next = end;
            }
            if self.next >= end {
                self.frames.pop_front();
            }
        }
        Ok(())
    }
}
