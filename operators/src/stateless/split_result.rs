//! Results parted: what went well goes on, what did not goes to a sink of its own.

use std::convert::Infallible;
use std::marker::PhantomData;

use millstream_engine::flow::{Discard, Emit, Operator, inner_sink};
use millstream_engine::time::Timestamp;

/// Gives on the values of results; their errors go to `errors`.
#[derive(Debug)]
pub struct SplitResult<T, X, S> {
    errors: S,
    types: PhantomData<fn(Result<T, X>)>,
}

impl<T, X, S> SplitResult<T, X, S> {
    /// Errors go to `errors`.
    pub const fn new(errors: S) -> Self {
        Self {
            errors,
            types: PhantomData,
        }
    }
}

impl<T, X, S: Clone> Clone for SplitResult<T, X, S> {
    fn clone(&self) -> Self {
        Self::new(self.errors.clone())
    }
}

impl<T, X, S> Operator<Result<T, X>> for SplitResult<T, X, S>
where
    T: 'static,
    X: 'static,
    S: Operator<X, Out = Infallible>,
{
    type Out = T;

    #[inline(always)]
    fn item<E: Emit<T>>(&mut self, time: Timestamp, item: Result<T, X>, out: &mut E) {
        match item {
            Ok(value) => out.emit(time, value),
            Err(error) => self.errors.item(time, error, &mut Discard),
        }
    }

    inner_sink!(errors);
}
