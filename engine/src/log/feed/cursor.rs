//! Where a subscriber stands in one partition, and what it is handed next.
//!
//! How a gap is noticed: frames know their offsets, so a cursor sees that the lane's next frame is not the one it needs, and reads
//! from the log what lies between. Threads: a cursor belongs to one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::Feed;
use crate::event::{Offset, PartitionId};
use crate::log::frame::{Frame, FrameHeader, FramePart, Kind, KindSet, Record};
use crate::log::{LogError, LogReader};
use crate::mailbox::LaneReceiver;

/// Memory that frames take which a cursor that is behind reads from the log at a time, in bytes.
const READ_BYTES: usize = 1 << 20;

/// Says which kinds of events somebody wants.
pub type WantedKinds = Arc<dyn Fn(&Kind) -> bool + Send + Sync>;

/// A frame, of which the events from `from` on are new.
#[derive(Clone, Debug)]
pub struct FrameSlice {
    /// The frame.
    pub frame: Arc<Frame>,
    /// First offset that was not handed out before; within the frame.
    pub from: Offset,
}

impl FrameSlice {
    /// The new events.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let known = self.from.0 - self.frame.header().first.0;
        self.frame.records_from(known as u32)
    }

    /// The new events of some kinds; see [`Frame::records_of`].
    pub fn records_of(&self, kinds: KindSet) -> impl Iterator<Item = Record<'_>> {
        let known = self.from.0 - self.frame.header().first.0;
        self.frame.records_of(known as u32, kinds)
    }

    /// How many events are new.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.frame.header().end().0 - self.from.0) as usize
    }

    /// Never: a slice holds at least one new event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a subscriber stands in one partition.
pub struct LogCursor {
    partition: PartitionId,
    next: Offset,
    feed: Arc<Feed>,
    reader: Arc<dyn LogReader>,
    lane: LaneReceiver<Arc<Frame>>,
    /// Taken from the lane, but what comes before it must be read from the log first.
    held: Option<Arc<Frame>>,
    read_ahead: VecDeque<Arc<Frame>>,
    /// Which kinds are read from the log; all if nothing is said.
    wanted: Option<WantedKinds>,
}

impl LogCursor {
    /// One that hands out from `next` on what `lane`, which is in the feed's list, and `reader` have.
    pub(super) fn new(
        partition: PartitionId,
        next: Offset,
        feed: Arc<Feed>,
        reader: Arc<dyn LogReader>,
        lane: LaneReceiver<Arc<Frame>>,
    ) -> Self {
        Self {
            partition,
            next,
            feed,
            reader,
            lane,
            held: None,
            read_ahead: VecDeque::new(),
            wanted: None,
        }
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// From now on reads of the log take the kinds alone that are wanted: frames [need not have
    /// others](LogReader::read_part). What has just been committed comes whole.
    pub fn want(&mut self, wanted: WantedKinds) {
        self.wanted = Some(wanted);
    }

    /// First offset that was not handed out yet.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// Durable events that were not handed out yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.feed
            .durable(self.partition)
            .0
            .saturating_sub(self.next.0)
    }

    /// The next frame; `None` when all that is durable was handed out. Never waits for new events.
    ///
    /// # Errors
    /// As [`LogReader::read`]; the cursor stands where it stood.
    pub fn pull(&mut self) -> Result<Option<FrameSlice>, LogError> {
        self.peek()?;
        let next = self.read_ahead.pop_front();
        Ok(next.and_then(|frame| self.take(frame)))
    }

    /// The frame that [`pull`](Self::pull) gives next, which stays to be handed out.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    pub fn peek(&mut self) -> Result<Option<&FrameHeader>, LogError> {
        loop {
            let known = |frame: &&Arc<Frame>| frame.header().end() <= self.next;
            while self.read_ahead.front().as_ref().is_some_and(known) {
                self.read_ahead.pop_front();
            }
            if !self.read_ahead.is_empty() {
                return Ok(self.read_ahead.front().map(|frame| frame.header()));
            }
            if self.held.is_none() {
                let mut one = Vec::with_capacity(1);
                self.lane.drain(1, &mut one);
                self.held = one.pop();
            }
            if let Some(frame) = self.held.take_if(|frame| frame.header().first <= self.next) {
                self.read_ahead.push_back(frame);
                continue;
            }
            if self.lag() == 0 {
                return Ok(None);
            }
            let (partition, from) = (self.partition, self.next);
            let frames = match &self.wanted {
                Some(wanted) => {
                    let part = FramePart::Kinds(&**wanted);
                    self.reader.read_part(partition, from, READ_BYTES, part)
                }
                None => self.reader.read(partition, from, READ_BYTES),
            }?;
            if frames.is_empty() {
                return Err(LogError::Chain {
                    partition: self.partition,
                    expected: self.next,
                    found: self.feed.durable(self.partition),
                    what: "the log ends before what it called durable",
                });
            }
            self.read_ahead.extend(frames.into_iter().map(Arc::new));
        }
    }

    /// What of `frame` is new; `None` when nothing is.
    fn take(&mut self, frame: Arc<Frame>) -> Option<FrameSlice> {
        let end = frame.header().end();
        if end <= self.next {
            return None;
        }
        let from = std::mem::replace(&mut self.next, end);
        Some(FrameSlice { frame, from })
    }
}

impl fmt::Debug for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogCursor")
            .field("partition", &self.partition)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
