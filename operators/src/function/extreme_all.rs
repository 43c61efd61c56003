//! All items that share the least or the greatest key.
//!
//! Cost: as many items are kept as tie, with no bound but the window's.

use std::cmp::Ordering;
use std::marker::PhantomData;

use millstream_engine::time::Timestamp;

use super::ranked::{Direction, Greatest, Least};
use super::{Adapt, AggregateFunction, Stored};

/// Keeps all items with an extreme key; see [`min_all`] and [`max_all`].
#[derive(Debug, Clone, Copy)]
pub struct ExtremeAll<F, D> {
    key: F,
    direction: PhantomData<D>,
}

/// All items with the least `key`, by event time, then by their own order; empty of no items. Merges.
pub fn min_all<T, K: Ord, F>(key: F) -> ExtremeAll<F, Least>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    ExtremeAll {
        key,
        direction: PhantomData,
    }
}

/// All items with the greatest `key`, by event time, then by their own order; empty of no items. Merges.
pub fn max_all<T, K: Ord, F>(key: F) -> ExtremeAll<F, Greatest>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    ExtremeAll {
        key,
        direction: PhantomData,
    }
}

impl<F, D> Adapt for ExtremeAll<F, D> {}

impl<T, K, F, D> AggregateFunction<T> for ExtremeAll<F, D>
where
    T: Stored + Ord,
    K: Stored + Ord,
    F: Fn(&T) -> K + Clone + Send + 'static,
    D: Direction,
{
    type Accumulator = Option<(K, Vec<(Timestamp, T)>)>;
    type Output = Vec<T>;
    const MERGES: bool = true;
    const GROWS: bool = true;

    fn create(&self) -> Self::Accumulator {
        None
    }

    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
        let key = (self.key)(item);
        let order = accumulator
            .as_ref()
            .map_or(D::WINS, |kept| key.cmp(&kept.0));
        match accumulator {
            Some((_, items)) if order == Ordering::Equal => items.push((time, item.clone())),
            _ if order == D::WINS => *accumulator = Some((key, vec![(time, item.clone())])),
            _ => {}
        }
    }

    fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        let Some((key, others)) = other else { return };
        let order = accumulator
            .as_ref()
            .map_or(D::WINS, |kept| key.cmp(&kept.0));
        match accumulator {
            Some((_, items)) if order == Ordering::Equal => items.extend_from_slice(others),
            _ if order == D::WINS => accumulator.clone_from(other),
            _ => {}
        }
    }

    fn finish(&self, accumulator: &Self::Accumulator) -> Vec<T> {
        let Some((_, items)) = accumulator else {
            return Vec::new();
        };
        let mut sorted: Vec<&(Timestamp, T)> = items.iter().collect();
        sorted.sort_unstable();
        sorted.into_iter().map(|(_, item)| item.clone()).collect()
    }
}
