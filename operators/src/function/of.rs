//! A part of each item.

use millstream_engine::time::Timestamp;

use super::inner_function;
use super::{Adapt, AggregateFunction};

/// A function of what a closure makes of an item; see [`Adapt::of`].
#[derive(Debug, Clone, Copy)]
pub struct Of<A, P> {
    function: A,
    part: P,
}

impl<A, P> Of<A, P> {
    pub(super) fn new(function: A, part: P) -> Self {
        Self { function, part }
    }
}

impl<A, P> Adapt for Of<A, P> {}

impl<T, U, A, P> AggregateFunction<T> for Of<A, P>
where
    A: AggregateFunction<U>,
    P: Fn(&T) -> U + Clone + Send + 'static,
{
    inner_function!(function: A);

    #[inline]
    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
        self.function.add(accumulator, time, &(self.part)(item));
    }
}
