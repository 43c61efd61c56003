//! One item becomes one other or none.

use millstream_engine::flow::{Emit, Operator, stateless};
use millstream_engine::time::Timestamp;

/// Gives out what a function makes of an item, where it makes something.
#[derive(Debug, Clone, Copy)]
pub struct FilterMap<F> {
    function: F,
}

impl<F> FilterMap<F> {
    /// Applies `function`.
    pub const fn new(function: F) -> Self {
        Self { function }
    }
}

impl<In, U, F: Fn(In) -> Option<U> + Send + 'static> Operator<In> for FilterMap<F> {
    type Out = U;

    #[inline(always)]
    fn item<E: Emit<U>>(&mut self, time: Timestamp, item: In, out: &mut E) {
        if let Some(item) = (self.function)(item) {
            out.emit(time, item);
        }
    }

    stateless!();
}
