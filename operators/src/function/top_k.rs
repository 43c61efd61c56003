//! The k items with the greatest keys.
//!
//! Cost: k items are kept; an item that is not among them costs one comparison, one that is, an insertion.

use std::cmp::Ordering;

use millstream_engine::time::Timestamp;

use super::ranked::{Greatest, Ranked};
use super::{Adapt, AggregateFunction, Stored};

/// Keeps the best items; see [`top_k`].
#[derive(Debug, Clone, Copy)]
pub struct TopK<F> {
    limit: usize,
    by: F,
}

/// The `limit` items with the greatest `by`, greatest first; fewer if there are fewer. Merges.
///
/// Of equal keys the earlier event time comes first, of equal times the lesser item, in whatever order they arrive. An
/// item that comes twice is listed twice. For the least keys use [`Reverse`](std::cmp::Reverse).
pub fn top_k<T, K: Ord, F>(limit: usize, by: F) -> TopK<F>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    TopK { limit, by }
}

impl<F> TopK<F> {
    /// Where an item belongs, unless it is beyond the limit.
    fn slot<K: Ord, T: Ord>(
        &self,
        best: &[Ranked<K, T>],
        key: &K,
        time: Timestamp,
        item: &T,
    ) -> Option<usize> {
        if best.len() >= self.limit {
            let worst = best.last()?;
            if worst.place::<Greatest>(key, time, item) != Ordering::Less {
                return None;
            }
        }
        Some(best.partition_point(|kept| kept.place::<Greatest>(key, time, item) != Ordering::Less))
    }
}

impl<F> Adapt for TopK<F> {}

impl<T, K, F> AggregateFunction<T> for TopK<F>
where
    T: Stored + Ord,
    K: Stored + Ord,
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    type Accumulator = Vec<Ranked<K, T>>;
    type Output = Vec<T>;
    const MERGES: bool = true;

    fn parameters(&self) -> String {
        format!("the {} greatest items", self.limit)
    }

    fn create(&self) -> Self::Accumulator {
        Vec::new()
    }

    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
        let key = (self.by)(item);
        if let Some(slot) = self.slot(accumulator, &key, time, item) {
            accumulator.truncate(self.limit.saturating_sub(1));
            accumulator.insert(
                slot,
                Ranked {
                    key,
                    time,
                    item: item.clone(),
                },
            );
        }
    }

    fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        for ranked in other {
            // Best first: what comes after one that has no place has none either.
            let Some(slot) = self.slot(accumulator, &ranked.key, ranked.time, &ranked.item) else {
                break;
            };
            accumulator.truncate(self.limit.saturating_sub(1));
            accumulator.insert(slot, ranked.clone());
        }
    }

    fn finish(&self, accumulator: &Self::Accumulator) -> Vec<T> {
        accumulator
            .iter()
            .map(|ranked| ranked.item.clone())
            .collect()
    }
}
