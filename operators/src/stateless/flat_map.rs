//! One item becomes any number of others.

use millstream_engine::flow::{Emit, Operator, stateless};
use millstream_engine::time::Timestamp;

/// Gives out all that a function makes of an item, at the item's time.
#[derive(Debug, Clone, Copy)]
pub struct FlatMap<F> {
    function: F,
}

impl<F> FlatMap<F> {
    /// Applies `function`.
    pub const fn new(function: F) -> Self {
        Self { function }
    }
}

impl<In, I, F> Operator<In> for FlatMap<F>
where
    I: IntoIterator,
    F: Fn(In) -> I + Send + 'static,
{
    type Out = I::Item;

    #[inline(always)]
    fn item<E: Emit<I::Item>>(&mut self, time: Timestamp, item: In, out: &mut E) {
        for item in (self.function)(item) {
            out.emit(time, item);
        }
    }

    stateless!();
}
