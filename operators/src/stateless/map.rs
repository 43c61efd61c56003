//! One item becomes one other.

use millstream_engine::flow::{Emit, Operator, stateless};
use millstream_engine::time::Timestamp;

/// Gives out what a function makes of each item.
#[derive(Debug, Clone, Copy)]
pub struct Map<F> {
    function: F,
}

impl<F> Map<F> {
    /// Applies `function`.
    pub const fn new(function: F) -> Self {
        Self { function }
    }
}

impl<In, U, F: Fn(In) -> U + Send + 'static> Operator<In> for Map<F> {
    type Out = U;

    #[inline(always)]
    fn item<E: Emit<U>>(&mut self, time: Timestamp, item: In, out: &mut E) {
        out.emit(time, (self.function)(item));
    }

    stateless!();
}

/// Like [`Map`], for functions that look at the event time.
#[derive(Debug, Clone, Copy)]
pub struct MapTimed<F> {
    function: F,
}

impl<F> MapTimed<F> {
    /// Applies `function`.
    pub const fn new(function: F) -> Self {
        Self { function }
    }
}

impl<In, U, F: Fn(Timestamp, In) -> U + Send + 'static> Operator<In> for MapTimed<F> {
    type Out = U;

    #[inline(always)]
    fn item<E: Emit<U>>(&mut self, time: Timestamp, item: In, out: &mut E) {
        out.emit(time, (self.function)(time, item));
    }

    stateless!();
}
