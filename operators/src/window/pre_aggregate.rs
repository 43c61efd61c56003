//! Aggregates items before the exchange, so that fewer cross it.
//!
//! Place: the end of the stage before a keyed stage of tumbling or sliding windows; holds the outlet, since it decides
//! what is late there. Worth it for few or hot keys; where nearly every item has a key of its own it only adds a
//! lookup.
//! Invariants: (1) a slice is sent on before the watermark that passes its end, so what is summed up is late only where the
//! stage behind the exchange went on without this one, which was idle; how many items a sum has goes with it for that;
//! (2) an item that is behind its source's watermark is not summed up, but goes on with that watermark, so that it is
//! late or not as without pre-aggregation.
//! State: at most `capacity` accumulators; when there are more, and when the stage goes idle, all are sent on.
//! Cost: one lookup per item. Failure: a function that panics ends the stage.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::num::NonZeroUsize;

use millstream_engine::flow::{Discard, Emit, Fault, Operator, Turn, Wiring};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;

use super::aligned::Span;
use super::portion::Portion;
use super::slices::Slices;
use super::{Sliding, TimeDomain, Tumbling};
use crate::function::AggregateFunction;

/// How windows cut time into slices.
#[derive(Clone, Copy, Debug)]
pub struct Slicing {
    span: Span,
}

impl Slicing {
    /// Whether slices go by the engine's clock. Items cannot be summed up ahead then: they get their time behind the
    /// exchange.
    pub fn is_in_processing_time(&self) -> bool {
        self.span.domain == TimeDomain::Processing
    }
}

impl From<Tumbling> for Slicing {
    fn from(window: Tumbling) -> Self {
        Self { span: window.span }
    }
}

impl From<Sliding> for Slicing {
    fn from(window: Sliding) -> Self {
        Self { span: window.span }
    }
}

/// Sums items up by key and slice and gives the sums to `S`, which sends them on.
pub struct PreAggregate<T, K, F, A: AggregateFunction<T>, S> {
    key: F,
    function: A,
    /// With the number of items.
    slices: Slices<K, (A::Accumulator, u64)>,
    held: usize,
    capacity: NonZeroUsize,
    late_before: Timestamp,
    next: S,
    item: PhantomData<fn(T)>,
}

impl<T, K, F, A, S> PreAggregate<T, K, F, A, S>
where
    K: Hash + Eq,
    A: AggregateFunction<T>,
    S: Operator<Portion<T, K, A::Accumulator>, Out = Infallible>,
{
    /// For windows cut as `slicing` says; keeps at most `capacity` accumulators.
    pub fn new(
        slicing: impl Into<Slicing>,
        capacity: NonZeroUsize,
        key: F,
        function: A,
        next: S,
    ) -> Self {
        let span = slicing.into().span;
        Self {
            key,
            function,
            slices: Slices::new(span.slice(), span.offset),
            held: 0,
            capacity,
            late_before: Timestamp::MIN,
            next,
            item: PhantomData,
        }
    }

    /// Sends slices on that end by `until`.
    fn send(&mut self, until: i64) {
        while self.slices.first_end().is_some_and(|end| end <= until) {
            let Some(mut slice) = self.slices.pop() else {
                break;
            };
            let end = self.slices.end_of(slice.number);
            let last = Timestamp(end.saturating_sub(1));
            self.held -= slice.table.len();
            for (key, (sum, items)) in slice.table.drain() {
                let portion = Portion::Sum { key, sum, items };
                self.next.item(last, portion, &mut Discard);
            }
            self.slices.recycle(slice.table);
        }
    }

    /// An item that may be late goes on as it came.
    #[cold]
    fn pass(&mut self, time: Timestamp, item: T) {
        self.next.late_before(self.late_before);
        self.next.item(time, Portion::Item(item), &mut Discard);
        self.next.late_before(Timestamp::MIN);
    }
}

impl<T, K, F, A, S> Operator<T> for PreAggregate<T, K, F, A, S>
where
    T: Send + 'static,
    K: Hash + Eq + Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    A: AggregateFunction<T>,
    S: Operator<Portion<T, K, A::Accumulator>, Out = Infallible>,
{
    type Out = Infallible;

    #[inline]
    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: T, _out: &mut E) {
        if time < self.late_before {
            self.pass(time, item);
            return;
        }
        if !self.slices.is_current(time) {
            self.slices.select(time);
        }
        let key = (self.key)(&item);
        let function = &self.function;
        let (table, held) = (self.slices.current(), &mut self.held);
        let (accumulator, items) = table.get_or_insert_with(key, || {
            *held += 1;
            (function.create(), 0)
        });
        function.add(accumulator, time, &item);
        *items += 1;
        if self.held >= self.capacity.get() {
            self.send(i64::MAX);
        }
    }

    fn watermark<E: Emit<Infallible>>(&mut self, watermark: Timestamp, _out: &mut E) {
        self.send(watermark.0);
        self.next.watermark(watermark, &mut Discard);
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.late_before = limit;
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.next.open(wiring)
    }

    fn begin(&mut self, turn: &Turn) {
        self.next.begin(turn);
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        if idle {
            self.send(i64::MAX);
        }
        self.next.flush(idle)
    }

    fn is_blocked(&self) -> bool {
        self.next.is_blocked()
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        self.next.blocked(waits);
    }

    fn idle(&mut self) {
        self.send(i64::MAX);
        self.next.idle();
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.send(i64::MAX);
        self.next.end(&mut Discard);
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("sums before the exchange", self.held));
    }
}

impl<T, K: Clone, F: Clone, A: AggregateFunction<T>, S: Clone> Clone
    for PreAggregate<T, K, F, A, S>
{
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            function: self.function.clone(),
            slices: self.slices.clone(),
            held: self.held,
            capacity: self.capacity,
            late_before: self.late_before,
            next: self.next.clone(),
            item: PhantomData,
        }
    }
}

impl<T, K, F, A: AggregateFunction<T>, S> fmt::Debug for PreAggregate<T, K, F, A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreAggregate")
            .field("held", &self.held)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
