//! Only some of the items.

use millstream_engine::time::Timestamp;

use super::{Adapt, AggregateFunction};

/// A function of the items a closure wants; see [`Adapt::only`].
#[derive(Debug, Clone, Copy)]
pub struct Only<A, P> {
    function: A,
    wanted: P,
}

impl<A, P> Only<A, P> {
    pub(super) fn new(function: A, wanted: P) -> Self {
        Self { function, wanted }
    }
}

impl<A, P> Adapt for Only<A, P> {}

impl<T, A, P> AggregateFunction<T> for Only<A, P>
where
    A: AggregateFunction<T>,
    P: Fn(&T) -> bool + Clone + Send + 'static,
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
        if (self.wanted)(item) {
            self.function.add(accumulator, time, item);
        }
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
