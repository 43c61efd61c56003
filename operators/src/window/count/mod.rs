//! Count windows: every so many items of a key are one window.
//!
//! Items are counted as they arrive. One source split keeps its order, so results are the same in every run if a key's
//! items come from one split through stages of one partition order; where a key's items come from several, or are
//! reordered on the way, other items may meet in a window from run to run. No item is late: time plays no part.
//! A window's bounds are the times of its earliest and its latest item.
//! State: per key the windows that are not full; with [`every`](Count::every) and a function that merges one
//! accumulator per `gcd(size, every)` items instead. A key whose windows are all full is forgotten, unless windows
//! overlap or leave items out: then it stays until the end of the input, so that keys must be bounded.
//! A checkpoint says how many items windows have, and state of other windows is refused. Where it does not say so, as of
//! earlier versions, what each key has must be what these windows would have of it.
//! Cost: one lookup per item; if windows overlap a constant number of merges in the mean for a function that merges,
//! and one `add` per window for one that does not.

mod bounds;
mod held;
mod operator;
mod saved;
#[cfg(test)]
mod tests;

use std::num::NonZeroU64;

pub use operator::CountWindows;

/// Windows of a number of items.
///
/// ```
/// use millstream_operators::window::Count;
///
/// // The last 100 items, anew with every tenth.
/// let window = Count::of(100).every(10);
/// # let _ = window;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    size: u64,
    every: u64,
    pub(super) unfinished: bool,
}

impl Count {
    /// Each `items` items (at least one) of a key, in order of arrival.
    pub fn of(items: u64) -> Self {
        let size = items.max(1);
        Self {
            size,
            every: size,
            unfinished: false,
        }
    }

    /// A window begins every `items` items (at least one): they overlap if that is less than their size, and leave
    /// items out if it is more.
    #[must_use]
    pub fn every(mut self, items: u64) -> Self {
        self.every = NonZeroU64::new(items).map_or(1, NonZeroU64::get);
        self
    }

    /// At the end of the input gives out windows that are not full, as [`Early`](super::Revision::Early). Default:
    /// they are dropped.
    #[must_use]
    pub const fn with_unfinished(mut self) -> Self {
        self.unfinished = true;
        self
    }
}
