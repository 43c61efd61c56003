//! Keeps some items.

use millstream_engine::flow::{Emit, Operator, stateless};
use millstream_engine::time::Timestamp;

/// Gives out the items for which a predicate holds. Watermarks pass whatever is filtered away.
#[derive(Debug, Clone, Copy)]
pub struct Filter<F> {
    predicate: F,
}

impl<F> Filter<F> {
    /// Keeps what `predicate` holds for.
    pub const fn new(predicate: F) -> Self {
        Self { predicate }
    }
}

impl<In: 'static, F: Fn(&In) -> bool + Send + 'static> Operator<In> for Filter<F> {
    type Out = In;

    #[inline(always)]
    fn item<E: Emit<In>>(&mut self, time: Timestamp, item: In, out: &mut E) {
        if (self.predicate)(&item) {
            out.emit(time, item);
        }
    }

    stateless!();
}
