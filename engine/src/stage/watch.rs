//! What a stage is at, for whoever looks from outside whether it goes on.
//!
//! Written by the stage's actor around each step, read by anybody. Cost: a read of the clock and four stores per step, with those that say so to
//! the threads of the runtime.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::in_step;
use crate::time::Clock;

/// Why a stage does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// A step has not come back for this long: code in it hangs.
    InStep(Duration),
    /// Something has waited in its mailbox for this long, and no step was made: its thread does something else.
    NoStep(Duration),
}

impl Stall {
    /// How long.
    #[must_use]
    pub const fn span(self) -> Duration {
        match self {
            Self::InStep(span) | Self::NoStep(span) => span,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct StageWatch {
    /// Monotonic nanoseconds plus one at which the step under way began; zero: there is none.
    began: AtomicU64,
    /// It waits for room or the like, as its last step asked for.
    waits: AtomicBool,
}

impl StageWatch {
    pub(super) fn begin(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX - 1);
        self.waits.store(false, Ordering::Release);
        self.began.store(nanos + 1, Ordering::Release);
    }

    pub(super) fn end(&self, waits: bool) {
        self.waits.store(waits, Ordering::Release);
        self.began.store(0, Ordering::Release);
    }

    /// How long the step under way has taken; `None` if there is none.
    pub(super) fn in_step(&self, now: Duration) -> Option<Duration> {
        let began = self.began.load(Ordering::Acquire).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_nanos(began)))
    }

    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }
}

/// A step under way: where it is seen, and what it is timed with.
type Watched = (Arc<StageWatch>, Arc<dyn Clock>);

thread_local! {
    /// The step that this thread makes.
    static STEP: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// Runs a step that is watched.
pub(super) fn watched<R>(
    watch: &Arc<StageWatch>,
    clock: &Arc<dyn Clock>,
    step: impl FnOnce() -> R,
) -> R {
    watch.begin(clock.monotonic());
    let this = (Arc::clone(watch), Arc::clone(clock));
    let before = STEP.replace(Some(this));
    let outcome = in_step(step);
    STEP.set(before);
    outcome
}

/// Says that the step under way on this thread goes on: where one has much to do that is no user code, such as writing all
/// of a large state. Nothing, if there is no step.
pub fn still_working() {
    STEP.with_borrow(|step| {
        if let Some((watch, clock)) = step {
            watch.begin(clock.monotonic());
        }
    });
}
