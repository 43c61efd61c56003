//! A circuit breaker: after several failures in a row nobody is called for a while.
//!
//! Place: before calls to what is outside, of [`MapAsync`](crate::paced::MapAsync) and [`Deliver`](crate::sink::Deliver).
//! Closed, all calls are made. After `failures` of them in a row it opens: none is made for a cool-down. Then it is half
//! open: one call is made, whose success closes it, and whose failure opens it again for twice as long, up to a bound. If
//! nothing comes of that call within this bound, that is a failure as well, whatever comes of it later.
//! Failures in a row rather than a rate in a window: it needs no buckets and no size of traffic, says the same at any rate
//! of calls, and whoever answers every second call is better called than not.
//! Invariants: (1) what comes of a call counts only for the state in which it was made: of calls that were under way when
//! it opened, none closes it or keeps it open; (2) half open, one call is under way at most.
//! Threads: one owner. Time: what it is told. Not here: making calls, waiting.

use std::num::NonZeroU32;
use std::time::Duration;

use millstream_engine::metrics::BreakerMetrics;

#[cfg(test)]
mod tests;

/// What becomes of a call that is to be made while none are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhileOpen {
    /// It waits, and with it whatever comes behind it: whoever sends waits as well.
    #[default]
    Wait,
    /// It fails at once.
    Fail,
}

/// When a breaker opens, and for how long.
///
/// ```
/// use std::time::Duration;
/// use millstream_operators::breaker::BreakerOptions;
/// let options = BreakerOptions::after(3).cool_down(Duration::from_secs(1), Duration::from_secs(30));
/// assert_eq!(options.failures.get(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures in a row after which it opens; a try that took too long is one. Default 5. More: single failures do not
    /// matter; less: less is asked of whoever does not answer.
    pub failures: NonZeroU32,
    /// How long it is open the first time. Default 1 s.
    pub cool_down: Duration,
    /// The longest that it is open; each time after a failed probe twice as long as before. Also the longest that it waits
    /// for what comes of a probe, unless a try may take longer. Default 60 s.
    pub cool_down_max: Duration,
    /// What becomes of calls meanwhile. Default: they wait.
    pub while_open: WhileOpen,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures: const { NonZeroU32::new(5).unwrap() },
            cool_down: Duration::from_secs(1),
            cool_down_max: Duration::from_secs(60),
            while_open: WhileOpen::default(),
        }
    }
}

impl BreakerOptions {
    /// Opens after so many failures in a row, at least one.
    #[must_use]
    pub fn after(failures: u32) -> Self {
        Self {
            failures: NonZeroU32::new(failures).unwrap_or(NonZeroU32::MIN),
            ..Self::default()
        }
    }

    /// Open for `first`, and after each failed probe for twice as long, up to `max`.
    #[must_use]
    pub const fn cool_down(mut self, first: Duration, max: Duration) -> Self {
        self.cool_down = first;
        self.cool_down_max = max;
        self
    }

    /// Has calls fail while it is open, instead of waiting.
    #[must_use]
    pub const fn failing(mut self) -> Self {
        self.while_open = WhileOpen::Fail;
        self
    }
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls are made.
    Closed,
    /// One call is made, to see whether it is answered.
    HalfOpen,
    /// None is made.
    Open,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may: what comes of it is to be reported with this.
    Call(Permit),
    /// Not before this moment.
    NotBefore(Duration),
    /// Not before what comes of the call under way is known, or before this moment, at which it counts as failed.
    NotYet(Duration),
}

/// A call that may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what comes of the call is to be reported"]
pub struct Permit {
    /// The state that it was given in.
    era: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Duration,
    },
    /// The one call is under way.
    HalfOpen {
        until: Duration,
    },
}

/// The breaker of one partition of a stage.
#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    state: State,
    /// Of the last time that it opened since it was closed.
    cool_down: Duration,
    /// How long a probe may take.
    probe_max: Duration,
    /// Another one in each state.
    era: u64,
    metrics: Option<BreakerMetrics>,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            probe_max: options.cool_down_max.max(options.cool_down),
            state: State::Closed { failures: 0 },
            cool_down: Duration::ZERO,
            era: 0,
            metrics: None,
        }
    }

    /// Has a probe take as long as a try may take, if that is longer.
    #[must_use]
    pub fn tries_take(mut self, at_most: Option<Duration>) -> Self {
        self.probe_max = self.probe_max.max(at_most.unwrap_or_default());
        self
    }

    /// Shows its state from now on.
    pub fn show(&mut self, metrics: BreakerMetrics) {
        metrics.observe(0);
        self.metrics = Some(metrics);
    }

    /// Its options.
    #[must_use]
    pub const fn options(&self) -> &BreakerOptions {
        &self.options
    }

    /// Where it stands. Open until it is asked for a call after the cool-down.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks to make a call at `now`.
    pub fn admit(&mut self, now: Duration) -> Admission {
        if let State::HalfOpen { until } = self.state
            && until <= now
        {
            self.open(now);
        }
        match self.state {
            State::Open { until } if now < until => return Admission::NotBefore(until),
            State::HalfOpen { until } => return Admission::NotYet(until),
            State::Open { .. } => {
                let until = now.saturating_add(self.probe_max);
                self.enter(State::HalfOpen { until });
            }
            State::Closed { .. } => {}
        }
        Admission::Call(Permit { era: self.era })
    }

    /// A call was answered.
    pub fn succeeded(&mut self, permit: Permit) {
        if permit.era != self.era {
            return;
        }
        match self.state {
            State::Closed { .. } => self.state = State::Closed { failures: 0 },
            State::HalfOpen { .. } => {
                self.cool_down = Duration::ZERO;
                self.enter(State::Closed { failures: 0 });
            }
            State::Open { .. } => {}
        }
    }

    /// A call failed at `now`.
    pub fn failed(&mut self, permit: Permit, now: Duration) {
        if permit.era != self.era {
            return;
        }
        match self.state {
            State::Closed { failures } => {
                let failures = failures + 1;
                if failures < self.options.failures.get() {
                    self.state = State::Closed { failures };
                } else {
                    self.open(now);
                }
            }
            State::HalfOpen { .. } => self.open(now),
            State::Open { .. } => {}
        }
    }

    fn open(&mut self, now: Duration) {
        let longest = self.options.cool_down_max.max(self.options.cool_down);
        let doubled = self.cool_down.saturating_mul(2);
        self.cool_down = doubled.clamp(self.options.cool_down, longest);
        if let Some(metrics) = &self.metrics {
            metrics.count_opened();
        }
        tracing::warn!(
            cool_down = ?self.cool_down,
            "nobody outside is called for a while: calls fail one after the other"
        );
        let until = now.saturating_add(self.cool_down);
        self.enter(State::Open { until });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.era += 1;
        if let Some(metrics) = &self.metrics {
            metrics.observe(match self.state() {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            });
        }
    }
}
