//! An average.

use millstream_engine::time::Timestamp;

use super::{Adapt, AggregateFunction, Averaged};

/// Averages a quantity; see [`mean`].
#[derive(Debug, Clone, Copy)]
pub struct Mean<F> {
    quantity: F,
}

/// The mean of `quantity`, `None` of no items. Merges; inverts where the quantity is exact.
///
/// Keeps a total and a count, so for integers only the final division rounds.
pub fn mean<T, N, F>(quantity: F) -> Mean<F>
where
    N: Averaged,
    F: Fn(&T) -> N + Clone + Send + 'static,
{
    Mean { quantity }
}

impl<F> Adapt for Mean<F> {}

impl<T, N, F> AggregateFunction<T> for Mean<F>
where
    N: Averaged,
    F: Fn(&T) -> N + Clone + Send + 'static,
{
    type Accumulator = (N::Total, u64);
    type Output = Option<N::Mean>;
    const MERGES: bool = true;
    const INVERTS: bool = N::EXACT;

    #[inline]
    fn create(&self) -> Self::Accumulator {
        (N::zero(), 0)
    }

    #[inline]
    fn add(&self, accumulator: &mut Self::Accumulator, _time: Timestamp, item: &T) {
        (self.quantity)(item).add_to(&mut accumulator.0);
        accumulator.1 += 1;
    }

    #[inline]
    fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        N::merge(&mut accumulator.0, &other.0);
        accumulator.1 += other.1;
    }

    #[inline]
    fn subtract(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        N::subtract(&mut accumulator.0, &other.0);
        accumulator.1 -= other.1;
    }

    fn finish(&self, accumulator: &Self::Accumulator) -> Self::Output {
        (accumulator.1 > 0).then(|| N::divide(&accumulator.0, accumulator.1))
    }
}
