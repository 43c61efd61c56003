//! Functions that may fail: what they fail on is dealt with by a policy, the rest goes on.
//!
//! State: what failed and waits, see [`failing`](crate::failing). Functions take their items by reference, so that an
//! item is still there when its function fails; nothing of it is given out then.

use std::error::Error;
use std::fmt;

use millstream_engine::checkpoint::{Epoch, Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Turn, Wiring};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;

use crate::failing::{Arrived, Failing, Failure, ItemPolicy, guarded};
use crate::{Key, Savable};

/// What is made of an item, if that does not fail.
pub trait TryFunction<T>: Clone + Send + 'static {
    /// What it makes.
    type Out: 'static;

    /// Hands what it makes of `item` to `give` once all of it is there.
    ///
    /// # Errors
    /// Why it failed, by an error or a panic. Nothing was given then.
    fn call(&self, item: &T, give: impl FnMut(Self::Out)) -> Result<(), Failure>;
}

/// One item becomes one other.
#[derive(Clone, Copy, Debug)]
pub struct TryMap<F>(pub F);

impl<T, U, X, F> TryFunction<T> for TryMap<F>
where
    U: 'static,
    X: Into<Box<dyn Error + Send + Sync>>,
    F: Fn(&T) -> Result<U, X> + Clone + Send + 'static,
{
    type Out = U;

    #[inline(always)]
    fn call(&self, item: &T, mut give: impl FnMut(U)) -> Result<(), Failure> {
        give(guarded(|| (self.0)(item))?);
        Ok(())
    }
}

/// One item becomes one other, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct TryFilterMap<F>(pub F);

impl<T, U, X, F> TryFunction<T> for TryFilterMap<F>
where
    U: 'static,
    X: Into<Box<dyn Error + Send + Sync>>,
    F: Fn(&T) -> Result<Option<U>, X> + Clone + Send + 'static,
{
    type Out = U;

    #[inline(always)]
    fn call(&self, item: &T, mut give: impl FnMut(U)) -> Result<(), Failure> {
        if let Some(made) = guarded(|| (self.0)(item))? {
            give(made);
        }
        Ok(())
    }
}

/// One item becomes any number of others.
#[derive(Clone, Copy, Debug)]
pub struct TryFlatMap<F>(pub F);

impl<T, I, X, F> TryFunction<T> for TryFlatMap<F>
where
    I: IntoIterator,
    I::Item: 'static,
    X: Into<Box<dyn Error + Send + Sync>>,
    F: Fn(&T) -> Result<I, X> + Clone + Send + 'static,
{
    type Out = I::Item;

    /// What is made is kept until all of it is there: the iterator may panic, too.
    fn call(&self, item: &T, give: impl FnMut(I::Item)) -> Result<(), Failure> {
        let all = || (self.0)(item).map(|made| made.into_iter().collect::<Vec<_>>());
        guarded(all)?.into_iter().for_each(give);
        Ok(())
    }
}

/// What an item waits behind.
pub trait Order<T>: Clone + Send + 'static {
    /// Its key.
    type Key: Key;

    /// The key behind whose failed item this one waits; `None` if it waits behind none.
    fn key(&self, item: &T) -> Option<Self::Key>;
}

/// No item waits behind another.
#[derive(Clone, Copy, Debug)]
pub struct NoOrder;

impl<T> Order<T> for NoOrder {
    type Key = ();

    #[inline(always)]
    fn key(&self, _item: &T) -> Option<()> {
        None
    }
}

/// Items of one key stay in order.
#[derive(Clone, Copy, Debug)]
pub struct OrderByKey<F>(pub F);

impl<T, K: Key, F: Fn(&T) -> K + Clone + Send + 'static> Order<T> for OrderByKey<F> {
    type Key = K;

    fn key(&self, item: &T) -> Option<K> {
        Some((self.0)(item))
    }
}

/// Gives out what a function makes of each item, and deals with those that it fails on.
pub struct TryItems<T: Savable, Y: Order<T>, M> {
    order: Y,
    function: M,
    failing: Failing<Y::Key, Arrived<T>>,
    late_before: Timestamp,
    watermark: Timestamp,
    /// Time has come to its end, and something is left to be tried before those behind it are told.
    holds_end: bool,
}

impl<T: Savable, Y: Order<T>, M: TryFunction<T>> TryItems<T, Y, M> {
    /// Applies `function`; `ordinal` is how many operators of the stage come before it that may fail, too.
    pub fn new(policy: ItemPolicy, ordinal: usize, order: Y, function: M) -> Self {
        Self {
            order,
            function,
            failing: Failing::new(policy, ordinal),
            late_before: Timestamp::MIN,
            watermark: Timestamp::MIN,
            holds_end: false,
        }
    }

    /// Takes care of an item while others wait; gives it back if it is to be tried.
    #[cold]
    #[inline(never)]
    fn wait(&mut self, time: Timestamp, item: T) -> Option<T> {
        if self.failing.has_failed() {
            return None;
        }
        match self.order.key(&item) {
            Some(key) if self.failing.holds(&key) => {
                let arrived = self.arrived(time, item);
                self.failing.queue(&key, arrived);
                None
            }
            _ => Some(item),
        }
    }

    const fn arrived(&self, time: Timestamp, item: T) -> Arrived<T> {
        Arrived {
            time,
            late_before: self.late_before,
            item,
        }
    }

    #[cold]
    #[inline(never)]
    fn fail(&mut self, time: Timestamp, item: T, failure: Failure) {
        let key = self.order.key(&item);
        let arrived = self.arrived(time, item);
        self.failing.fail(key, arrived, failure);
    }

    fn run<E: Emit<M::Out>>(&mut self, out: &mut E) {
        let function = &self.function;
        self.failing.run_due(|_, _, Arrived { time, item, .. }| {
            let item = &*item;
            function.call(item, |made| out.emit(*time, made))
        });
    }
}

impl<T: Savable, Y: Order<T>, M: TryFunction<T>> Operator<T> for TryItems<T, Y, M> {
    type Out = M::Out;

    /// A part of the loop that gives the items: a call for each costs as much as the rest of a short chain. The frame that
    /// catches panics costs nothing there.
    #[inline(always)]
    fn item<E: Emit<M::Out>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        let item = if self.failing.is_empty() {
            item
        } else if let Some(item) = self.wait(time, item) {
            item
        } else {
            return;
        };
        if let Err(failure) = self.function.call(&item, |made| out.emit(time, made)) {
            self.fail(time, item, failure);
        }
    }

    fn watermark<E: Emit<M::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        self.watermark = watermark;
        if watermark == Timestamp::MAX {
            // Before the end of time is told: nothing could come in time any more.
            self.failing.complete();
            // Told once more after a restart: nobody takes what comes of it before the first turn.
            if self.failing.has_begun() {
                self.run(out);
                self.holds_end = self.failing.is_trying();
            }
        }
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.late_before = limit;
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.failing.open(wiring)
    }

    fn begin(&mut self, turn: &Turn) {
        let order = &self.order;
        self.failing.begin(turn, |arrived| order.key(&arrived.item));
    }

    fn processing_time<E: Emit<M::Out>>(&mut self, _now: Timestamp, out: &mut E) {
        self.run(out);
        self.holds_end &= self.failing.is_trying();
    }

    fn next_due(&self) -> Option<Timestamp> {
        if self.holds_end {
            return Some(Timestamp::MIN);
        }
        self.failing.next_due()
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.failing.flush(idle)
    }

    fn is_blocked(&self) -> bool {
        self.failing.is_blocked()
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        self.failing.blocked(waits);
    }

    fn holds_end(&self) -> bool {
        self.holds_end
    }

    fn before_end<E: Emit<M::Out>>(&mut self, out: &mut E) -> bool {
        if !self.holds_end {
            let is_last = self.failing.leaves_nothing() || self.watermark == Timestamp::MAX;
            if is_last {
                // Also what somebody had tried again since, after a restart at the end.
                self.run(out);
            }
            if !is_last || !self.failing.is_trying() {
                return true;
            }
        }
        // It still holds the end then: the next run is told of it, and holds it in turn.
        self.failing.is_left_to_next_run()
    }

    fn end<E: Emit<M::Out>>(&mut self, _out: &mut E) {
        self.failing.end();
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        self.failing.state_items(into);
    }

    fn before_barrier<E: Emit<M::Out>>(&mut self, _out: &mut E) {
        self.failing.before_barrier();
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        self.failing.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let order = &self.order;
        self.failing
            .restore(restoring, |arrived| order.key(&arrived.item))
    }

    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        self.failing.checkpointed(epoch);
        Ok(())
    }

    fn awaits_checkpoint(&self) -> bool {
        self.failing.awaits_checkpoint()
    }
}

impl<T: Savable, Y: Order<T>, M: Clone> Clone for TryItems<T, Y, M> {
    /// The same function with nothing waiting.
    fn clone(&self) -> Self {
        Self {
            order: self.order.clone(),
            function: self.function.clone(),
            failing: self.failing.fresh(),
            late_before: Timestamp::MIN,
            watermark: Timestamp::MIN,
            holds_end: false,
        }
    }
}

impl<T: Savable, Y: Order<T>, M> fmt::Debug for TryItems<T, Y, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryItems")
            .field("failing", &self.failing)
            .finish_non_exhaustive()
    }
}
