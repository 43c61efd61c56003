//! Frames of several partitions in the order in which they were recorded.
//!
//! The same order as a projection that runs has by [`Order::Recorded`](crate::projection::Order). Memory: one read per
//! partition.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::StreamReader;
use millstream_engine::log::frame::Frame;
use millstream_engine::time::Timestamp;

use crate::past::{Cut, PastError};
use crate::projection::decided::Decided;

/// Memory that frames of one read of the log take, in bytes; there is one read per partition in memory.
const READ_BYTES: usize = 256 << 10;

/// One partition on its way.
pub(super) struct Lane {
    pub(super) partition: PartitionId,
    pub(super) cut: Cut,
    pub(super) decided: Decided,
    next: Offset,
    frames: VecDeque<Frame>,
}

/// Partitions that are read together.
#[derive(Default)]
pub(super) struct Merged {
    lanes: Vec<Lane>,
    /// Time and lane of the next frame of each that has one.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl Merged {
    /// Adds a partition; they come in the order of their numbers.
    pub(super) fn add(
        &mut self,
        streams: &dyn StreamReader,
        partition: PartitionId,
        cut: Cut,
        decided: Decided,
    ) -> Result<(), PastError> {
        self.lanes.push(Lane {
            partition,
            cut,
            decided,
            next: Offset(0),
            frames: VecDeque::new(),
        });
        self.look(self.lanes.len() - 1, streams)
    }

    /// The next frame, and the partition that it is of.
    pub(super) fn next(
        &mut self,
        streams: &dyn StreamReader,
    ) -> Result<Option<(Frame, &mut Lane)>, PastError> {
        let Some(Reverse((_, at))) = self.heads.pop() else {
            return Ok(None);
        };
        let frame = self.lanes[at].frames.pop_front();
        self.look(at, streams)?;
        Ok(frame.map(|frame| (frame, &mut self.lanes[at])))
    }

    /// Notes the next frame of a lane, read if need be.
    fn look(&mut self, at: usize, streams: &dyn StreamReader) -> Result<(), PastError> {
        let lane = &mut self.lanes[at];
        if lane.frames.is_empty() && lane.next < lane.cut.end() {
            lane.frames = streams.read(lane.partition, lane.next, READ_BYTES)?.into();
            if let Some(last) = lane.frames.back() {
                lane.next = last.header().end();
            }
        }
        if let Some(next) = lane.frames.front() {
            let recorded = next.header().recorded_first;
            self.heads.push(Reverse((recorded, at)));
        }
        Ok(())
    }
}
