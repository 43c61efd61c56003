//! The first and the last item by event time.

use std::marker::PhantomData;

use millstream_engine::time::Timestamp;

use super::ranked::{Direction, Greatest, Least};
use super::{Adapt, AggregateFunction, Stored};

/// Keeps the item at one end of event time; see [`first`] and [`last`].
#[derive(Debug, Clone, Copy)]
pub struct ByTime<D> {
    direction: PhantomData<D>,
}

/// The item of the earliest event time, of equal times the least item; `None` of no items. Merges.
///
/// Arrival plays no part. For items without an order see [`Adapt::of`] and [`reduce`](super::reduce).
pub fn first() -> ByTime<Least> {
    ByTime {
        direction: PhantomData,
    }
}

/// The item of the latest event time, of equal times the greatest item; `None` of no items. Merges.
pub fn last() -> ByTime<Greatest> {
    ByTime {
        direction: PhantomData,
    }
}

impl<D> Adapt for ByTime<D> {}

impl<T, D> AggregateFunction<T> for ByTime<D>
where
    T: Stored + Ord,
    D: Direction,
{
    type Accumulator = Option<(Timestamp, T)>;
    type Output = Option<T>;
    const MERGES: bool = true;

    fn create(&self) -> Self::Accumulator {
        None
    }

    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
        let wins = accumulator
            .as_ref()
            .is_none_or(|kept| (time, item).cmp(&(kept.0, &kept.1)) == D::WINS);
        if wins {
            *accumulator = Some((time, item.clone()));
        }
    }

    fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        if let Some((time, item)) = other {
            self.add(accumulator, *time, item);
        }
    }

    fn finish(&self, accumulator: &Self::Accumulator) -> Option<T> {
        accumulator.as_ref().map(|kept| kept.1.clone())
    }
}
