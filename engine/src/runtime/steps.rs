//! Which threads of a runtime are in a step, and since when.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Counts where steps begin and end: an odd number is a step under way, and no two have the same.
type Count = Arc<AtomicU64>;

thread_local! {
    /// The count of this thread, if its runtime is watched.
    static COUNT: RefCell<Option<Count>> = const { RefCell::new(None) };
}

/// Runs a step, seen by whoever watches the threads of this runtime.
#[inline]
pub fn in_step<R>(step: impl FnOnce() -> R) -> R {
    COUNT.with_borrow(|count| {
        let _under_way = count.as_deref().map(UnderWay::begin);
        step()
    })
}

/// Ends a step also where it panics.
struct UnderWay<'a>(&'a AtomicU64, u64);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        let before = count.load(Ordering::Relaxed);
        // A step in a step is the outer one, which goes on to be under way.
        count.store(before | 1, Ordering::Relaxed);
        Self(count, before)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Self(count, before) = self;
        if *before % 2 == 0 {
            count.store(*before + 2, Ordering::Relaxed);
        }
    }
}

/// The threads of a runtime.
#[derive(Debug, Default)]
pub(super) struct Steps {
    threads: Mutex<Vec<Seen>>,
}

/// A thread as it was at the last look.
#[derive(Debug)]
struct Seen {
    count: Count,
    at: u64,
    since: Option<Duration>,
}

impl Steps {
    /// At `now` of a monotonic clock: threads that are in a step since `span` at least, as far as looks have told: a step is known from the first look on
    /// that finds it.
    pub(super) fn hung(&self, now: Duration, span: Duration) -> usize {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let hung = threads.iter_mut().filter_map(|seen| {
            let at = seen.count.load(Ordering::Relaxed);
            if at % 2 == 0 {
                seen.since = None;
                return None;
            }
            let since = match seen.since {
                Some(since) if seen.at == at => since,
                _ => now,
            };
            (seen.at, seen.since) = (at, Some(since));
            (now.saturating_sub(since) >= span).then_some(())
        });
        hung.count()
    }
}

/// This thread is one of them from now on.
#[cfg(any(test, not(loom)))]
pub(super) fn join(steps: &Steps) {
    let count = Count::default();
    let seen = Seen {
        count: Arc::clone(&count),
        at: 0,
        since: None,
    };
    let mut threads = steps.threads.lock().unwrap_or_else(PoisonError::into_inner);
    threads.push(seen);
    COUNT.set(Some(count));
}

/// This thread ends.
#[cfg(any(test, not(loom)))]
pub(super) fn leave(steps: &Steps) {
    let Some(count) = COUNT.take() else {
        return;
    };
    let mut threads = steps.threads.lock().unwrap_or_else(PoisonError::into_inner);
    threads.retain(|seen| !Arc::ptr_eq(&seen.count, &count));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(100);

    #[test]
    fn a_step_hangs_once_it_was_seen_for_the_span() {
        let steps = Arc::<Steps>::default();
        join(&steps);
        let at = Duration::from_millis;
        assert_eq!(steps.hung(at(0), SPAN), 0);
        in_step(|| {
            assert_eq!(steps.hung(at(500), SPAN), 0, "seen the first time");
            assert_eq!(steps.hung(at(599), SPAN), 0);
            in_step(|| assert_eq!(steps.hung(at(600), SPAN), 1, "a step in it"));
            assert_eq!(steps.hung(at(700), SPAN), 1);
        });
        assert_eq!(steps.hung(at(701), SPAN), 0);
        leave(&steps);
    }

    #[test]
    fn steps_one_after_the_other_hang_nowhere() {
        let steps = Arc::<Steps>::default();
        join(&steps);
        let start = SPAN * 7;
        for look in 0..10 {
            in_step(|| assert_eq!(steps.hung(start + SPAN * look, SPAN), 0));
        }
        leave(&steps);
    }

    #[test]
    fn a_step_that_panics_has_ended() {
        let steps = Arc::<Steps>::default();
        join(&steps);
        let start = SPAN * 7;
        let caught = std::panic::catch_unwind(|| in_step(|| std::panic::panic_any(7)));
        assert!(caught.is_err());
        assert_eq!(steps.hung(start, SPAN), 0);
        assert_eq!(steps.hung(start + SPAN, SPAN), 0);
        leave(&steps);
    }

    #[test]
    fn a_thread_that_left_is_not_counted() {
        let steps = Arc::<Steps>::default();
        join(&steps);
        leave(&steps);
        let start = SPAN * 7;
        in_step(|| {
            assert_eq!(steps.hung(start, SPAN), 0);
            assert_eq!(steps.hung(start + SPAN, SPAN), 0);
        });
    }
}
