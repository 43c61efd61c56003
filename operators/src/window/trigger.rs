//! When a window's result is given out besides once at the watermark.

use std::num::NonZeroU64;
use std::time::Duration;

use super::aligned::micros;
use super::{Global, Session, Sliding, Tumbling};

/// When results are given out. Results accumulate: each has all items of its window so far and replaces the one
/// before.
///
/// ```
/// use std::time::Duration;
/// use millstream_operators::window::Trigger;
///
/// let trigger = Trigger::at_watermark()
///     .early_every(Duration::from_secs(1))
///     .early_count(1_000)
///     .late_each();
/// # let _ = trigger;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub(super) early_every: Option<i64>,
    pub(super) early_count: Option<NonZeroU64>,
    pub(super) late_each: bool,
}

impl Trigger {
    /// Once when the watermark passes the window's end; and, if items came within the allowed lateness, once more
    /// when that is over.
    pub const fn at_watermark() -> Self {
        Self {
            early_every: None,
            early_count: None,
            late_each: false,
        }
    }

    /// Before that, what has changed every `period` of the engine's clock (at its whole multiples).
    #[must_use]
    pub fn early_every(mut self, period: Duration) -> Self {
        self.early_every = Some(micros(period));
        self
    }

    /// Before that, whenever `items` items (at least one) have come for a key and window since it was last given out.
    #[must_use]
    pub fn early_count(mut self, items: u64) -> Self {
        self.early_count = Some(NonZeroU64::new(items).unwrap_or(NonZeroU64::MIN));
        self
    }

    /// After that, with each item that comes within the allowed lateness.
    #[must_use]
    pub const fn late_each(mut self) -> Self {
        self.late_each = true;
        self
    }

    /// Whether anything is given out before the watermark.
    pub(super) const fn is_early(&self) -> bool {
        self.early_every.is_some() || self.early_count.is_some()
    }

    /// Whether so many items are enough for an early result.
    #[inline]
    pub(super) fn is_enough(&self, items: u64) -> bool {
        self.early_count.is_some_and(|enough| items >= enough.get())
    }

    /// When early results are due for what changed at `now`.
    pub(super) fn next_early(&self, now: i64) -> Option<i64> {
        let period = self.early_every?;
        let number = now.div_euclid(period).saturating_add(1);
        Some(number.saturating_mul(period))
    }
}

/// A window with a trigger of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triggered<W> {
    pub(super) window: W,
    pub(super) trigger: Trigger,
}

impl<W> Triggered<W> {
    /// `window`, given out as `trigger` says.
    pub const fn new(window: W, trigger: Trigger) -> Self {
        Self { window, trigger }
    }

    /// Whether anything is given out before the window has ended.
    #[must_use]
    pub const fn is_early(&self) -> bool {
        self.trigger.is_early()
    }
}

macro_rules! retracting {
    ($($window:ident),*) => {
        $(
            impl Triggered<$window> {
                /// Takes back each result before one that replaces it.
                #[must_use]
                pub fn retracting(mut self) -> Self {
                    self.window = self.window.retracting();
                    self
                }
            }
        )*
    };
}

retracting!(Tumbling, Sliding, Session, Global);
