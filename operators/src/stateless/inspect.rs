//! Looks at items on their way.

use millstream_engine::flow::{Emit, Operator, stateless};
use millstream_engine::time::Timestamp;

/// Shows each item to a function and gives it on.
#[derive(Debug, Clone, Copy)]
pub struct Inspect<F> {
    function: F,
}

impl<F> Inspect<F> {
    /// Shows items to `function`.
    pub const fn new(function: F) -> Self {
        Self { function }
    }
}

impl<In: 'static, F: Fn(Timestamp, &In) + Send + 'static> Operator<In> for Inspect<F> {
    type Out = In;

    #[inline(always)]
    fn item<E: Emit<In>>(&mut self, time: Timestamp, item: In, out: &mut E) {
        (self.function)(time, &item);
        out.emit(time, item);
    }

    stateless!();
}
