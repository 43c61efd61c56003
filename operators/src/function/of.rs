//! A part of each item.

use millstream_engine::time::Timestamp;

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
    type Accumulator = A::Accumulator;
    type Output = A::Output;
    const MERGES: bool = A::MERGES;
    const INVERTS: bool = A::INVERTS;
    const GROWS: bool = A::GROWS;

    fn parameters(&self) -> String {
        self.function.parameters()
    }

    #[inline]
    fn create(&self) -> Self::Accumulator {
        self.function.create()
    }

    #[inline]
    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
        self.function.add(accumulator, time, &(self.part)(item));
    }

    #[inline]
    fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        self.function.merge(accumulator, other);
    }

    #[inline]
    fn subtract(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        self.function.subtract(accumulator, other);
    }

    #[inline]
    fn finish(&self, accumulator: &Self::Accumulator) -> A::Output {
        self.function.finish(accumulator)
    }
}
