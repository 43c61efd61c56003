//! Calls of a process that may fail: on a state that is put back, with output that counts only if it succeeds.

mod firing;

use std::convert::Infallible;
use std::error::Error;

use millstream_engine::flow::{Emit, Operator};
use millstream_engine::time::Timestamp;

use super::context::{Context, Scope, Scratch, Timer};
use super::expiring::{KeyedState, Now};
use super::table::{Slot, Table};
use super::try_call::Call;
use crate::failing::{Arrived, Failing, Failure, guarded};
use crate::{Key, Savable};

/// State and timers per key, written by hand, as [`KeyedProcess`](super::KeyedProcess), for what may fail: an error or a
/// panic is dealt with by the policy of the stage.
///
/// What a call that failed has changed in the state is put back, and what it gave out, to its side output too, and asked
/// for of timers does not count. For that the state is cloned before each call: keep it small, or what is large in it
/// behind an `Arc` that is made anew when it changes. The process itself is not put back: it holds parameters only.
///
/// While an item of a key waits, later items of the key and timers that are reached wait behind it, in this order. What is
/// tried again sees the watermark and the clock of that moment, and is late as far as it was when it came.
///
/// ```
/// use std::convert::Infallible;
/// use millstream_engine::time::Timestamp;
/// use millstream_operators::keyed::{Context, TryKeyedProcess};
///
/// /// Balances that must not go below zero.
/// #[derive(Clone)]
/// struct Balance;
///
/// impl TryKeyedProcess<String, i64> for Balance {
///     type State = (i64, ());
///     type Out = (String, i64);
///     type Side = Infallible;
///     type Error = String;
///
///     fn item(
///         &mut self,
///         account: &String,
///         (balance, ()): &mut (i64, ()),
///         _time: Timestamp,
///         amount: &i64,
///         ctx: &mut Context<'_, (String, i64)>,
///     ) -> Result<(), String> {
///         *balance += amount;
///         ctx.emit((account.clone(), *balance));
///         if *balance < 0 {
///             return Err(format!("{account} is overdrawn by {}", -*balance));
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait TryKeyedProcess<K, T>: Clone + Send + 'static {
    /// What is kept per key; begins as its default.
    type State: KeyedState + Clone;
    /// What it gives out.
    type Out: Send + 'static;
    /// What it gives to its side output; [`Infallible`] if it has none.
    type Side: Send + 'static;
    /// Why it fails: an error, or a text.
    type Error: Into<Box<dyn Error + Send + Sync>>;

    /// Takes one item, in the order of arrival. It may be late: see [`Context::is_late`].
    ///
    /// # Errors
    /// Why the item cannot be taken, now or at all.
    fn item(
        &mut self,
        key: &K,
        state: &mut Self::State,
        time: Timestamp,
        item: &T,
        ctx: &mut Context<'_, Self::Out, Self::Side>,
    ) -> Result<(), Self::Error>;

    /// A timer of the key has been reached; as [`KeyedProcess::timer`](super::KeyedProcess::timer).
    ///
    /// # Errors
    /// As [`item`](Self::item): the timer waits as an item does, and a letter shows it.
    fn timer(
        &mut self,
        key: &K,
        state: &mut Self::State,
        timer: Timer,
        ctx: &mut Context<'_, Self::Out, Self::Side>,
    ) -> Result<(), Self::Error> {
        let _ = (key, state, timer, ctx);
        Ok(())
    }
}

/// What is to be done after a call that succeeded, beside giving out what it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing: its key is kept.
    Kept,
    /// Its key has nothing left.
    Empty,
    /// It asked for something.
    Asking,
}

impl After {
    /// After a call, while the slot is at hand.
    #[inline(always)]
    fn of<S: KeyedState, O, D>(scratch: &Scratch<O, D>, slot: &mut Slot<S>, now: &Now) -> Self {
        slot.last();
        if scratch.clear || !scratch.requests.is_empty() {
            Self::Asking
        } else if slot.is_empty(now) {
            Self::Empty
        } else {
            Self::Kept
        }
    }
}

/// All of the operator but what waits.
pub(super) struct Core<K, T, P: TryKeyedProcess<K, T>, L> {
    pub(super) process: P,
    pub(super) side: L,
    pub(super) table: Table<K, P::State>,
    pub(super) scratch: Scratch<P::Out, P::Side>,
    pub(super) watermark: Timestamp,
    pub(super) late_before: Timestamp,
    pub(super) now: Timestamp,
}

impl<K, T, P, L> Core<K, T, P, L>
where
    K: Key,
    T: Savable,
    P: TryKeyedProcess<K, T>,
    L: Operator<P::Side, Out = Infallible>,
{
    /// How far both kinds of time have come.
    const fn reached(&self) -> Now {
        Now {
            event: self.watermark,
            processing: self.now,
        }
    }

    /// Nothing comes any more: no timer is set.
    fn is_over(&self) -> bool {
        self.watermark == Timestamp::MAX
    }

    /// Hands an item to the process, whose key has this place in the table; gives what is to be done then. A panic or an error
    /// leaves what it has changed, of what was `before`.
    #[inline(always)]
    pub(super) fn call(
        &mut self,
        place: usize,
        time: Timestamp,
        late_before: Timestamp,
        item: &T,
        before: &mut Option<P::State>,
    ) -> Result<After, P::Error> {
        let now = self.reached();
        let scope = Scope {
            time,
            watermark: self.watermark,
            late_before,
            now: self.now,
        };
        let (key, slot) = self.table.at(place);
        let (process, scratch, state) = (&mut self.process, &mut self.scratch, &mut slot.state);
        *before = Some(state.clone());
        let mut context = Context {
            scope,
            scratch: &mut *scratch,
        };
        process.item(key, state, time, item, &mut context)?;
        Ok(After::of(scratch, slot, &now))
    }

    /// Puts back what a call has changed that failed, unless it has not begun.
    pub(super) fn put_back(&mut self, place: usize, before: Option<P::State>) {
        if let Some(before) = before {
            self.table.at(place).1.state = before;
        }
        self.scratch.drop_all();
    }

    /// Hands an item to the process, and puts back what it has changed if it fails.
    fn try_item(
        &mut self,
        place: usize,
        time: Timestamp,
        late_before: Timestamp,
        item: &T,
    ) -> Result<After, Failure> {
        let mut before = None;
        let outcome = guarded(|| self.call(place, time, late_before, item, &mut before));
        if outcome.is_err() {
            self.put_back(place, before);
        }
        outcome
    }

    /// Carries out what a call asked for that succeeded.
    #[inline(always)]
    pub(super) fn succeed<E: Emit<P::Out>>(
        &mut self,
        failing: &mut Failing<K, Call<T>>,
        (place, hash): (usize, u64),
        after: After,
        out: &mut E,
    ) {
        match after {
            After::Kept => {}
            After::Empty => self.forget_empty(place, hash),
            After::Asking => return self.succeed_asking(failing, place, hash, out),
        }
        self.scratch.give_out(&mut self.side, out);
    }

    /// The same of one that asked for something.
    #[inline(never)]
    fn succeed_asking<E: Emit<P::Out>>(
        &mut self,
        failing: &mut Failing<K, Call<T>>,
        place: usize,
        hash: u64,
        out: &mut E,
    ) {
        let key = self.table.at(place).0.clone();
        self.carry_out(hash, &key);
        let now = self.reached();
        self.table.forget_empty(hash, &key, &now);
        self.scratch.give_out(&mut self.side, out);
        self.fire_reached(failing, out);
    }

    #[inline(never)]
    fn forget_empty(&mut self, place: usize, hash: u64) {
        let (now, key) = (self.reached(), self.table.at(place).0.clone());
        self.table.forget_empty(hash, &key, &now);
    }

    /// What failed is passed over as if it had not come.
    #[cold]
    #[inline(never)]
    pub(super) fn pass_over(
        &mut self,
        failing: &mut Failing<K, Call<T>>,
        place: usize,
        before: Option<P::State>,
        error: P::Error,
    ) {
        self.put_back(place, before);
        failing.pass_over(Some(self.table.at(place).0), || Failure::of(error));
        self.failed(place);
    }

    /// The key of what failed, which is dropped from the table if there is nothing else of it.
    #[cold]
    pub(super) fn failed(&mut self, place: usize) -> K {
        let key = self.table.at(place).0.clone();
        let (now, hash) = (self.reached(), self.table.hash(&key));
        self.table.forget_failed(hash, &key, &now);
        key
    }

    fn carry_out(&mut self, hash: u64, key: &K) {
        let clear = std::mem::take(&mut self.scratch.clear);
        let is_over = self.is_over();
        if clear || !self.scratch.requests.is_empty() {
            let requests = &mut self.scratch.requests;
            self.table.carry_out(hash, key, requests, clear, is_over);
        }
    }

    /// A call that waited.
    pub(super) fn attempt<E: Emit<P::Out>>(
        &mut self,
        failing: &mut Failing<K, Call<T>>,
        key: &K,
        call: &mut Call<T>,
        out: &mut E,
    ) -> Result<(), Failure> {
        let timer = match call {
            Call::Item(Arrived {
                time,
                late_before,
                item,
            }) => {
                let hash = self.table.hash(key);
                let place = self.table.place(hash, key.clone());
                match self.try_item(place, *time, *late_before, item) {
                    Ok(after) => self.succeed(failing, (place, hash), after, out),
                    Err(cause) => {
                        self.failed(place);
                        return Err(cause);
                    }
                }
                return Ok(());
            }
            Call::Timer(timer) => *timer,
            Call::Due(reached) => {
                let (domain, due) = (reached.domain(), reached.due(key));
                let Some(timer) = self.take_off(domain, &due) else {
                    return Ok(());
                };
                // From here on it is not in the table any more.
                *call = Call::Timer(timer);
                timer
            }
        };
        self.try_timer(failing, key, timer, out)
    }
}
