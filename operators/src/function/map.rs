//! Another result from the same accumulator.

use millstream_engine::time::Timestamp;

use super::inner_function;
use super::{Adapt, AggregateFunction};

/// A function whose result goes through a closure; see [`Adapt::map`].
#[derive(Debug, Clone, Copy)]
pub struct Mapped<A, M> {
    function: A,
    map: M,
}

impl<A, M> Mapped<A, M> {
    pub(super) fn new(function: A, map: M) -> Self {
        Self { function, map }
    }
}

impl<A, M> Adapt for Mapped<A, M> {}

impl<T, U, A, M> AggregateFunction<T> for Mapped<A, M>
where
    A: AggregateFunction<T>,
    M: Fn(A::Output) -> U + Clone + Send + 'static,
{
    inner_function!(function: A but finish);

    type Output = U;

    #[inline]
    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
        self.function.add(accumulator, time, item);
    }

    #[inline]
    fn finish(&self, accumulator: &Self::Accumulator) -> U {
        (self.map)(self.function.finish(accumulator))
    }
}
