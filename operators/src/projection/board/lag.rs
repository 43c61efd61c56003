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

use super::{Log, ProgressBoard};

/// How far what is visible is behind the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Durable events that are not visible, over all partitions; those of other categories count until they are passed.
    pub events: u64,
    /// No event that is not visible was recorded longer ago, nor made durable, whatever has become of the clock since.
    pub age: Duration,
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
}

impl Seen {
    pub(super) const fn nothing() -> Self {
        Self {
            upto: AtomicU64::new(0),
            mark: AtomicU64::new(NONE),
            marked_at: AtomicU64::new(0),
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
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl ProgressBoard {
    /// How far what is visible is behind the log; `None` where that cannot be told, as of the table of a dataflow.
    #[must_use]
    pub fn lag(&self) -> Option<Lag> {
        let log = self.log.as_ref()?;
        let mut lag = Lag::default();
        for (partition, visible) in (0..).map(PartitionId).zip(&self.visible) {
            // The durable position first: what comes in between is no lag.
            let durable = log.feed.durable(partition).0;
            let behind = durable.saturating_sub(visible.next.load(Ordering::Acquire));
            if behind > 0 {
                let recorded = Timestamp(visible.recorded.load(Ordering::Acquire));
                let age = log.clock.now().since(recorded);
                let age = age.max(visible.seen.age(log.clock.monotonic()));
                lag.events += behind;
                lag.age = lag.age.max(age);
            }
        }
        Some(lag)
    }

    /// No event of a partition that is not visible was made durable longer ago than this; nothing where that cannot be told.
    pub(in crate::projection) fn unseen_for(
        &self,
        partition: PartitionId,
        now: Duration,
    ) -> Duration {
        let visible = self.visible.get(usize::from(partition.0));
        let known = visible.filter(|_| self.log.is_some());
        known.map_or(Duration::ZERO, |visible| visible.seen.age(now))
    }
}
