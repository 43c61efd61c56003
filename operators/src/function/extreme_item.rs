//! The item with the least or the greatest key.

use std::cmp::Ordering;
use std::marker::PhantomData;

use millstream_engine::time::Timestamp;

use super::ranked::{Direction, Greatest, Least, Ranked};
use super::{Adapt, AggregateFunction, Stored};

/// Keeps the item with an extreme key; see [`min_by_key`] and [`max_by_key`].
#[derive(Debug, Clone, Copy)]
pub struct ExtremeItem<F, D> {
    key: F,
    direction: PhantomData<D>,
}

/// The item with the least `key`, `None` of no items. Merges.
///
/// Of equal keys the item of the earlier event time wins, of equal times the lesser item, in whatever order they come.
/// For items without an order see [`Adapt::of`] and [`reduce`](super::reduce).
pub fn min_by_key<T, K: Ord, F>(key: F) -> ExtremeItem<F, Least>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    ExtremeItem {
        key,
        direction: PhantomData,
    }
}

/// The item with the greatest `key`, `None` of no items. Merges. Ties as in [`min_by_key`].
pub fn max_by_key<T, K: Ord, F>(key: F) -> ExtremeItem<F, Greatest>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    ExtremeItem {
        key,
        direction: PhantomData,
    }
}

impl<F, D> Adapt for ExtremeItem<F, D> {}

impl<T, K, F, D> AggregateFunction<T> for ExtremeItem<F, D>
where
    T: Stored + Ord,
    K: Stored + Ord,
    F: Fn(&T) -> K + Clone + Send + 'static,
    D: Direction,
{
    type Accumulator = Option<Ranked<K, T>>;
    type Output = Option<T>;
    const MERGES: bool = true;

    fn create(&self) -> Self::Accumulator {
        None
    }

    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
        let key = (self.key)(item);
        let wins = accumulator
            .as_ref()
            .is_none_or(|kept| kept.place::<D>(&key, time, item) == Ordering::Less);
        if wins {
            *accumulator = Some(Ranked {
                key,
                time,
                item: item.clone(),
            });
        }
    }

    fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        let Some(other) = other else { return };
        let wins = accumulator.as_ref().is_none_or(|kept| {
            kept.place::<D>(&other.key, other.time, &other.item) == Ordering::Less
        });
        if wins {
            *accumulator = Some(other.clone());
        }
    }

    fn finish(&self, accumulator: &Self::Accumulator) -> Option<T> {
        accumulator.as_ref().map(|kept| kept.item.clone())
    }
}
