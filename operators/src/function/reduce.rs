//! Items combined into one.

use millstream_engine::time::Timestamp;

use super::{Adapt, AggregateFunction, Optional, Stored};

/// Combines items; see [`reduce`].
#[derive(Debug, Clone, Copy)]
pub struct Reduce<F> {
    combine: F,
}

/// All items combined two by two, `None` of no items. Merges.
///
/// `combine` must be associative and commutative: which two are combined when depends on arrival, partitions and
/// slices. Where it is not, results differ from run to run; use [`fold`](super::fold), which does not merge. A panic in
/// `combine` leaves what was kept as it was.
pub fn reduce<T, F>(combine: F) -> Reduce<F>
where
    F: Fn(&T, &T) -> T + Clone + Send + 'static,
{
    Reduce { combine }
}

impl<F> Adapt for Reduce<F> {}

impl<T, F> AggregateFunction<T> for Reduce<F>
where
    T: Stored,
    F: Fn(&T, &T) -> T + Clone + Send + 'static,
{
    type Accumulator = Optional<T>;
    type Output = Option<T>;
    const MERGES: bool = true;

    fn create(&self) -> Optional<T> {
        Optional(None)
    }

    fn add(&self, accumulator: &mut Optional<T>, _time: Timestamp, item: &T) {
        accumulator.0 = Some(match &accumulator.0 {
            Some(kept) => (self.combine)(kept, item),
            None => item.clone(),
        });
    }

    fn merge(&self, accumulator: &mut Optional<T>, other: &Optional<T>) {
        if let Some(item) = &other.0 {
            self.add(accumulator, Timestamp::MIN, item);
        }
    }

    fn finish(&self, accumulator: &Optional<T>) -> Option<T> {
        accumulator.0.clone()
    }
}
