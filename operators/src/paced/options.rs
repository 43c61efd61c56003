//! How calls that take time are made, and what comes of one that fails.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::breaker::BreakerOptions;

/// How many calls at once, in which order their results go on, and what happens to one that fails.
///
/// ```
/// use std::time::Duration;
/// use millstream_operators::paced::AsyncOptions;
/// let options = AsyncOptions::unordered(64).timeout(Duration::from_secs(2)).retries(3);
/// assert_eq!(options.concurrency.get(), 64);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncOptions {
    /// Calls under way at once in each partition, those that wait for another try included. More hides longer
    /// waits; less is easier on whoever is called.
    pub concurrency: NonZeroUsize,
    /// Whether results keep the order of their items. Otherwise a result goes on when it is there; watermarks are
    /// never overtaken either way.
    pub is_ordered: bool,
    /// How long one try may take. Default: as long as it takes.
    pub timeout: Option<Duration>,
    /// Tries after the first. Default: none.
    pub retries: u32,
    /// How long the first further try is waited for; each next one twice as long. Default: 100 milliseconds.
    pub backoff: Duration,
    /// The longest that a further try is waited for. Default: 10 seconds.
    pub backoff_max: Duration,
    /// When no calls are made for a while, since they fail one after the other. Default: never, since a call may fail for
    /// what it is asked, and then the next one need not. Each partition has a breaker of its own.
    pub breaker: Option<BreakerOptions>,
}

impl AsyncOptions {
    const fn new(concurrency: usize, is_ordered: bool) -> Self {
        let concurrency = match NonZeroUsize::new(concurrency) {
            Some(concurrency) => concurrency,
            None => NonZeroUsize::MIN,
        };
        Self {
            concurrency,
            is_ordered,
            timeout: None,
            retries: 0,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            breaker: None,
        }
    }

    /// Results in the order of their items; a slow call holds those behind it back. `concurrency` is at least 1.
    pub const fn ordered(concurrency: usize) -> Self {
        Self::new(concurrency, true)
    }

    /// Each result as soon as it is there. `concurrency` is at least 1.
    pub const fn unordered(concurrency: usize) -> Self {
        Self::new(concurrency, false)
    }

    /// Gives each try this long.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Tries again so often.
    #[must_use]
    pub const fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Waits `first` before the second try, twice as long before each further one, `max` at most.
    #[must_use]
    pub const fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.backoff = first;
        self.backoff_max = max;
        self
    }

    /// Makes no calls for a while after several failures in a row. What waits for a call, or for another try, waits that
    /// long too, or fails with [`AsyncCause::NotCalled`], as the breaker's options say. A barrier waits with the items
    /// before it, so a checkpoint may be given up meanwhile.
    #[must_use]
    pub const fn breaker(mut self, breaker: BreakerOptions) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// The wait after `tries` tries.
    pub(super) fn wait_after(&self, tries: u32) -> Duration {
        let factor = 1u32
            .checked_shl(tries.saturating_sub(1))
            .unwrap_or(u32::MAX);
        self.backoff.saturating_mul(factor).min(self.backoff_max)
    }
}

/// Why a call gave nothing, the last time that it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsyncCause<E> {
    /// It took longer than the timeout. Whether it had an effect where it was made is not known.
    TimedOut,
    /// It failed.
    Failed(E),
    /// It was not made: calls before it failed one after the other.
    NotCalled,
}

/// A call that gave nothing, with its item: tries are used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncError<T, E> {
    /// What was to be worked on.
    pub item: T,
    /// How often it was tried.
    pub tries: u32,
    /// Why the last try gave nothing.
    pub cause: AsyncCause<E>,
}
