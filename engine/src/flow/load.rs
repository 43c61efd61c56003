//! What a stage does with its time: works, waits for input, or waits for room behind it.
//!
//! Where pressure starts is the stage that works all the time while those before it are blocked.
//! Threads: written by the stage once per turn, read by anybody. Cost: a few relaxed stores per turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Figures of one partition of a stage since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageLoad {
    /// Name of the stage.
    pub stage: String,
    /// Number of the partition.
    pub partition: usize,
    /// Items taken in.
    pub items_total: u64,
    /// Time at work.
    pub busy: Duration,
    /// Time without input.
    pub idle: Duration,
    /// Time in which output had no room: the stages behind it are slower.
    pub blocked: Duration,
    /// Entries of keyed state, over all operators of the stage.
    pub state_items: usize,
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

    fn share(&self, part: Duration) -> f64 {
        let whole = self.busy + self.idle + self.blocked;
        if whole.is_zero() {
            return 0.0;
        }
        part.as_secs_f64() / whole.as_secs_f64()
    }
}

#[derive(Debug, Default)]
struct Figures {
    items: AtomicU64,
    busy_nanos: AtomicU64,
    idle_nanos: AtomicU64,
    blocked_nanos: AtomicU64,
    state_items: AtomicU64,
}

/// Counts the time of one partition of a stage. Clones share the figures.
#[derive(Clone, Debug)]
pub struct StageMeter {
    stage: Arc<str>,
    partition: usize,
    figures: Arc<Figures>,
}

impl StageMeter {
    /// All zero.
    pub fn new(stage: Arc<str>, partition: usize) -> Self {
        Self {
            stage,
            partition,
            figures: Arc::default(),
        }
    }

    /// The figures now.
    pub fn load(&self) -> StageLoad {
        let figures = &*self.figures;
        let nanos = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        StageLoad {
            stage: self.stage.to_string(),
            partition: self.partition,
            items_total: figures.items.load(Ordering::Relaxed),
            busy: nanos(&figures.busy_nanos),
            idle: nanos(&figures.idle_nanos),
            blocked: nanos(&figures.blocked_nanos),
            state_items: usize::try_from(figures.state_items.load(Ordering::Relaxed))
                .unwrap_or(usize::MAX),
        }
    }

    pub(super) fn add_busy(&self, time: Duration) {
        add(&self.figures.busy_nanos, time);
    }

    pub(super) fn add_idle(&self, time: Duration) {
        add(&self.figures.idle_nanos, time);
    }

    pub(super) fn add_blocked(&self, time: Duration) {
        add(&self.figures.blocked_nanos, time);
    }

    pub(super) fn set_items(&self, items: u64) {
        self.figures.items.store(items, Ordering::Relaxed);
    }

    pub(super) fn set_state_items(&self, items: usize) {
        self.figures
            .state_items
            .store(items as u64, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    counter.fetch_add(nanos, Ordering::Relaxed);
}
