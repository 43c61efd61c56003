//! What a process of one's own is, and what it may do with time and output.

use std::convert::Infallible;
use std::time::Duration;

use millstream_engine::flow::{Discard, Emit, Operator, stateless};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::expiring::{Deadline, KeyedState};
use crate::window::TimeDomain;

/// State and timers per key, written by hand.
///
/// One value works for all keys of a partition; it holds parameters only, and what it learns goes into the state.
///
/// Timers of event time fire when the watermark reaches this partition. That may be after items that came behind it, since
/// watermarks travel with batches. A process whose results must not depend on batches and partitions compares an item's
/// time with its own deadlines, as times to live do, and uses timers to give out and clean up in time.
///
/// ```
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use millstream_engine::time::Timestamp;
/// use millstream_operators::keyed::{Context, KeyedProcess, Timer};
///
/// /// Tells a minute after the last item of a key how many there were.
/// #[derive(Clone)]
/// struct Quiet;
///
/// impl KeyedProcess<String, u64> for Quiet {
///     type State = (u64, Timestamp); // how many, when to tell
///     type Out = (String, u64);
///     type Side = Infallible;
///
///     fn item(
///         &mut self,
///         _key: &String,
///         (count, due): &mut (u64, Timestamp),
///         time: Timestamp,
///         _item: u64,
///         ctx: &mut Context<'_, (String, u64)>,
///     ) {
///         *count += 1;
///         ctx.delete_event_timer(*due);
///         *due = (*due).max(time.saturating_add(Duration::from_secs(60)));
///         ctx.set_event_timer(*due);
///     }
///
///     fn timer(
///         &mut self,
///         key: &String,
///         (count, _): &mut (u64, Timestamp),
///         _timer: Timer,
///         ctx: &mut Context<'_, (String, u64)>,
///     ) {
///         ctx.emit((key.clone(), *count));
///         ctx.clear_state();
///     }
/// }
/// ```
pub trait KeyedProcess<K, T>: Clone + Send + 'static {
    /// What is kept per key; begins as its default.
    type State: KeyedState;
    /// What it gives out.
    type Out: Send + 'static;
    /// What it gives to its side output; [`Infallible`] if it has none.
    type Side: Send + 'static;

    /// The parameters that what is kept depends on, as text; as
    /// [`AggregateFunction::parameters`](crate::function::AggregateFunction::parameters). Default: none.
    fn parameters(&self) -> String {
        String::new()
    }

    /// Takes one item, in the order of arrival. It may be late: see [`Context::is_late`].
    fn item(
        &mut self,
        key: &K,
        state: &mut Self::State,
        time: Timestamp,
        item: T,
        ctx: &mut Context<'_, Self::Out, Self::Side>,
    );

    /// A timer of the key has been reached.
    ///
    /// At the end of a complete input the watermark is [`Timestamp::MAX`]: all timers that are left fire then, those of
    /// processing time too, and timers set by them never do.
    fn timer(
        &mut self,
        key: &K,
        state: &mut Self::State,
        timer: Timer,
        ctx: &mut Context<'_, Self::Out, Self::Side>,
    ) {
        let _ = (key, state, timer, ctx);
    }
}

/// When something is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timer {
    /// When the watermark reaches this time.
    Event(Timestamp),
    /// When the engine's clock reaches this time.
    Processing(Timestamp),
}

impl Timer {
    pub(super) fn parts(self) -> (TimeDomain, i64) {
        match self {
            Self::Event(time) => (TimeDomain::Event, time.0),
            Self::Processing(time) => (TimeDomain::Processing, time.0),
        }
    }

    pub(super) fn of(domain: TimeDomain, time: i64) -> Self {
        match domain {
            TimeDomain::Event => Self::Event(Timestamp(time)),
            TimeDomain::Processing => Self::Processing(Timestamp(time)),
        }
    }
}

/// How long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Until the watermark is this much past the event time at which it was stored.
    Event(Duration),
    /// Until the engine's clock has gone on by this much.
    Processing(Duration),
    /// Until it is removed.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    Set(Timer),
    Delete(Timer),
    Expire(Timer),
}

/// What a call asked for, carried out when it has returned.
#[derive(Debug)]
pub(super) struct Scratch<Out, Side> {
    pub(super) out: Vec<(Timestamp, Out)>,
    pub(super) side: Vec<(Timestamp, Side)>,
    pub(super) requests: Vec<Request>,
    pub(super) clear: bool,
}

impl<Out, Side> Scratch<Out, Side> {
    pub(super) const fn new() -> Self {
        Self {
            out: Vec::new(),
            side: Vec::new(),
            requests: Vec::new(),
            clear: false,
        }
    }

    /// Nothing of it counts.
    pub(super) fn drop_all(&mut self) {
        self.out.clear();
        self.side.clear();
        self.requests.clear();
        self.clear = false;
    }

    /// Gives out what a call has given.
    #[inline(always)]
    pub(super) fn give_out<E, L>(&mut self, side: &mut L, out: &mut E)
    where
        E: Emit<Out>,
        L: Operator<Side, Out = Infallible>,
    {
        // One result, and nothing to the side, is the rule. A drain reads pointer and length in one piece; right after a push
        // the length is still on its way to memory, and the processor waits for it longer than a short call takes.
        if self.out.len() == 1 {
            if let Some((time, item)) = self.out.pop() {
                out.emit(time, item);
            }
        } else if !self.out.is_empty() {
            for (time, item) in self.out.drain(..) {
                out.emit(time, item);
            }
        }
        if !self.side.is_empty() {
            for (time, item) in self.side.drain(..) {
                side.item(time, item, &mut Discard);
            }
        }
    }
}

/// Times as they are during one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub(super) time: Timestamp,
    pub(super) watermark: Timestamp,
    pub(super) late_before: Timestamp,
    pub(super) now: Timestamp,
}

/// What a process may ask for while it handles an item or a timer.
#[derive(Debug)]
pub struct Context<'a, Out, Side = Infallible> {
    pub(super) scope: Scope,
    pub(super) scratch: &'a mut Scratch<Out, Side>,
}

impl<Out, Side> Context<'_, Out, Side> {
    /// Gives an item out at the time of what is handled: the item's, or the timer's (for a timer of processing time
    /// too).
    pub fn emit(&mut self, item: Out) {
        self.scratch.out.push((self.scope.time, item));
    }

    /// Gives an item out at an event time of choice. One before the watermark is late for what follows.
    pub fn emit_at(&mut self, time: Timestamp, item: Out) {
        self.scratch.out.push((time, item));
    }

    /// Gives an item to the side output, at the time of what is handled.
    pub fn emit_side(&mut self, item: Side) {
        self.scratch.side.push((self.scope.time, item));
    }

    /// Sees to [`timer`](KeyedProcess::timer) being called when the watermark reaches `time`: right after this call if
    /// it has already. Setting it twice is setting it once.
    pub fn set_event_timer(&mut self, time: Timestamp) {
        self.scratch.requests.push(Request::Set(Timer::Event(time)));
    }

    /// The same when the engine's clock reaches `time`.
    pub fn set_processing_timer(&mut self, time: Timestamp) {
        let timer = Timer::Processing(time);
        self.scratch.requests.push(Request::Set(timer));
    }

    /// Takes a timer off; nothing if there is none.
    pub fn delete_event_timer(&mut self, time: Timestamp) {
        let timer = Timer::Event(time);
        self.scratch.requests.push(Request::Delete(timer));
    }

    /// Takes a timer off; nothing if there is none.
    pub fn delete_processing_timer(&mut self, time: Timestamp) {
        let timer = Timer::Processing(time);
        self.scratch.requests.push(Request::Delete(timer));
    }

    /// Drops the key's state once this call has returned; its timers stay. State that is empty as
    /// [`KeyedState::expire`] tells it is dropped by itself once no timer is left; other state that is never cleared is
    /// kept for ever.
    pub const fn clear_state(&mut self) {
        self.scratch.clear = true;
    }

    /// Time of what is handled: the item's, or the timer's.
    pub const fn time(&self) -> Timestamp {
        self.scope.time
    }

    /// The watermark: no item before it is expected.
    pub const fn watermark(&self) -> Timestamp {
        self.scope.watermark
    }

    /// Items before this are late: the watermark, or that of the item's own source when it came, if that is later.
    pub const fn late_before(&self) -> Timestamp {
        self.scope.late_before
    }

    /// Whether what is handled lies before [`late_before`](Self::late_before).
    pub fn is_late(&self) -> bool {
        self.scope.time < self.scope.late_before
    }

    /// Processing time, as of the beginning of this turn of the stage.
    pub const fn now(&self) -> Timestamp {
        self.scope.now
    }

    /// When something stored now is over, and sees to its being dropped then. For state of one's own that keeps
    /// deadlines; [`Expiring`](super::Expiring) and the like call it themselves.
    pub fn expire_after(&mut self, ttl: Ttl) -> Deadline {
        let deadline = self.deadline(ttl);
        let requests = &mut self.scratch.requests;
        requests.extend(deadline.0.map(Request::Expire));
        deadline
    }

    /// When something stored now would be over.
    pub(super) fn deadline(&self, ttl: Ttl) -> Deadline {
        Deadline(match ttl {
            Ttl::Never => None,
            Ttl::Event(span) => Some(Timer::Event(self.scope.time.saturating_add(span))),
            Ttl::Processing(span) => Some(Timer::Processing(self.scope.now.saturating_add(span))),
        })
    }

    /// Whether what has this deadline is over for what is handled.
    pub fn is_over(&self, deadline: Deadline) -> bool {
        match deadline.0 {
            None => false,
            Some(Timer::Event(until)) => self.scope.time >= until,
            Some(Timer::Processing(until)) => self.scope.now >= until,
        }
    }
}

/// The side output of processes that have none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSide;

impl Operator<Infallible> for NoSide {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, _time: Timestamp, item: Infallible, _out: &mut E) {
        match item {}
    }

    stateless!();
}
