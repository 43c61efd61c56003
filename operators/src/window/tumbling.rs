//! Tumbling windows: a slice is a window.
//!
//! Cost: per item one lookup; per result the walk over its table. State: one accumulator per key and open window, and
//! for the allowed lateness those of windows that were given out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use millstream_engine::batch::Batch;
use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Wiring, inner_sink};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::aligned::{Shape, Span, by_span};
use super::slices::{Slice, Slices, by_number, in_order};
use super::{Revision, TimeDomain, Tumbling, Windowed};
use crate::Key;
use crate::function::AggregateFunction;
use crate::parameters::Parameters;
use crate::progress::Progress;
use crate::table::{Numbers, StateMemory, Table, TableMemory};

/// Its kinds of state in checkpoints.
const KIND: &str = "tumbling windows";
const OPEN: &str = "open tumbling windows";
const GIVEN: &str = "tumbling windows given out";

/// What is saved beside the windows.
#[derive(Serialize, Deserialize)]
struct Saved {
    shape: Shape,
    #[serde(default, skip_serializing_if = "Parameters::are_none")]
    parameters: Parameters,
    watermark: i64,
    now: Timestamp,
}

/// Aggregates each key's items of each window.
pub struct TumblingWindows<T, K, F, A: AggregateFunction<T>, L> {
    span: Span,
    key: F,
    function: A,
    late: L,
    open: Slices<K, A::Accumulator>,
    /// Windows that were given out and may still change, earliest first.
    given: VecDeque<Slice<K, A::Accumulator>>,
    given_numbers: Numbers,
    memory: TableMemory<K, A::Accumulator>,
    watermark: i64,
    late_before: i64,
    now: Timestamp,
    item: PhantomData<fn(T)>,
}

impl<T, K, F, A, L> TumblingWindows<T, K, F, A, L>
where
    K: Hash + Eq,
    A: AggregateFunction<T>,
{
    /// Windows as `window` says, of the keys that `key` gives; late items go to `late`.
    pub fn new(window: Tumbling, key: F, function: A, late: L) -> Self {
        let span = window.span;
        Self {
            span,
            key,
            function,
            late,
            open: Slices::new(span.size, span.offset),
            given: VecDeque::new(),
            given_numbers: Numbers::default(),
            memory: TableMemory::default(),
            watermark: i64::MIN,
            late_before: i64::MIN,
            now: Timestamp::MIN,
            item: PhantomData,
        }
    }

    /// Gives out windows that end by `until` and drops those whose lateness is over.
    fn fire<E: Emit<Windowed<K, A::Output>>>(&mut self, until: i64, out: &mut E)
    where
        K: Clone,
    {
        let mut progress = Progress::default();
        while self.open.first_end().is_some_and(|end| end <= until) {
            let Some(mut slice) = self.open.pop() else {
                break;
            };
            let window = self.span.window_ending(self.open.end_of(slice.number));
            let windowed = |key, value| Windowed {
                key,
                window,
                value,
                revision: Revision::OnTime,
            };
            if self.span.lateness == 0 {
                for (key, accumulator) in slice.table.drain() {
                    let value = self.function.finish(&accumulator);
                    out.emit(window.last(), windowed(key, value));
                    progress.made_one();
                }
                self.open.recycle(slice.table);
                continue;
            }
            slice.table.for_each(|key, accumulator| {
                let value = self.function.finish(accumulator);
                out.emit(window.last(), windowed(key.clone(), value));
                progress.made_one();
            });
            self.keep_given(slice);
        }
        while let Some(slice) = self.given.front() {
            let end = self.open.end_of(slice.number);
            if end.saturating_add(self.span.lateness) > until {
                break;
            }
            if let Some(mut slice) = self.given.pop_front() {
                slice.table.clear();
                self.open.recycle(slice.table);
            }
        }
    }

    /// Keeps a window that was given out. Others may have been before it: of partitions that were put together one was
    /// further on.
    fn keep_given(&mut self, mut slice: Slice<K, A::Accumulator>) {
        let number = slice.number;
        let at = self.given.partition_point(|given| given.number < number);
        match self.given.get_mut(at) {
            Some(given) if given.number == number => {
                given.table.take_in(slice.table.drain());
            }
            _ => {
                // Among those given out nothing of it is stored yet.
                slice.table.is_elsewhere();
                self.given.insert(at, slice);
            }
        }
    }

    /// Takes an item of a window that was given out already, or one that is late.
    #[cold]
    fn item_behind<E: Emit<Windowed<K, A::Output>>>(
        &mut self,
        time: Timestamp,
        item: T,
        out: &mut E,
    ) where
        K: Clone,
        F: Fn(&T) -> K,
        L: Operator<T, Out = Infallible>,
    {
        let number = self.span.slice_of(self.span.size, time);
        let end = self.open.end_of(number);
        if end.saturating_add(self.span.lateness) <= self.late_before.max(self.watermark) {
            self.late.item(time, item, &mut Discard);
            return;
        }
        let is_beyond = self.given.back().is_none_or(|last| last.number < number);
        if end > self.watermark && is_beyond {
            self.open.select(time);
            self.add_current(time, &item);
            return;
        }
        let at = self.given.partition_point(|slice| slice.number < number);
        let given = self.given.get_mut(at);
        let given = given.filter(|slice| slice.number == number);
        let is_given = given.is_some();
        if end > self.watermark {
            // Of partitions that were put together another one was further on, and gave it out for its keys.
            let of_key = given.and_then(|slice| slice.table.get(&(self.key)(&item)));
            if of_key.is_none() {
                self.open.select(time);
                self.add_current(time, &item);
                self.open.deselect(); // The next item may be of a key for which it was given out.
                return;
            }
        } else if !is_given {
            let mut table = Table::default();
            table.share(&self.memory);
            self.given.insert(at, Slice { number, table });
        }
        let window = self.span.window_ending(end);
        let (key, function) = ((self.key)(&item), &self.function);
        let mut emit = |sum: &A::Accumulator, revision| {
            let (key, value) = (key.clone(), function.finish(sum));
            let result = Windowed {
                key,
                window,
                value,
                revision,
            };
            out.emit(window.last(), result);
        };
        let table = &mut self.given[at].table;
        if self.span.retracting
            && let Some(before) = table.get(&key)
        {
            emit(before, Revision::Retraction);
        }
        let accumulator = table.get_or_insert_with(key.clone(), || function.create());
        function.add(accumulator, time, &item);
        emit(accumulator, Revision::Late);
    }

    #[inline(always)]
    fn add_current(&mut self, time: Timestamp, item: &T)
    where
        F: Fn(&T) -> K,
    {
        let key = (self.key)(item);
        let function = &self.function;
        let table = self.open.current();
        let accumulator = table.get_or_insert_with(key, || function.create());
        function.add(accumulator, time, item);
    }
}

impl<T, K, F, A, L> Operator<T> for TumblingWindows<T, K, F, A, L>
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
        if !self.open.is_current(time) || time.0 < self.late_before {
            self.item_behind(time, item, out);
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
            let run = self.open.add_run(
                &times[at..],
                &mut items,
                self.late_before,
                &self.key,
                &self.function,
            );
            if run == 0
                && let Some(item) = items.next()
            {
                self.item_behind(time, item, out);
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
                let given = self.given.front();
                let over = given.map(|slice| self.open.end_of(slice.number));
                let over = over.map(|end| end.saturating_add(self.span.lateness));
                let due = [self.open.first_end(), over].into_iter().flatten().min();
                due.map(Timestamp)
            }
        }
    }

    by_span!();
    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let memory = StateMemory::of(wiring);
        self.memory = memory.for_tables();
        self.open.share(memory.clone());
        self.given_numbers.share(memory);
        self.late.open(wiring)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.open.settle()?;
        let given = self.given.iter_mut();
        given
            .map(|slice| &mut slice.table)
            .try_for_each(Table::settle)?;
        self.late.flush(idle)
    }

    inner_sink!(late: is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        let given: usize = self.given.iter().map(|slice| slice.table.len()).sum();
        into.push(("window accumulators", self.open.len() + given));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let saved = Saved {
            shape: self.span.shape(),
            parameters: Parameters(self.function.parameters()),
            watermark: self.watermark,
            now: self.now,
        };
        saving.whole(KIND, &saved)?;
        self.open.save(OPEN, saving)?;
        let given = by_number(&mut self.given);
        self.given_numbers.save(GIVEN, given, saving)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        for saved in restoring.whole::<Saved>(KIND)? {
            saved.shape.check(KIND, self.span.shape(), restoring)?;
            let parameters = self.function.parameters();
            saved.parameters.check(KIND, parameters, restoring)?;
            self.watermark = self.watermark.max(saved.watermark);
            self.now = self.now.max(saved.now);
            restoring.goes_on_from(saved.now);
        }
        self.open.restore(OPEN, restoring)?;
        self.given = in_order(self.given_numbers.restore(GIVEN, restoring)?);
        self.late.restore(restoring)
    }
}

impl<T, K: Clone, F: Clone, A: AggregateFunction<T>, L: Clone> Clone
    for TumblingWindows<T, K, F, A, L>
{
    fn clone(&self) -> Self {
        Self {
            span: self.span,
            key: self.key.clone(),
            function: self.function.clone(),
            late: self.late.clone(),
            open: self.open.clone(),
            given: self.given.clone(),
            given_numbers: self.given_numbers.clone(),
            memory: self.memory.clone(),
            watermark: self.watermark,
            late_before: self.late_before,
            now: self.now,
            item: PhantomData,
        }
    }
}

impl<T, K, F, A: AggregateFunction<T>, L> fmt::Debug for TumblingWindows<T, K, F, A, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TumblingWindows")
            .field("span", &self.span)
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}
