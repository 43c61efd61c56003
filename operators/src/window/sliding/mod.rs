//! Sliding windows: items are collected in slices, and windows share them.
//!
//! The slice length is the greatest common divisor of size and slide, so that each window is a whole number of
//! slices. Cost: per item one lookup, whatever size / slide is; per slice and key a constant number of merges in the
//! mean ([`fifo`](super::fifo)); per window one visit of each key that it has. A function that does not merge cannot
//! share slices: an item costs one lookup per window then.
//! State: one accumulator per key and slice (two for functions that only merge), for size + allowed lateness.
//! An item that is late for some of its windows and not for others counts for those others alone: it is kept per
//! window, outside the slices.

mod ahead;
mod firing;
mod late;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use millstream_engine::batch::Batch;
use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Wiring, inner_sink};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use self::ahead::Ahead;
use super::aligned::{Shape, Span, by_span};
use super::fifo::Fifo;
use super::slices::Slices;
use super::{Sliding, TimeDomain, Windowed};
use crate::Key;
use crate::function::AggregateFunction;
use crate::parameters::Parameters;
use crate::table::{Numbers, StateMemory, Table, TableMemory};

/// Its kinds of state in checkpoints.
const KIND: &str = "sliding windows";
const OPEN: &str = "open slices";
const CLOSED: &str = "closed slices by key";
const ALONE: &str = "accumulators of single windows";

/// What is saved beside the accumulators, of keys that are lent or owned.
#[derive(Serialize, Deserialize)]
struct Saved<H> {
    shape: Shape,
    #[serde(default, skip_serializing_if = "Parameters::are_none")]
    parameters: Parameters,
    #[serde(default)]
    ahead: H,
    given: i64,
    live_until: i64,
    watermark: i64,
    now: Timestamp,
}

/// Aggregates each key's items of each window.
pub struct SlidingWindows<T, K, F, A: AggregateFunction<T>, L> {
    span: Span,
    slice: i64,
    key: F,
    function: A,
    late: L,
    open: Slices<K, A::Accumulator>,
    keys: Table<K, Fifo<A::Accumulator>>,
    /// Accumulators of all keys.
    closed: usize,
    /// Accumulators that belong to one window alone, by the window's end.
    alone: BTreeMap<i64, Table<K, A::Accumulator>>,
    alone_numbers: Numbers,
    memory: TableMemory<K, A::Accumulator>,
    /// Windows that end by this were given out, if they had anything.
    given: i64,
    /// Keys of which further ones were.
    ahead: Ahead<K>,
    /// End of the last window for which some key has slices; `i64::MIN` if none has. What is left after it waits for
    /// late items only.
    live_until: i64,
    watermark: i64,
    late_before: i64,
    now: Timestamp,
    item: PhantomData<fn(T)>,
}

impl<T, K, F, A, L> SlidingWindows<T, K, F, A, L>
where
    K: Hash + Eq + Clone,
    A: AggregateFunction<T>,
{
    /// Windows as `window` says, of the keys that `key` gives; late items go to `late`.
    pub fn new(window: Sliding, key: F, function: A, late: L) -> Self {
        let span = window.span;
        Self {
            span,
            slice: span.slice(),
            key,
            function,
            late,
            open: Slices::new(span.slice(), span.offset),
            keys: Table::default(),
            closed: 0,
            alone: BTreeMap::new(),
            alone_numbers: Numbers::default(),
            memory: TableMemory::default(),
            ahead: Ahead::default(),
            given: i64::MIN,
            live_until: i64::MIN,
            watermark: i64::MIN,
            late_before: i64::MIN,
            now: Timestamp::MIN,
            item: PhantomData,
        }
    }

    /// Number of the first and the last slice of the window that ends at `end`.
    fn slices_of(&self, end: i64) -> (i64, i64) {
        let start = Timestamp(end.saturating_sub(self.span.size));
        let first = self.span.slice_of(self.slice, start);
        (first, first + self.span.size / self.slice - 1)
    }

    /// Of partitions that were put together some had given out more than others; `given` has the end of the last window of
    /// each.
    fn go_back_to_the_least(&mut self, given: &[i64], restoring: &Restoring) {
        let Some(&least) = given.iter().min().filter(|least| **least < self.given) else {
            return;
        };
        let mut together = |key: &K| self.ahead.put_together(key, given, restoring);
        for alone in self.alone.values() {
            alone.for_each(|key, _| together(key));
        }
        // Not to where nothing is: a partition that has given out nothing yet is at the beginning of time.
        let mut first = self.open.first();
        self.keys.for_each(|key, fifo| {
            together(key);
            first = first.into_iter().chain(fifo.first()).min();
        });
        let start = first.map(|number| self.open.end_of(number).saturating_sub(self.slice));
        let end = start.map(|start| self.span.next_end(start));
        let end = end
            .into_iter()
            .chain(self.alone.keys().next().copied())
            .min();
        if let Some(end) = end {
            let before = end.saturating_sub(self.span.slide);
            self.given = least.max(before).min(self.given);
        }
    }
}

impl<T, K, F, A, L> SlidingWindows<T, K, F, A, L>
where
    T: Send + 'static,
    K: Hash + Eq + Clone,
    F: Fn(&T) -> K,
    A: AggregateFunction<T>,
    L: Operator<T, Out = Infallible>,
{
    #[inline(always)]
    fn add_current(&mut self, time: Timestamp, item: &T) {
        let key = (self.key)(item);
        let function = &self.function;
        let table = self.open.current();
        let accumulator = table.get_or_insert_with(key, || function.create());
        function.add(accumulator, time, item);
    }
}

impl<T, K, F, A, L> Operator<T> for SlidingWindows<T, K, F, A, L>
where
    T: Send + 'static,
    K: Key,
    F: Fn(&T) -> K + Send + 'static,
    A: AggregateFunction<T>,
    L: Operator<T, Out = Infallible>,
{
    type Out = Windowed<K, A::Output>;

    #[inline(always)]
    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        let time = match self.span.domain {
            TimeDomain::Event => time,
            TimeDomain::Processing => self.now,
        };
        if !A::MERGES || !self.open.is_current(time) || time.0 < self.late_before {
            self.item_aside(time, item, out);
            return;
        }
        self.add_current(time, &item);
    }

    fn batch<E: Emit<Self::Out>>(&mut self, batch: &mut Batch<T>, out: &mut E) {
        let mut items = batch.items.drain(..);
        let times = match self.span.domain {
            TimeDomain::Event => &batch.times,
            TimeDomain::Processing => {
                batch.times.fill(self.now);
                &batch.times
            }
        };
        let mut at = 0;
        while let Some(&time) = times.get(at) {
            let run = if A::MERGES {
                self.open.add_run(
                    &times[at..],
                    &mut items,
                    self.late_before,
                    &self.key,
                    &self.function,
                )
            } else {
                0
            };
            if run == 0
                && let Some(item) = items.next()
            {
                self.item_aside(time, item, out);
            }
            at += run.max(1);
        }
        drop(items);
        batch.times.clear();
    }

    fn next_due(&self) -> Option<Timestamp> {
        match self.span.domain {
            TimeDomain::Event => None,
            TimeDomain::Processing => {
                // What waits for late items only is dropped when its time is over.
                let keys = (!self.keys.is_empty()).then_some(self.live_until);
                let alone = self.alone.keys().next().copied();
                let over = keys.into_iter().chain(alone);
                let over = over.map(|end| end.saturating_add(self.span.lateness));
                let due = over.chain(self.next_end()).min();
                due.map(Timestamp)
            }
        }
    }

    by_span!();
    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let memory = StateMemory::of(wiring);
        self.keys.share(&memory.for_tables());
        self.memory = memory.for_tables();
        self.alone_numbers.share(memory.clone());
        self.open.share(memory);
        self.late.open(wiring)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.keys.settle()?;
        self.open.settle()?;
        self.alone.values_mut().try_for_each(Table::settle)?;
        self.late.flush(idle)
    }

    inner_sink!(late: is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        let alone: usize = self.alone.values().map(Table::len).sum();
        into.push(("window accumulators", self.open.len() + self.closed + alone));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let saved = Saved {
            shape: self.span.shape(),
            parameters: Parameters(self.function.parameters()),
            ahead: &self.ahead,
            given: self.given,
            live_until: self.live_until,
            watermark: self.watermark,
            now: self.now,
        };
        saving.whole(KIND, &saved)?;
        self.open.save(OPEN, saving)?;
        self.keys.save(CLOSED, saving)?;
        let alone = self.alone.iter_mut().map(|(&end, table)| (end, table));
        self.alone_numbers.save(ALONE, alone, saving)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let all = restoring.whole::<Saved<Ahead<K>>>(KIND)?;
        let given: Vec<i64> = all.iter().map(|saved| saved.given).collect();
        self.given = given.iter().copied().max().unwrap_or(i64::MIN);
        for saved in all {
            saved.shape.check(KIND, self.span.shape(), restoring)?;
            let parameters = self.function.parameters();
            saved.parameters.check(KIND, parameters, restoring)?;
            self.ahead.take_back(saved.ahead, restoring);
            self.live_until = self.live_until.max(saved.live_until);
            self.watermark = self.watermark.max(saved.watermark);
            self.now = self.now.max(saved.now);
            restoring.goes_on_from(saved.now);
        }
        self.open.restore(OPEN, restoring)?;
        self.keys.restore(CLOSED, restoring)?;
        self.keys.for_each(|_, fifo| self.closed += fifo.len());
        self.alone = self.alone_numbers.restore(ALONE, restoring)?;
        self.go_back_to_the_least(&given, restoring);
        self.late.restore(restoring)
    }
}

impl<T, K: Clone, F: Clone, A: AggregateFunction<T>, L: Clone> Clone
    for SlidingWindows<T, K, F, A, L>
{
    fn clone(&self) -> Self {
        Self {
            span: self.span,
            slice: self.slice,
            key: self.key.clone(),
            function: self.function.clone(),
            late: self.late.clone(),
            open: self.open.clone(),
            keys: self.keys.clone(),
            closed: self.closed,
            alone: self.alone.clone(),
            alone_numbers: self.alone_numbers.clone(),
            memory: self.memory.clone(),
            ahead: self.ahead.clone(),
            given: self.given,
            live_until: self.live_until,
            watermark: self.watermark,
            late_before: self.late_before,
            now: self.now,
            item: PhantomData,
        }
    }
}

impl<T, K, F, A: AggregateFunction<T>, L> fmt::Debug for SlidingWindows<T, K, F, A, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlidingWindows")
            .field("span", &self.span)
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}
