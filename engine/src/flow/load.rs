//! What a stage does with its time: works, waits for input, or waits for room behind it.
//!
//! Where pressure starts is the stage that works all the time while those before it are blocked.
//! Invariant: what goes on counts while it goes on, so a stage that never gets on again shows where it stands.
//! Threads: written by the stage twice per turn, read by anybody. Cost: a few stores per turn.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::time::{Clock, Timestamp};

/// Figures of one partition of a stage since its start, or [since](StageLoad::since) an earlier look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageLoad {
    /// Name of the stage.
    pub stage: String,
    /// Number of the partition.
    pub partition: usize,
    /// Items taken in.
    pub items_total: u64,
    /// Time at work, or in which input was held back by a rate or by calls under way.
    pub busy: Duration,
    /// Time without input.
    pub idle: Duration,
    /// Time in which output had no room: the stages behind it are slower.
    pub blocked: Duration,
    /// Entries of keyed state, over all operators of the stage.
    pub state_items: usize,
    /// Event time up to which its input is complete; the greatest there is when nothing is to come, `None` before any.
    pub watermark: Option<Timestamp>,
}

impl StageLoad {
    /// Share of the time at work, 0 to 1.
    pub fn busy_share(&self) -> f64 {
        self.share(self.busy)
    }

    /// Share of the time blocked, 0 to 1.
    pub fn blocked_share(&self) -> f64 {
        self.share(self.blocked)
    }

    /// Share of the time without input, 0 to 1.
    pub fn idle_share(&self) -> f64 {
        self.share(self.idle)
    }

    /// What was done since an earlier look at the same partition.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            items_total: self.items_total.saturating_sub(earlier.items_total),
            busy: self.busy.saturating_sub(earlier.busy),
            idle: self.idle.saturating_sub(earlier.idle),
            blocked: self.blocked.saturating_sub(earlier.blocked),
            ..self.clone()
        }
    }

    fn share(&self, part: Duration) -> f64 {
        let whole = self.busy + self.idle + self.blocked;
        if whole.is_zero() {
            return 0.0;
        }
        part.as_secs_f64() / whole.as_secs_f64()
    }
}

/// What a partition of a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Works, is ready to while others of its thread have their turn, or holds its input back.
    Working = 0,
    /// Has no input.
    Idle = 1,
    /// Has no room for its output.
    Blocked = 2,
}

/// Not started or ended.
const NOTHING: u64 = u64::MAX;
/// The figures are being changed.
const CHANGING: u64 = u64::MAX - 1;
/// How often a reader that met a change looks again.
const TRIES: usize = 100;

/// What is being done and since when, in one word: nanoseconds above two bits.
fn doing_since(at: Duration, doing: Doing) -> u64 {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    nanos.min(CHANGING >> 3) << 2 | doing as u64
}

#[derive(Debug)]
struct Figures {
    items: AtomicU64,
    /// Nanoseconds, by [`Doing`].
    spent: [AtomicU64; 3],
    since: AtomicU64,
    state_items: AtomicU64,
    /// Microseconds; the least there is before any.
    watermark: AtomicI64,
    counts_each_step: AtomicBool,
}

/// Counts the time of one partition of a stage. Clones share the figures.
#[derive(Clone)]
pub struct StageMeter {
    stage: Arc<str>,
    partition: usize,
    clock: Arc<dyn Clock>,
    figures: Arc<Figures>,
}

impl StageMeter {
    /// All zero; reads the time of `clock`.
    pub fn new(stage: Arc<str>, partition: usize, clock: Arc<dyn Clock>) -> Self {
        let figures = Figures {
            items: AtomicU64::new(0),
            spent: Default::default(),
            since: AtomicU64::new(NOTHING),
            state_items: AtomicU64::new(0),
            watermark: AtomicI64::new(Timestamp::MIN.0),
            counts_each_step: AtomicBool::new(false),
        };
        Self {
            stage,
            partition,
            clock,
            figures: Arc::new(figures),
        }
    }

    /// The figures now, with what is still going on: a stage that waits for ever shows it while it waits.
    pub fn load(&self) -> StageLoad {
        let figures = &*self.figures;
        let [busy, idle, blocked] = self.spent();
        // Behind it is what the stage had given out when it told this one.
        let watermark = Timestamp(figures.watermark.load(Ordering::Acquire));
        StageLoad {
            stage: self.stage.to_string(),
            partition: self.partition,
            items_total: figures.items.load(Ordering::Relaxed),
            busy,
            idle,
            blocked,
            state_items: usize::try_from(figures.state_items.load(Ordering::Relaxed))
                .unwrap_or(usize::MAX),
            watermark: (watermark > Timestamp::MIN).then_some(watermark),
        }
    }

    /// Times and what goes on belong together only if neither was changed meanwhile.
    fn spent(&self) -> [Duration; 3] {
        let figures = &*self.figures;
        let mut spent = [0; 3];
        for _ in 0..TRIES {
            let since = figures.since.load(Ordering::Acquire);
            for (spent, counter) in spent.iter_mut().zip(&figures.spent) {
                *spent = counter.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if since == CHANGING || figures.since.load(Ordering::Relaxed) != since {
                std::hint::spin_loop();
                continue;
            }
            if since != NOTHING {
                let going_on = nanos(self.clock.monotonic()).saturating_sub(since >> 2);
                spent[(since & 3) as usize] += going_on;
            }
            break;
        }
        spent.map(Duration::from_nanos)
    }

    /// From `at` on it does this.
    pub(super) fn does(&self, at: Duration, doing: Doing) {
        self.change(at, doing_since(at, doing));
    }

    /// From `at` on it does nothing any more.
    pub(super) fn ends(&self, at: Duration) {
        self.change(at, NOTHING);
    }

    fn change(&self, at: Duration, to: u64) {
        let figures = &*self.figures;
        let since = figures.since.load(Ordering::Relaxed);
        figures.since.store(CHANGING, Ordering::Relaxed);
        // A reader that sees the new times sees that they are being changed.
        fence(Ordering::Release);
        if since != NOTHING {
            let counter = &figures.spent[(since & 3) as usize];
            let spent = nanos(at).saturating_sub(since >> 2);
            // One writer: no need for an atomic addition.
            let before = counter.load(Ordering::Relaxed);
            counter.store(before.saturating_add(spent), Ordering::Relaxed);
        }
        figures.since.store(to, Ordering::Release);
    }

    /// Has the stage count its state at each step, for tests: in production it does so every now and then.
    pub fn count_state_each_step(&self) {
        self.figures.counts_each_step.store(true, Ordering::Relaxed);
    }

    pub(super) fn counts_each_step(&self) -> bool {
        self.figures.counts_each_step.load(Ordering::Relaxed)
    }

    pub(super) fn set_items(&self, items: u64) {
        self.figures.items.store(items, Ordering::Relaxed);
    }

    pub(super) fn set_watermark(&self, watermark: Timestamp) {
        self.figures.watermark.store(watermark.0, Ordering::Release);
    }

    pub(super) fn set_state_items(&self, items: usize) {
        self.figures
            .state_items
            .store(items as u64, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for StageMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageMeter")
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ManualClock, Timestamp};

    #[test]
    fn what_goes_on_counts_before_it_is_over_and_not_twice() {
        let second = Duration::from_secs(1);
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let meter = StageMeter::new("sums".into(), 0, Arc::<ManualClock>::clone(&clock) as _);
        clock.advance(second);
        assert_eq!(meter.load().busy, Duration::ZERO, "it has not begun");
        let begun = clock.monotonic();
        meter.does(begun, Doing::Working);
        clock.advance(second);
        meter.does(clock.monotonic(), Doing::Blocked);
        clock.advance(second * 3);
        let waiting = meter.load();
        assert_eq!((waiting.busy, waiting.blocked), (second, second * 3));
        assert_eq!(waiting.blocked_share(), 0.75);
        meter.ends(clock.monotonic());
        clock.advance(second);
        assert_eq!(meter.load(), waiting);
        let nothing = waiting.since(&waiting);
        assert_eq!((nothing.busy, nothing.blocked), Default::default());
    }
}
