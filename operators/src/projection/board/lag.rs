//! How far what is visible is behind the log: in events, and in time, also after the clock was set back.
//!
//! Age by recorded time is nothing for as long as stamps lie ahead of the clock, as after it was set back: those that come go on
//! from the latest one. So it is known by monotonic time as well since when all is visible: from the stamp of the last visible
//! event where the clock makes sense of it, and otherwise from what was durable at a moment before, once all of that is visible.
//! Cost: two looks at the clock per partition and batch that is shown, nothing per event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::Feed;
use millstream_engine::time::Timestamp;

use super::{Log, ProgressBoard, Visible};

/// How far what is visible is behind the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Durable events that are not visible, over all partitions; those of other categories count until they are passed.
    pub events: u64,
    /// No event that is not visible was recorded longer ago, nor made durable, whatever has become of the clock since.
    pub age: Duration,
}

impl Lag {
    pub(super) fn is_within(self, most: Self) -> bool {
        self.events <= most.events && self.age <= most.age
    }
}

/// No mark.
const NONE: u64 = u64::MAX;

/// Up to when all of a partition is visible, by monotonic time. Written by whoever shows.
#[derive(Debug)]
pub(super) struct Seen {
    /// All that was durable then is visible, in nanoseconds.
    upto: AtomicU64,
    /// Offset behind what was durable at a time, of which not all was visible at the last look.
    mark: AtomicU64,
    marked_at: AtomicU64,
    /// When it began, with what was stored.
    began: AtomicU64,
}

impl Seen {
    pub(super) const fn nothing() -> Self {
        Self {
            upto: AtomicU64::new(0),
            mark: AtomicU64::new(NONE),
            marked_at: AtomicU64::new(0),
            began: AtomicU64::new(0),
        }
    }

    /// All before `next` is visible now, the last of it recorded then; `MIN`: it begins anew, with what was stored.
    pub(super) fn show(
        &self,
        log: &Log,
        partition: PartitionId,
        next: Offset,
        recorded: Timestamp,
    ) {
        let Log { feed, clock } = log;
        if recorded == Timestamp::MIN {
            self.mark.store(NONE, Ordering::Relaxed);
            let now = nanos(clock.monotonic());
            self.began.store(now, Ordering::Relaxed);
            return self.upto.store(0, Ordering::Release);
        }
        // Before the position: what becomes durable in between may not be visible.
        let (now, wall) = (clock.monotonic(), clock.now());
        let mut upto = self.upto.load(Ordering::Relaxed);
        if recorded <= wall {
            upto = upto.max(nanos(now.saturating_sub(wall.since(recorded))));
        }
        let mark = self.mark.load(Ordering::Relaxed);
        if mark == NONE || next.0 >= mark {
            if mark != NONE {
                upto = upto.max(self.marked_at.load(Ordering::Relaxed));
            }
            upto = upto.max(self.set_mark(feed, partition, next, now));
        }
        self.upto.store(upto, Ordering::Release);
    }

    /// Marks what is durable now; gives up to when all is visible because of that, if it is.
    fn set_mark(&self, feed: &Feed, partition: PartitionId, next: Offset, now: Duration) -> u64 {
        let durable = feed.durable(partition);
        self.mark.store(durable.0, Ordering::Relaxed);
        self.marked_at.store(nanos(now), Ordering::Relaxed);
        if next >= durable { nanos(now) } else { 0 }
    }

    /// No event that is not visible was made durable longer ago.
    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.upto.load(Ordering::Acquire)))
    }

    /// The same, but no longer than since it began.
    fn age_since_begun(&self, now: Duration) -> Duration {
        let began = Duration::from_nanos(self.began.load(Ordering::Relaxed));
        self.age(now).min(now.saturating_sub(began))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Visible {
    /// How long ago the oldest event that is not visible may have been recorded or made durable: for ever, until something is
    /// shown. What was stored before may be of any age.
    fn age_at_most(&self, log: &Log) -> Duration {
        let recorded = Timestamp(self.recorded.load(Ordering::Acquire));
        let age = log.clock.now().since(recorded);
        age.max(self.seen.age(log.clock.monotonic()))
    }

    fn age_since_begun(&self, recorded: Timestamp, wall: Timestamp, now: Duration) -> Duration {
        let unseen_for = self.seen.age_since_begun(now);
        match recorded {
            Timestamp::MIN => unseen_for,
            // Stamps say nothing for as long as the clock was set back.
            recorded => wall.since(recorded).max(unseen_for),
        }
    }
}

impl ProgressBoard {
    /// How far what is visible is behind the log; `None` where that cannot be told, as of the table of a dataflow.
    #[must_use]
    pub fn lag(&self) -> Option<Lag> {
        self.lag_of(Visible::age_at_most)
    }

    /// The same for people and alerts, to whom for ever says nothing: of a partition of which nothing was shown since the
    /// projection began, the age is the time since then.
    #[must_use]
    pub fn lag_since_begun(&self) -> Option<Lag> {
        self.lag_of(|visible, log| {
            let recorded = Timestamp(visible.recorded.load(Ordering::Acquire));
            let (wall, now) = (log.clock.now(), log.clock.monotonic());
            visible.age_since_begun(recorded, wall, now)
        })
    }

    fn lag_of(&self, age: impl Fn(&Visible, &Log) -> Duration) -> Option<Lag> {
        let log = self.log.as_ref()?;
        let mut lag = Lag::default();
        for (partition, visible) in (0..).map(PartitionId).zip(&self.visible) {
            // The durable position first: what comes in between is no lag.
            let durable = log.feed.durable(partition).0;
            let behind = durable.saturating_sub(visible.next.load(Ordering::Acquire));
            if behind > 0 {
                lag.events += behind;
                lag.age = lag.age.max(age(visible, log));
            }
        }
        Some(lag)
    }

    /// How old the oldest event of a partition is behind one that was recorded then, or if that is `MIN` behind nothing; nothing
    /// where that cannot be told. As in [`lag_since_begun`](Self::lag_since_begun).
    pub(in crate::projection) fn age_since_begun(
        &self,
        partition: PartitionId,
        recorded: Timestamp,
        (wall, now): (Timestamp, Duration),
    ) -> Duration {
        let visible = self.visible.get(usize::from(partition.0));
        let known = visible.filter(|_| self.log.is_some());
        known.map_or(Duration::ZERO, |visible| {
            visible.age_since_begun(recorded, wall, now)
        })
    }
}
