//! How fast a version of a projection comes further, and when it will have caught up.
//!
//! A mean over the last [`SAMPLES`] looks, one a second: what is appended meanwhile is taken off, so the estimate is of the
//! time until nothing is left, not of what is left now. The clock is the caller's.

use std::collections::VecDeque;
use std::time::Duration;

/// Looks that are remembered.
const SAMPLES: usize = 15;
/// Time between two of them, at least.
const EVERY: Duration = Duration::from_millis(900);
/// Time over which a rate can be told, at least.
const SPAN: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    applied: u64,
    left: u64,
}

/// What was seen lately of a version.
#[derive(Debug, Default)]
pub(super) struct Pace {
    samples: VecDeque<Sample>,
}

/// How fast it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Speed {
    /// Events per second by which it comes further; `None` before that is known.
    pub(super) per_second: Option<f64>,
    /// Time until nothing is left; `None` where it does not come nearer.
    pub(super) time_left: Option<Duration>,
}

impl Pace {
    /// Remembers a look, unless the last one was just before.
    pub(super) fn look(&mut self, at: Duration, applied: u64, left: u64) {
        if let Some(last) = self.samples.back() {
            if at.saturating_sub(last.at) < EVERY {
                return;
            }
            // It was made anew.
            if applied < last.applied {
                self.samples.clear();
            }
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at, applied, left });
    }

    /// How fast it has come to where it is now.
    pub(super) fn speed(&self, at: Duration, applied: u64, left: u64) -> Speed {
        let time_left = (left == 0).then_some(Duration::ZERO);
        let Some(first) = self.samples.front() else {
            return Speed {
                per_second: None,
                time_left,
            };
        };
        let span = at.saturating_sub(first.at);
        if span < SPAN || applied < first.applied {
            return Speed {
                per_second: None,
                time_left,
            };
        }
        let seconds = span.as_secs_f64();
        let nearer = first.left.saturating_sub(left) as f64 / seconds;
        let estimate = || Duration::try_from_secs_f64(left as f64 / nearer).ok();
        Speed {
            per_second: Some((applied - first.applied) as f64 / seconds),
            time_left: time_left.or_else(estimate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_appended_meanwhile_is_taken_off() {
        let mut pace = Pace::default();
        assert_eq!(pace.speed(SECOND, 0, 1_000), Speed::default());
        // 100 events a second, 40 of which come anew.
        for second in 0..5 {
            let at = SECOND * second;
            pace.look(at, u64::from(second) * 100, 1_000 - u64::from(second) * 60);
        }
        let speed = pace.speed(SECOND * 5, 500, 700);
        assert_eq!(speed.per_second, Some(100.0));
        let left = speed.time_left.unwrap().as_secs_f64();
        assert!((left - 700.0 / 60.0).abs() < 0.001, "{left}");
        let done = pace.speed(SECOND * 20, 2_000, 0);
        assert_eq!(done.time_left, Some(Duration::ZERO));
    }

    #[test]
    fn one_that_comes_no_nearer_has_no_estimate() {
        let mut pace = Pace::default();
        for second in 0..40 {
            let at = SECOND * second;
            pace.look(at, u64::from(second) * 10, 500 + u64::from(second));
        }
        let speed = pace.speed(SECOND * 40, 400, 540);
        assert_eq!(
            speed,
            Speed {
                per_second: Some(10.0),
                time_left: None
            }
        );
        // Made anew from its beginning.
        pace.look(SECOND * 41, 3, 900);
        assert_eq!(pace.speed(SECOND * 42, 103, 800).per_second, Some(100.0));
    }
}
