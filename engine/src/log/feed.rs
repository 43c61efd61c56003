//! From the log to its subscribers: committed frames in memory, and the log itself for who is behind.
//!
//! Place: the log's writer [`publish`](Feed::publish)es each frame once it is durable; a subscriber holds a
//! [`LogCursor`] per partition. Invariants: (1) a cursor hands out every event from its first offset on,
//! once, in order, however it comes by them; (2) the writer never waits for a subscriber: what does not fit
//! into its lane is left out there, and read from the log later; (3) an offset below
//! [`durable`](Feed::durable) is readable.
//! How a gap is noticed: frames know their offsets, so a cursor sees that the lane's next frame is not
//! the one it needs. Threads: one publishes, a cursor belongs to one, others any.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::frame::{Frame, FrameHeader, FramePart, Kind, KindSet};
use super::stamps::Stamps;
use super::{LogError, LogReader};
use crate::event::{Offset, PartitionId};
use crate::mailbox::{LaneReceiver, LaneSender, Mailbox, Overloaded};
use crate::time::Timestamp;

/// Bytes that a cursor which is behind takes from the log at a time.
const READ_BYTES: usize = 1 << 20;

/// Where subscribers of all partitions get committed frames from.
#[derive(Debug)]
pub struct Feed {
    partitions: Vec<Partition>,
    stamps: Arc<Stamps>,
    closed: AtomicBool,
    /// Why the log stopped, once it did.
    stopped: watch::Sender<Option<LogError>>,
    /// Told once it is closed or the log has stopped.
    ended: Notify,
}

struct Partition {
    /// Offset after the last durable event.
    durable: AtomicU64,
    subscribers: ArcSwap<Vec<LaneSender<Arc<Frame>>>>,
    /// Held to change the list, never to read it.
    changing: Mutex<()>,
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition")
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

impl Feed {
    /// A feed that begins where the log ends.
    ///
    /// # Errors
    /// As [`LogReader::head`].
    pub fn new(reader: &dyn LogReader) -> Result<Self, LogError> {
        let (mut partitions, mut latest) = (Vec::new(), Timestamp::MIN);
        for partition in (0..reader.partitions()).map(PartitionId) {
            let end = reader.head(partition)?.next;
            latest = latest.max(recorded_before(reader, partition, end)?);
            partitions.push(Partition {
                durable: AtomicU64::new(end.0),
                subscribers: ArcSwap::default(),
                changing: Mutex::new(()),
            });
        }
        let count = reader.partitions();
        Ok(Self {
            partitions,
            stamps: Stamps::new(count, Timestamp(latest.0.saturating_add(1))),
            closed: AtomicBool::new(false),
            stopped: watch::Sender::new(None),
            ended: Notify::new(),
        })
    }

    /// Says that the log stopped for good, and why; wakes all subscribers. The first cause stays.
    pub fn stop(&self, cause: LogError) {
        self.stopped.send_if_modified(|stopped| {
            let is_first = stopped.is_none();
            stopped.get_or_insert(cause);
            is_first
        });
        self.wake_all();
    }

    /// Why the log stopped, if it did.
    #[must_use]
    pub fn stopped(&self) -> Option<LogError> {
        self.stopped.borrow().clone()
    }

    /// Resolves once the log stops, with the cause; never if it is closed in order.
    pub async fn until_stopped(&self) -> LogError {
        let mut stopped = self.stopped.subscribe();
        // Let go of before the next wait, or nobody could spawn this.
        let cause = {
            let seen = stopped.wait_for(Option::is_some).await;
            seen.ok().and_then(|cause| cause.clone())
        };
        match cause {
            Some(cause) => cause,
            // The sender lives in `self`, so it is never gone; a value was waited for.
            None => std::future::pending().await,
        }
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.partitions.len() as u16 // Made from a u16 of partitions.
    }

    /// When events of the log are recorded.
    #[must_use]
    pub fn stamps(&self) -> &Arc<Stamps> {
        &self.stamps
    }

    /// Offset after the last durable event of a partition; 0 for one that does not exist.
    #[must_use]
    pub fn durable(&self, partition: PartitionId) -> Offset {
        let found = self.partitions.get(usize::from(partition.0));
        Offset(found.map_or(0, |p| p.durable.load(Ordering::Acquire)))
    }

    /// Tells everyone of a frame that is durable now. Frames of one partition come in their order.
    pub fn publish(&self, frame: &Arc<Frame>) {
        let header = frame.header();
        let partition = &self.partitions[usize::from(header.partition.0)];
        // Before anybody can see it: what follows from it is later.
        self.stamps.published(header.recorded_last);
        partition.durable.store(header.end().0, Ordering::Release);
        // With the fence in `subscribe`: we see the new subscriber, or it sees this frame in `durable`.
        fence(Ordering::SeqCst);
        let mut gone = false;
        for subscriber in partition.subscribers.load().iter() {
            match subscriber.try_send(Arc::clone(frame), frame.memory_bytes()) {
                Ok(()) => {}
                // It will see that it is behind `durable`; a wake-up makes it look.
                Err(Overloaded::Full(_)) => subscriber.mailbox().wake(),
                Err(Overloaded::Closed(_)) => gone = true,
            }
        }
        if gone {
            let _changing = lock(&partition.changing);
            let mut rest = partition.subscribers.load().to_vec();
            rest.retain(|subscriber| !subscriber.is_closed());
            partition.subscribers.store(Arc::new(rest));
        }
    }

    /// Says that nothing will be published any more and wakes all subscribers.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Resolves once nothing will be published any more: it was closed, or the log has stopped.
    pub(super) async fn until_ended(&self) {
        let mut ended = pin!(self.ended.notified());
        // In the list before the look, so that an end in between is not missed.
        ended.as_mut().enable();
        if !self.is_closed() && self.stopped.borrow().is_none() {
            ended.await;
        }
    }

    fn wake_all(&self) {
        self.ended.notify_waiters();
        for partition in &self.partitions {
            for subscriber in partition.subscribers.load().iter() {
                // At the end, one that panics must not leave the others asleep.
                let wake = || subscriber.mailbox().wake();
                let _ = catch_unwind(AssertUnwindSafe(wake));
            }
        }
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A cursor over a partition from `from` (inclusive) on, woken through `mailbox`, whose bounds say
    /// how much may wait for it in memory.
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`].
    pub fn subscribe(
        self: &Arc<Self>,
        partition: PartitionId,
        from: Offset,
        mailbox: &Arc<Mailbox>,
        reader: Arc<dyn LogReader>,
    ) -> Result<LogCursor, LogError> {
        let place = self.partitions.get(usize::from(partition.0));
        let place = place.ok_or_else(|| LogError::UnknownPartition {
            partition,
            partitions: self.partitions(),
        })?;
        let (sender, lane) = mailbox.lane();
        // In the list before the cursor first looks at `durable`, so nothing falls between.
        let _changing = lock(&place.changing);
        let mut list = place.subscribers.load().to_vec();
        list.retain(|subscriber| !subscriber.is_closed());
        list.push(sender);
        place.subscribers.store(Arc::new(list));
        fence(Ordering::SeqCst); // See `publish`.
        Ok(LogCursor {
            partition,
            next: from,
            feed: Arc::clone(self),
            reader,
            lane,
            held: None,
            read_ahead: VecDeque::new(),
            wanted: None,
        })
    }
}

/// Says which kinds of events somebody wants.
pub type WantedKinds = Arc<dyn Fn(&Kind) -> bool + Send + Sync>;

/// When the last event before `end` was recorded.
pub(crate) fn recorded_before(
    reader: &dyn LogReader,
    partition: PartitionId,
    end: Offset,
) -> Result<Timestamp, LogError> {
    let Some(last) = end.0.checked_sub(1) else {
        return Ok(Timestamp::MIN);
    };
    let frame = reader.frame_at(partition, Offset(last))?;
    Ok(frame.map_or(Timestamp::MIN, |frame| frame.header().recorded_last))
}

fn lock(mutex: &Mutex<()>) -> std::sync::MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    pub fn records(&self) -> impl Iterator<Item = super::frame::Record<'_>> {
        let known = self.from.0 - self.frame.header().first.0;
        self.frame.records_from(known as u32)
    }

    /// The new events of some kinds; see [`Frame::records_of`].
    pub fn records_of(&self, kinds: KindSet) -> impl Iterator<Item = super::frame::Record<'_>> {
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
