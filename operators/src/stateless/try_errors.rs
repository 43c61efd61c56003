//! Errors among items, dealt with like items that a function fails on: what is good goes on as it is.
//!
//! State: errors that wait, see [`failing`](crate::failing). Each is tried by itself, as [`Again`] says. Cost: one branch per
//! good item, which is neither copied nor looked at.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

use millstream_engine::checkpoint::{Epoch, Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Turn, Wiring};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;

use super::try_items::{NoOrder, TryFunction, TryItems};
use crate::Savable;
use crate::failing::{Failure, ItemPolicy, guarded};

/// An error that may be an item after all, once the program has changed.
pub trait Again<T>: Savable {
    /// Makes the item.
    ///
    /// # Errors
    /// Why it is still an error.
    fn again(&self) -> Result<T, Box<dyn Error + Send + Sync>>;
}

/// Tries errors.
struct TryAgain<T>(PhantomData<fn() -> T>);

impl<T> Clone for TryAgain<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T: 'static, X: Again<T>> TryFunction<X> for TryAgain<T> {
    type Out = T;

    fn call(&self, item: &X, mut give: impl FnMut(T)) -> Result<(), Failure> {
        give(guarded(|| item.again())?);
        Ok(())
    }
}

/// Gives good items on, and deals with errors by a policy.
pub struct TryErrors<T: 'static, X: Again<T>> {
    errors: TryItems<X, NoOrder, TryAgain<T>>,
}

impl<T: 'static, X: Again<T>> TryErrors<T, X> {
    /// Deals with errors by `policy`; `ordinal` is how many operators of the stage come before it that may fail, too.
    #[must_use]
    pub fn new(policy: ItemPolicy, ordinal: usize) -> Self {
        Self {
            errors: TryItems::new(policy, ordinal, NoOrder, TryAgain(PhantomData)),
        }
    }

    #[cold]
    #[inline(never)]
    fn error<E: Emit<T>>(&mut self, time: Timestamp, error: X, out: &mut E) {
        self.errors.item(time, error, out);
    }
}

impl<T: 'static, X: Again<T>> Operator<Result<T, X>> for TryErrors<T, X> {
    type Out = T;

    #[inline(always)]
    fn item<E: Emit<T>>(&mut self, time: Timestamp, item: Result<T, X>, out: &mut E) {
        match item {
            Ok(item) => out.emit(time, item),
            Err(error) => self.error(time, error, out),
        }
    }

    fn watermark<E: Emit<T>>(&mut self, watermark: Timestamp, out: &mut E) {
        self.errors.watermark(watermark, out);
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

    fn processing_time<E: Emit<T>>(&mut self, now: Timestamp, out: &mut E) {
        self.errors.processing_time(now, out);
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

    fn holds_end(&self) -> bool {
        self.errors.holds_end()
    }

    fn before_end<E: Emit<T>>(&mut self, out: &mut E) -> bool {
        self.errors.before_end(out)
    }

    fn end<E: Emit<T>>(&mut self, out: &mut E) {
        self.errors.end(out);
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        self.errors.state_items(into);
    }

    fn before_barrier<E: Emit<T>>(&mut self, out: &mut E) {
        self.errors.before_barrier(out);
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        self.errors.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        self.errors.restore(restoring)
    }

    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        self.errors.checkpointed(epoch)
    }

    fn awaits_checkpoint(&self) -> bool {
        self.errors.awaits_checkpoint()
    }
}

impl<T: 'static, X: Again<T>> Clone for TryErrors<T, X> {
    /// The same with nothing waiting.
    fn clone(&self) -> Self {
        Self {
            errors: self.errors.clone(),
        }
    }
}

impl<T: 'static, X: Again<T>> fmt::Debug for TryErrors<T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TryErrors").field(&self.errors).finish()
    }
}
