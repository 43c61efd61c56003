//! The first event of a partition that was recorded at or after a time.
//!
//! Place: frames' heads carry the recorded time of their first and last event, which do not decrease within a
//! partition -> a **search** by halves over frames -> an offset.
//! Invariant: the answer rests on two frames whose checksums hold, the one that has it and the one before, whatever
//! the search met on its way: heads are read without their checksum, so that a step costs one page and not a frame.
//! Cost: about log2(frames) heads and two frames. Not here: event times, which may go any way, so that no search
//! finds them.

use std::sync::Arc;

use super::frame::{Frame, FrameHeader};
use super::{LogError, LogReader};
use crate::event::{Offset, PartitionId};
use crate::time::Timestamp;

/// Gives the head of the frame that holds an offset; `None` behind the end.
pub(super) type HeadAt<'r> = dyn Fn(Offset) -> Result<Option<FrameHeader>, LogError> + 'r;

/// See [`LogReader::first_recorded_at`].
pub(super) fn first_recorded_at(
    reader: &(impl LogReader + ?Sized),
    partition: PartitionId,
    time: Timestamp,
    head_at: &HeadAt<'_>,
) -> Result<Offset, LogError> {
    let end = reader.head(partition)?.next;
    let (mut low, mut high) = (Offset(0), end);
    // All events below `low` are earlier than `time`, none from `high` on is.
    while low < high {
        let middle = Offset(low.0 + (high.0 - low.0) / 2);
        let Some(head) = head_at(middle)? else {
            return Err(unfit(partition, middle));
        };
        if head.first > middle || head.end() <= middle {
            return Err(unfit(partition, middle));
        }
        if head.recorded_last < time {
            low = head.end();
        } else if head.recorded_first >= time {
            high = head.first;
        } else {
            let frame = whole(reader, partition, head.first)?;
            return inside(&frame, time);
        }
    }
    prove(reader, partition, low, end, time)?;
    Ok(low)
}

/// The first event of this frame at or after `time`, which is later than its first and not than its last.
fn inside(frame: &Frame, time: Timestamp) -> Result<Offset, LogError> {
    let header = frame.header();
    let first = frame.records().find(|record| record.recorded_at >= time);
    let is_inside = header.recorded_first < time;
    first
        .filter(|_| is_inside)
        .map(|record| record.offset)
        .ok_or_else(|| unfit(header.partition, header.first))
}

/// Checks that frames meet at `at`, the one before it earlier than `time` and the one behind it not.
fn prove(
    reader: &(impl LogReader + ?Sized),
    partition: PartitionId,
    at: Offset,
    end: Offset,
    time: Timestamp,
) -> Result<(), LogError> {
    if let Some(last) = at.0.checked_sub(1).map(Offset) {
        let before = whole(reader, partition, last)?;
        if before.header().recorded_last >= time || before.header().end() != at {
            return Err(unfit(partition, last));
        }
    }
    if at < end {
        let behind = whole(reader, partition, at)?;
        if behind.header().recorded_first < time || behind.header().first != at {
            return Err(unfit(partition, at));
        }
    }
    Ok(())
}

fn whole(
    reader: &(impl LogReader + ?Sized),
    partition: PartitionId,
    offset: Offset,
) -> Result<Arc<Frame>, LogError> {
    let found = reader.frame_at(partition, offset)?;
    found.ok_or_else(|| unfit(partition, offset))
}

fn unfit(partition: PartitionId, offset: Offset) -> LogError {
    LogError::Chain {
        partition,
        expected: offset,
        found: offset,
        what: "the heads of frames around it do not fit together: verify the log",
    }
}

#[cfg(test)]
mod tests;
