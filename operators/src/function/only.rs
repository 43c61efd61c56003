//! Only some of the items.

use millstream_engine::time::Timestamp;

use super::inner_function;
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
    inner_function!(function: A);

    #[inline]
    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
        if (self.wanted)(item) {
            self.function.add(accumulator, time, item);
        }
    }
}
