//! A total.

use millstream_engine::time::Timestamp;

use super::{Adapt, AggregateFunction, Summable};

/// Adds up a quantity; see [`sum`].
#[derive(Debug, Clone, Copy)]
pub struct Sum<F> {
    quantity: F,
}

/// The total of `quantity`, zero of no items. Merges; inverts where the quantity is exact.
///
/// Integers add up to wider ones (`u32` to `u64`, `i64` to `i128`) and never overflow in practice; 128-bit integers
/// wrap. Floats round, so the last digits of their total depend on the order of adding: where that matters, add up
/// integers (cents) or a decimal.
pub fn sum<T, N, F>(quantity: F) -> Sum<F>
where
    N: Summable,
    F: Fn(&T) -> N + Clone + Send + 'static,
{
    Sum { quantity }
}

impl<F> Adapt for Sum<F> {}

impl<T, N, F> AggregateFunction<T> for Sum<F>
where
    N: Summable,
    F: Fn(&T) -> N + Clone + Send + 'static,
{
    type Accumulator = N::Total;
    type Output = N::Total;
    const MERGES: bool = true;
    const INVERTS: bool = N::EXACT;

    #[inline]
    fn create(&self) -> N::Total {
        N::zero()
    }

    #[inline]
    fn add(&self, accumulator: &mut N::Total, _time: Timestamp, item: &T) {
        (self.quantity)(item).add_to(accumulator);
    }

    #[inline]
    fn merge(&self, accumulator: &mut N::Total, other: &N::Total) {
        N::merge(accumulator, other);
    }

    #[inline]
    fn subtract(&self, accumulator: &mut N::Total, other: &N::Total) {
        N::subtract(accumulator, other);
    }

    #[inline]
    fn finish(&self, accumulator: &N::Total) -> N::Total {
        accumulator.clone()
    }
}
