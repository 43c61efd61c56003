//! The least and the greatest value.

use std::marker::PhantomData;

use millstream_engine::time::Timestamp;

use super::ranked::{Direction, Greatest, Least};
use super::{Adapt, AggregateFunction, Optional, Stored};

/// Keeps an extreme value; see [`min`] and [`max`].
#[derive(Debug, Clone, Copy)]
pub struct Extreme<F, D> {
    value: F,
    direction: PhantomData<D>,
}

/// The least `value`, `None` of no items. Merges.
///
/// Floats have no total order: use a wrapper that has one, or an integer unit.
pub fn min<T, K: Ord, F>(value: F) -> Extreme<F, Least>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    Extreme {
        value,
        direction: PhantomData,
    }
}

/// The greatest `value`, `None` of no items. Merges.
pub fn max<T, K: Ord, F>(value: F) -> Extreme<F, Greatest>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    Extreme {
        value,
        direction: PhantomData,
    }
}

impl<F, D> Adapt for Extreme<F, D> {}

impl<T, K, F, D> AggregateFunction<T> for Extreme<F, D>
where
    K: Stored + Ord,
    F: Fn(&T) -> K + Clone + Send + 'static,
    D: Direction,
{
    type Accumulator = Optional<K>;
    type Output = Option<K>;
    const MERGES: bool = true;

    #[inline]
    fn create(&self) -> Optional<K> {
        Optional(None)
    }

    #[inline]
    fn add(&self, accumulator: &mut Optional<K>, _time: Timestamp, item: &T) {
        let value = (self.value)(item);
        if accumulator
            .0
            .as_ref()
            .is_none_or(|kept| value.cmp(kept) == D::WINS)
        {
            accumulator.0 = Some(value);
        }
    }

    fn merge(&self, accumulator: &mut Optional<K>, other: &Optional<K>) {
        let Some(value) = &other.0 else { return };
        if accumulator
            .0
            .as_ref()
            .is_none_or(|kept| value.cmp(kept) == D::WINS)
        {
            accumulator.0 = Some(value.clone());
        }
    }

    fn finish(&self, accumulator: &Optional<K>) -> Option<K> {
        accumulator.0.clone()
    }
}
