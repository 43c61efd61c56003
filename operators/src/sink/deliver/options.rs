//! How long a refused result is waited for, and when nobody is called for a while.

use std::time::Duration;

use crate::breaker::BreakerOptions;

/// How results are given to whoever may refuse them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverOptions {
    /// How long a refused result is waited for; each next time twice as long, until one is taken. Default: 100 milliseconds.
    pub backoff: Duration,
    /// The longest such wait. Default: 10 seconds.
    pub backoff_max: Duration,
    /// When nobody is called for a while, since results are refused one after the other. Default: never, since the waits
    /// grow anyway. With [`WhileOpen::Fail`](crate::breaker::WhileOpen::Fail) the stage fails instead, and begins again from
    /// its last checkpoint.
    pub breaker: Option<BreakerOptions>,
}

impl Default for DeliverOptions {
    fn default() -> Self {
        Self {
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            breaker: None,
        }
    }
}

impl DeliverOptions {
    /// Waits `first` after the first refusal, twice as long after each further one, `max` at most.
    #[must_use]
    pub const fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.backoff = first;
        self.backoff_max = max;
        self
    }

    /// Calls nobody for a while after several refusals in a row.
    #[must_use]
    pub const fn breaker(mut self, breaker: BreakerOptions) -> Self {
        self.breaker = Some(breaker);
        self
    }

    pub(super) fn wait_after(&self, refusals: u32) -> Duration {
        let factor = 1u32.checked_shl(refusals.saturating_sub(1));
        let wait = self.backoff.saturating_mul(factor.unwrap_or(u32::MAX));
        wait.min(self.backoff_max)
    }
}
