//! From the log to its subscribers: committed frames in memory, and the log itself for who is behind.
//!
//! Place: the log's writer [`publish`](Feed::publish)es each frame once it is durable; a subscriber holds a
//! [`LogCursor`] per partition. Invariants: (1) a cursor hands out every event from its first offset on,
//! once, in order, however it comes by them; (2) the writer never waits for a subscriber: what does not fit
//! into its lane is left out there, and read from the log later; (3) an offset below
//! [`durable`](Feed::durable) is readable.
//! How a gap is noticed: see [`LogCursor`]. Threads: one publishes, a cursor belongs to one, others any.

mod cursor;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::frame::Frame;
use super::stamps::Stamps;
use super::{LogError, LogReader};
use crate::event::{Offset, PartitionId};
use crate::mailbox::{LaneSender, Mailbox, Overloaded};
use crate::time::Timestamp;

pub use cursor::{FrameSlice, LogCursor, WantedKinds};

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

    /// Tells everyone of a frame that is durable now, whose recorded time was [counted](Stamps::published) before it was stored. Frames
    /// of one partition come in their order.
    pub(super) fn publish(&self, frame: &Arc<Frame>) {
        let header = frame.header();
        let partition = &self.partitions[usize::from(header.partition.0)];
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
        let feed = Arc::clone(self);
        Ok(LogCursor::new(partition, from, feed, reader, lane))
    }
}

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
