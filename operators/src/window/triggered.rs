//! Tumbling, sliding and global windows whose results are given out as a trigger says.
//!
//! Place: instead of [`TumblingWindows`](super::TumblingWindows) and [`SlidingWindows`](super::SlidingWindows), which
//! know no triggers so that they stay simple. State: one accumulator per key and window (two, if results are taken
//! back) until its lateness is over; a global window's until the end of the input. Cost: one lookup per item and
//! window; an early or late result is given out without looking at keys that have not changed.

mod spans;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Bound;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Turn, Wiring, inner_sink};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::aligned::Shape;
use super::early::Waiting;
use super::pane::{Giving, Pane};
use super::{Revision, TimeDomain, Triggered, Windowed};
use crate::Key;
use crate::function::AggregateFunction;
use crate::parameters::Parameters;
use crate::progress::Progress;
use crate::table::{Numbers, Seen, StateMemory, Table, TableMemory};

pub use spans::Spans;

/// Its kinds of state in checkpoints.
const KIND: &str = "triggered windows";
const OPEN: &str = "open triggered windows";

/// What is saved beside the windows, of state that is lent or owned.
#[derive(Serialize, Deserialize)]
struct Saved<D> {
    shape: Shape,
    #[serde(default, skip_serializing_if = "Parameters::are_none")]
    parameters: Parameters,
    dirty: D,
    early_at: Option<i64>,
    watermark: i64,
    earlier: i64,
    now: Timestamp,
}

/// Aggregates each key's items of each window; gives results out as a trigger says.
pub struct TriggeredWindows<T, K, F, A: AggregateFunction<T>, L> {
    domain: TimeDomain,
    lateness: i64,
    key: F,
    giving: Giving<A>,
    late: L,
    /// By the window's end.
    windows: BTreeMap<i64, Table<K, Pane<A::Accumulator>>>,
    numbers: Numbers,
    memory: TableMemory<K, Pane<A::Accumulator>>,
    panes: usize,
    waiting: Waiting<K>,
    late_before: i64,
    now: Timestamp,
    item: PhantomData<fn(T)>,
}

impl<T, K, F, A, L> TriggeredWindows<T, K, F, A, L>
where
    K: Hash + Eq + Clone,
    A: AggregateFunction<T>,
{
    /// Windows and trigger as `window` says, of the keys that `key` gives; late items go to `late`.
    pub fn new(window: Triggered<impl Into<Spans>>, key: F, function: A, late: L) -> Self {
        let Triggered { window, trigger } = window;
        let Spans { span, retracting } = window.into();
        let domain = span.map_or(TimeDomain::Event, |span| span.domain);
        let lateness = match (span, domain) {
            (Some(span), TimeDomain::Event) => span.lateness,
            // Time goes on: nothing is late.
            (None, _) | (_, TimeDomain::Processing) => 0,
        };
        Self {
            domain,
            lateness,
            key,
            giving: Giving {
                function,
                span,
                trigger,
                retracting,
                watermark: i64::MIN,
                earlier: i64::MIN,
            },
            late,
            windows: BTreeMap::new(),
            numbers: Numbers::default(),
            memory: TableMemory::default(),
            panes: 0,
            waiting: Waiting::new(),
            late_before: i64::MIN,
            now: Timestamp::MIN,
            item: PhantomData,
        }
    }

    /// Ends of the first and the last window that an item of `time` is in and not late for, and of the last that it
    /// is in. `None` if it lies between two.
    fn ends(&self, time: Timestamp) -> Option<(i64, i64)> {
        let limit = self.late_before.max(self.giving.watermark);
        let over = limit.saturating_sub(self.lateness);
        match &self.giving.span {
            None => Some((i64::MAX, i64::MAX)),
            Some(span) => {
                let last = span.last_end(time)?;
                Some((span.next_end(time.0.max(over)), last))
            }
        }
    }

    /// Takes an item into the window that ends at `end`.
    fn add<E: Emit<Windowed<K, A::Output>>>(
        &mut self,
        end: i64,
        key: &K,
        (time, item): (Timestamp, &T),
        out: &mut E,
    ) {
        let giving = &self.giving;
        let table = self.windows.entry(end).or_default();
        table.share(&self.memory);
        let panes = &mut self.panes;
        let pane = table.get_or_insert_with(key.clone(), || {
            *panes += 1;
            Pane::new(giving.function.create())
        });
        pane.before_change(giving.retracting);
        giving.function.add(&mut pane.sum, time, item);
        pane.changes += 1;
        pane.latest = pane.latest.max(time.0);
        if end <= giving.watermark {
            if giving.trigger.late_each {
                giving.give(end, key, pane, Revision::Late, out);
            }
            return;
        }
        if giving.trigger.is_enough(pane.changes) {
            giving.give(end, key, pane, Revision::Early, out);
        }
        if giving.trigger.early_every.is_some() && pane.changes > 0 && !pane.dirty {
            pane.dirty = true;
            self.waiting.add(end, key.clone());
            if self.waiting.due.is_none() {
                self.waiting.due = giving.trigger.next_early(self.now.0);
            }
        }
    }

    /// Gives out windows that end by `until` and drops those whose lateness is over.
    fn fire<E: Emit<Windowed<K, A::Output>>>(&mut self, until: i64, out: &mut E) {
        let from = self.giving.watermark;
        if until <= from {
            return;
        }
        self.giving.earlier = from;
        self.giving.watermark = until;
        self.waiting.end(until);
        let mut progress = Progress::default();
        let ended = (Bound::Excluded(from), Bound::Included(until));
        for (&end, table) in self.windows.range_mut(ended) {
            table.visit(|key, pane| {
                self.giving.give(end, key, pane, Revision::OnTime, out);
                pane.dirty = false;
                progress.made_one();
                Seen::Changed
            });
        }
        while let Some(first) = self.windows.first_entry() {
            let end = *first.key();
            if end.saturating_add(self.lateness) > until {
                break;
            }
            let mut table = first.remove();
            self.panes -= table.len();
            table.visit(|key, pane| {
                if pane.changes > 0 {
                    self.giving.give(end, key, pane, Revision::Late, out);
                }
                progress.made_one();
                Seen::Same // The table is gone.
            });
        }
    }

    /// Gives out early what the clock says is due.
    fn fire_early<E: Emit<Windowed<K, A::Output>>>(&mut self, now: i64, out: &mut E) {
        let mut progress = Progress::default();
        for (end, key) in self.waiting.take(now) {
            progress.made_one();
            let table = self.windows.get_mut(&end);
            let Some(pane) = table.and_then(|table| table.get_mut(&key)) else {
                continue;
            };
            pane.dirty = false;
            if end > self.giving.watermark && pane.changes > 0 {
                self.giving.give(end, &key, pane, Revision::Early, out);
            }
        }
    }
}

impl<T, K, F, A, L> Operator<T> for TriggeredWindows<T, K, F, A, L>
where
    T: Send + 'static,
    K: Key,
    F: Fn(&T) -> K + Send + 'static,
    A: AggregateFunction<T>,
    L: Operator<T, Out = Infallible>,
{
    type Out = Windowed<K, A::Output>;

    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        let time = match self.domain {
            TimeDomain::Event => time,
            TimeDomain::Processing => self.now,
        };
        let Some((mut end, last)) = self.ends(time) else {
            if !self.giving.span.is_some_and(|span| span.has_gaps()) {
                self.late.item(time, item, &mut Discard);
            }
            return; // Between two windows.
        };
        if end > last {
            self.late.item(time, item, &mut Discard);
            return;
        }
        let key = (self.key)(&item);
        let slide = self.giving.span.map_or(i64::MAX, |span| span.slide);
        loop {
            self.add(end, &key, (time, &item), out);
            match end.checked_add(slide) {
                Some(next) if next <= last => end = next,
                _ => break,
            }
        }
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        self.late.watermark(watermark, &mut Discard);
        // In processing time only the end of the input closes what is open.
        if self.domain == TimeDomain::Event || watermark == Timestamp::MAX {
            self.fire(watermark.0, out);
        }
    }

    fn late_before(&mut self, limit: Timestamp) {
        if self.domain == TimeDomain::Event {
            self.late_before = limit.0;
        }
        self.late.late_before(limit);
    }

    fn begin(&mut self, turn: &Turn) {
        // A clock that goes back must not open a window anew.
        self.now = self.now.max(turn.now);
        self.late.begin(turn);
    }

    fn processing_time<E: Emit<Self::Out>>(&mut self, now: Timestamp, out: &mut E) {
        self.fire_early(now.0, out);
        if self.domain == TimeDomain::Processing {
            self.fire(now.0, out);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let closing = match self.domain {
            TimeDomain::Event => None,
            TimeDomain::Processing => self.windows.keys().next().copied(),
        };
        let due = [closing, self.waiting.due].into_iter().flatten().min();
        due.map(Timestamp)
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let memory = StateMemory::of(wiring);
        self.memory = memory.for_tables();
        self.numbers.share(memory);
        self.late.open(wiring)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.windows.values_mut().try_for_each(Table::settle)?;
        self.late.flush(idle)
    }

    inner_sink!(late: is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        debug_assert_eq!(
            self.panes,
            self.windows.values().map(Table::len).sum::<usize>()
        );
        into.push(("window accumulators", self.panes));
        into.push(("early results due", self.waiting.len()));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let saved = Saved {
            shape: self.giving.shape(),
            parameters: Parameters(self.giving.function.parameters()),
            dirty: self.waiting.entries(),
            early_at: self.waiting.due,
            watermark: self.giving.watermark,
            earlier: self.giving.earlier,
            now: self.now,
        };
        saving.whole(KIND, &saved)?;
        let windows = self.windows.iter_mut().map(|(&end, table)| (end, table));
        self.numbers.save(OPEN, windows, saving)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let all = restoring.whole::<Saved<Vec<(i64, K)>>>(KIND)?;
        // By the clock partitions are not equally far: after the latest of them, windows of the others that end before
        // it would never be given out.
        let watermark = all.iter().map(|saved| saved.watermark).min();
        self.giving.watermark = watermark.unwrap_or(i64::MIN);
        for saved in all {
            saved.shape.check(KIND, self.giving.shape(), restoring)?;
            let parameters = self.giving.function.parameters();
            saved.parameters.check(KIND, parameters, restoring)?;
            // Earlier versions kept those of windows that had ended as well.
            let ended = self.giving.watermark;
            let dirty = saved.dirty.into_iter().filter(|(end, _)| *end > ended);
            let own = dirty.filter(|(_, key)| restoring.owns(key));
            self.waiting.wait_again(own, saved.early_at);
            self.giving.earlier = self.giving.earlier.max(saved.earlier);
            self.now = self.now.max(saved.now);
            restoring.goes_on_from(saved.now);
        }
        self.windows = self.numbers.restore(OPEN, restoring)?;
        self.panes = self.windows.values().map(Table::len).sum();
        self.late.restore(restoring)
    }
}

impl<T, K: Clone, F: Clone, A: AggregateFunction<T>, L: Clone> Clone
    for TriggeredWindows<T, K, F, A, L>
{
    fn clone(&self) -> Self {
        Self {
            domain: self.domain,
            lateness: self.lateness,
            key: self.key.clone(),
            giving: self.giving.clone(),
            late: self.late.clone(),
            windows: self.windows.clone(),
            numbers: self.numbers.clone(),
            memory: self.memory.clone(),
            panes: self.panes,
            waiting: self.waiting.clone(),
            late_before: self.late_before,
            now: self.now,
            item: PhantomData,
        }
    }
}

impl<T, K, F, A: AggregateFunction<T>, L> fmt::Debug for TriggeredWindows<T, K, F, A, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggeredWindows")
            .field("span", &self.giving.span)
            .field("watermark", &self.giving.watermark)
            .finish_non_exhaustive()
    }
}
