//! Results parted: what went well goes on, what did not goes to a sink of its own.

use std::convert::Infallible;
use std::marker::PhantomData;

use millstream_engine::flow::{Discard, Emit, Fault, Operator, Turn, Wiring};
use millstream_engine::stage::Blocked;
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

    fn watermark<E: Emit<T>>(&mut self, watermark: Timestamp, _out: &mut E) {
        self.errors.watermark(watermark, &mut Discard);
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.errors.late_before(limit);
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.errors.open(wiring)
    }

    fn begin(&mut self, turn: &Turn) {
        self.errors.begin(turn);
    }

    fn processing_time<E: Emit<T>>(&mut self, now: Timestamp, _out: &mut E) {
        self.errors.processing_time(now, &mut Discard);
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.errors.next_due()
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.errors.flush(idle)
    }

    fn is_blocked(&self) -> bool {
        self.errors.is_blocked()
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        self.errors.blocked(waits);
    }

    fn idle(&mut self) {
        self.errors.idle();
    }

    fn end<E: Emit<T>>(&mut self, _out: &mut E) {
        self.errors.end(&mut Discard);
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        self.errors.state_items(into);
    }
}
