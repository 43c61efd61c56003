//! A closure's own accumulator.

use millstream_engine::time::Timestamp;

use super::{Adapt, AggregateFunction, Stored};

/// Folds items; see [`fold`].
#[derive(Debug, Clone, Copy)]
pub struct Fold<S, F> {
    start: S,
    step: F,
}

/// Folds items and merges; see [`fold_merging`].
#[derive(Debug, Clone, Copy)]
pub struct FoldMerging<S, F, M> {
    start: S,
    step: F,
    merge: M,
}

/// What `step` makes of `start`, item after item, in order of arrival. Does not merge.
///
/// A panic in `step` leaves what it had changed by then: check before changing.
pub fn fold<T, S, F>(start: S, step: F) -> Fold<S, F>
where
    F: Fn(&mut S, &T) + Clone + Send + 'static,
{
    Fold { start, step }
}

/// As [`fold`], and merges: `merge` takes what the second has taken in into the first.
///
/// `start` must be neutral to `merge`, and adding some items here, others there and merging must give what adding all
/// of them in one place gives, in any order.
pub fn fold_merging<T, S, F, M>(start: S, step: F, merge: M) -> FoldMerging<S, F, M>
where
    F: Fn(&mut S, &T) + Clone + Send + 'static,
    M: Fn(&mut S, &S) + Clone + Send + 'static,
{
    FoldMerging { start, step, merge }
}

impl<S, F> Adapt for Fold<S, F> {}
impl<S, F, M> Adapt for FoldMerging<S, F, M> {}

impl<T, S, F> AggregateFunction<T> for Fold<S, F>
where
    S: Stored,
    F: Fn(&mut S, &T) + Clone + Send + 'static,
{
    type Accumulator = S;
    type Output = S;

    fn create(&self) -> S {
        self.start.clone()
    }

    #[inline]
    fn add(&self, accumulator: &mut S, _time: Timestamp, item: &T) {
        (self.step)(accumulator, item);
    }

    fn finish(&self, accumulator: &S) -> S {
        accumulator.clone()
    }
}

impl<T, S, F, M> AggregateFunction<T> for FoldMerging<S, F, M>
where
    S: Stored,
    F: Fn(&mut S, &T) + Clone + Send + 'static,
    M: Fn(&mut S, &S) + Clone + Send + 'static,
{
    type Accumulator = S;
    type Output = S;
    const MERGES: bool = true;
    // It may, and one that does not loses next to nothing by it.
    const GROWS: bool = true;

    fn create(&self) -> S {
        self.start.clone()
    }

    #[inline]
    fn add(&self, accumulator: &mut S, _time: Timestamp, item: &T) {
        (self.step)(accumulator, item);
    }

    fn merge(&self, accumulator: &mut S, other: &S) {
        (self.merge)(accumulator, other);
    }

    fn finish(&self, accumulator: &S) -> S {
        accumulator.clone()
    }
}
