//! What the lanes of one mailbox share: credits, the wake-up and the counters.
//!
//! The receiver's turn is `begin_turn`, drain lanes, and `rearm` if something is left. The wake target
//! is replaced at run time: a sender that meets none leaves its item in the lane with the flag up, and
//! whoever [`attach`](Mailbox::attach)es next clears the flag and gets a wake-up.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::lane::{LaneReceiver, LaneSender, new_lane};
use super::{Credits, MailboxLimits, WakeFlag};
use crate::time::Clock;

/// Tells a receiver that there is something in its lanes.
pub trait Wake: Send + Sync {
    /// Delivers one wake-up. Must not block; may be lost when the receiver is gone, because the next
    /// receiver wakes itself.
    fn wake(&self);
}

/// Counts items of a lane whatever their type.
pub(super) trait LaneDepth: Send + Sync {
    fn items(&self) -> usize;
}

/// Figures of one mailbox since it was made; totals never decrease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxStatistics {
    /// Items in all lanes now.
    pub items: usize,
    /// Credits in use now, out of `credits_total`.
    pub credits_used: u32,
    /// All credits.
    pub credits_total: u32,
    /// Items handed back because the mailbox was full.
    pub refused_total: u64,
    /// Sends that had to wait for credits.
    pub waits_total: u64,
    /// Time that these waited, together: the backpressure that this mailbox exerts.
    pub waited: Duration,
}

/// The mailbox of one receiving actor; lanes are made from it.
///
/// Shared as `Arc<Mailbox>` between the receiver, its supervisor and whoever makes lanes.
pub struct Mailbox {
    credits: Arc<Credits>,
    /// Of lanes that have their own.
    own: Mutex<Vec<Weak<Credits>>>,
    pub(super) clock: Arc<dyn Clock>,
    flag: WakeFlag,
    target: ArcSwapOption<Arc<dyn Wake>>,
    /// Monotonic nanoseconds of the raise that owes the next turn, plus one; zero is "no stamp".
    raised_at: AtomicU64,
    refused: AtomicU64,
    waits: AtomicU64,
    waited_nanos: AtomicU64,
    lanes: Mutex<Vec<Weak<dyn LaneDepth>>>,
}

impl Mailbox {
    /// An empty mailbox without lanes and without a receiver.
    pub fn new(limits: MailboxLimits, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            credits: Arc::new(Credits::new(limits)),
            own: Mutex::new(Vec::new()),
            clock,
            flag: WakeFlag::new(),
            target: ArcSwapOption::empty(),
            raised_at: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
            lanes: Mutex::new(Vec::new()),
        })
    }

    /// A new lane for one sender (and its clones). Reserves `items_max` slots of `T`.
    pub fn lane<T: Send + 'static>(self: &Arc<Self>) -> (LaneSender<T>, LaneReceiver<T>) {
        self.lane_drawing_on(Arc::clone(&self.credits))
    }

    /// A new lane with a bound of its own instead of a part in the mailbox's: for a receiver that leaves one lane
    /// full while it needs what comes in another, which could not come if both drew on the same credits.
    /// Make all lanes before the mailbox is closed.
    pub fn own_lane<T: Send + 'static>(
        self: &Arc<Self>,
        limits: MailboxLimits,
    ) -> (LaneSender<T>, LaneReceiver<T>) {
        let credits = Arc::new(Credits::new(limits));
        let mut own = self.own();
        own.retain(|credits| credits.strong_count() > 0);
        own.push(Arc::downgrade(&credits));
        drop(own);
        self.lane_drawing_on(credits)
    }

    fn lane_drawing_on<T: Send + 'static>(
        self: &Arc<Self>,
        credits: Arc<Credits>,
    ) -> (LaneSender<T>, LaneReceiver<T>) {
        let (sender, receiver, depth) = new_lane(Arc::clone(self), credits);
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| lane.strong_count() > 0);
        lanes.push(depth);
        (sender, receiver)
    }

    fn own(&self) -> MutexGuard<'_, Vec<Weak<Credits>>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Credits in use and all credits, of the mailbox and of lanes that have their own.
    fn used_and_total(&self) -> (u32, u32) {
        let own = self.own();
        let all = own.iter().filter_map(Weak::upgrade);
        all.fold(
            (self.credits.used(), self.credits.total()),
            |(used, total), credits| {
                let used = used.saturating_add(credits.used());
                (used, total.saturating_add(credits.total()))
            },
        )
    }

    /// Makes `target` the receiver, clears the flag and wakes it, so that nothing left by the one
    /// before is missed. A sender just then delivering may cause one wake-up more.
    pub fn attach(&self, target: Arc<dyn Wake>) {
        self.target.store(Some(Arc::new(target)));
        self.flag.clear();
        self.wake();
    }

    /// Takes the receiver away: items wait in their lanes until another is attached.
    pub fn detach(&self) {
        self.target.store(None);
    }

    /// Delivers a wake-up unless one is in flight. Lanes call it after each push, others whenever the
    /// receiver should look again.
    pub fn wake(&self) {
        if self.flag.raise() {
            self.deliver();
        }
    }

    /// Wakes this mailbox, for whoever tells wakers. Make it once: another one is told as well.
    pub fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::new(Waking(Arc::clone(self))))
    }

    /// The slow half of [`wake`](Self::wake), once per turn of the receiver.
    #[cold]
    fn deliver(&self) {
        self.raised_at.store(self.nanos() + 1, Ordering::Release);
        if let Some(target) = self.target.load().as_ref() {
            target.wake();
        }
    }

    /// Whether a wake-up is in flight that no turn has begun for, be it that it is about to be delivered by another thread.
    pub fn is_woken(&self) -> bool {
        self.flag.is_up()
    }

    /// Begins a turn of the receiver, at a wake-up and before it looks at any lane. Gives how long
    /// the wake-up's first item has waited: the "mailbox wait" sample of this batch (`None` if another
    /// turn took the stamp). Of items left by an earlier turn the wait since that turn is counted.
    pub fn begin_turn(&self) -> Option<Duration> {
        self.flag.clear();
        let stamp = self.raised_at.swap(0, Ordering::AcqRel).checked_sub(1)?;
        Some(Duration::from_nanos(self.nanos().saturating_sub(stamp)))
    }

    /// How long the oldest wake-up has waited that no turn has begun for, at `now`; `None` if there is none.
    pub fn owed(&self, now: Duration) -> Option<Duration> {
        let stamp = self.raised_at.load(Ordering::Acquire).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_nanos(stamp)))
    }

    /// Refuses later sends and those that wait for credits, with the item; what is queued can still
    /// be drained. Wakes the receiver. Closing again changes nothing.
    pub fn close(&self) {
        self.credits.close();
        for credits in self.own().iter().filter_map(Weak::upgrade) {
            credits.close();
        }
        self.wake();
    }

    /// Whether the mailbox was closed.
    pub fn is_closed(&self) -> bool {
        self.credits.is_closed()
    }

    /// Whether it was closed and nothing is queued or on its way in: no item will ever come again.
    pub fn is_drained(&self) -> bool {
        self.credits.is_closed() && self.used_and_total().0 == 0
    }

    /// The credits of this mailbox, without those of lanes that have their own.
    pub fn credits(&self) -> &Credits {
        &self.credits
    }

    /// Figures for metrics. Cost: a short lock and a few loads; per scrape, not per batch.
    pub fn statistics(&self) -> MailboxStatistics {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let items = lanes
            .iter()
            .filter_map(Weak::upgrade)
            .map(|lane| lane.items())
            .sum();
        let (credits_used, credits_total) = self.used_and_total();
        MailboxStatistics {
            items,
            credits_used,
            credits_total,
            refused_total: self.refused.load(Ordering::Relaxed),
            waits_total: self.waits.load(Ordering::Relaxed),
            waited: Duration::from_nanos(self.waited_nanos.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for credits and counts the wait; `false` when closed meanwhile.
    pub(super) async fn acquire_waiting(&self, credits: &Credits, cost: u32) -> bool {
        // Dropped after the wait, also when the wait is given up.
        let _wait = CountedWait::new(self);
        credits.acquire(cost).await
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

/// Not the mailbox itself: where the trait is in scope, its `wake` would stand before the mailbox's own.
struct Waking(Arc<Mailbox>);

impl std::task::Wake for Waking {
    fn wake(self: Arc<Self>) {
        Mailbox::wake(&self.0);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Mailbox::wake(&self.0);
    }
}

/// One wait for credits, finished when dropped.
struct CountedWait<'a> {
    mailbox: &'a Mailbox,
    start_nanos: u64,
}

impl<'a> CountedWait<'a> {
    fn new(mailbox: &'a Mailbox) -> Self {
        mailbox.waits.fetch_add(1, Ordering::Relaxed);
        Self {
            mailbox,
            start_nanos: mailbox.nanos(),
        }
    }
}

impl Drop for CountedWait<'_> {
    fn drop(&mut self) {
        let waited = self.mailbox.nanos().saturating_sub(self.start_nanos);
        self.mailbox
            .waited_nanos
            .fetch_add(waited, Ordering::Relaxed);
        if self.mailbox.is_closed() {
            // It may have held some of its credits, and a receiver that stops waits for the last one.
            self.mailbox.wake();
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("credits", &self.credits)
            .field("attached", &self.target.load().is_some())
            .finish_non_exhaustive()
    }
}
