//! Drives a process: items, timers, output.
//!
//! In batches, keys of a large table are looked for a few items ahead, so that the memory of their states is waited for
//! together.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use millstream_engine::batch::Batch;
use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Turn, Wiring, inner_sink};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::context::{Context, KeyedProcess, NoSide, Scope, Scratch, Timer};
use super::expiring::Now;
use super::table::{AHEAD, Fired, LARGE, Table};
use crate::Key;
use crate::parameters::Parameters;
use crate::progress::Progress;
use crate::table::StateMemory;
use crate::window::TimeDomain;

/// Its kind of state in checkpoints.
const KIND: &str = "keyed process";

/// What is saved beside the keys.
#[derive(Serialize, Deserialize)]
struct Saved {
    #[serde(default, skip_serializing_if = "Parameters::are_none")]
    parameters: Parameters,
    watermark: Timestamp,
    now: Timestamp,
}

/// A [`KeyedProcess`] as an operator.
pub struct Process<T, K, F, P: KeyedProcess<K, T>, L = NoSide> {
    key: F,
    process: P,
    side: L,
    pub(super) table: Table<K, P::State>,
    scratch: Scratch<P::Out, P::Side>,
    watermark: Timestamp,
    late_before: Timestamp,
    now: Timestamp,
    /// Keys of the items that are next, with where they were seen and their hashes.
    ahead: Vec<(u32, u64, K)>,
    item: PhantomData<fn(T)>,
}

impl<T, K, F, P: KeyedProcess<K, T>, L> Process<T, K, F, P, L> {
    /// Runs `process` for the keys that `key` gives; what it gives to its side output goes to `side`.
    pub fn new(key: F, process: P, side: L) -> Self {
        Self {
            key,
            process,
            side,
            table: Table::new(),
            scratch: Scratch::new(),
            watermark: Timestamp::MIN,
            late_before: Timestamp::MIN,
            now: Timestamp::MIN,
            ahead: Vec::new(),
            item: PhantomData,
        }
    }

    /// The side output.
    pub const fn side(&self) -> &L {
        &self.side
    }

    /// How far both kinds of time have come.
    const fn reached(&self) -> Now {
        Now {
            event: self.watermark,
            processing: self.now,
        }
    }

    const fn scope(&self, time: Timestamp) -> Scope {
        Scope {
            time,
            watermark: self.watermark,
            late_before: self.late_before,
            now: self.now,
        }
    }
}

impl<T, K, F, P, L> Process<T, K, F, P, L>
where
    T: Send + 'static,
    K: Key,
    P: KeyedProcess<K, T>,
    L: Operator<P::Side, Out = Infallible>,
{
    /// Fires timers of one kind that are due by `until`. With `is_over` none is set any more.
    fn fire<E: Emit<P::Out>>(
        &mut self,
        domain: TimeDomain,
        until: i64,
        is_over: bool,
        out: &mut E,
    ) {
        let mut progress = Progress::default();
        while let Some(due) = self.table.timers(domain).pop_due(until) {
            progress.made_one();
            let hash = self.table.hash(&due.key);
            match self.table.fired(hash, domain, &due) {
                Fired::Nothing => {}
                Fired::Expiry => {
                    let time = Timestamp(due.time);
                    let now = match domain {
                        TimeDomain::Event => Now {
                            event: time,
                            processing: self.now,
                        },
                        TimeDomain::Processing => Now {
                            event: self.watermark,
                            processing: time,
                        },
                    };
                    let requests = &mut self.scratch.requests;
                    self.table.expire(hash, &due.key, &now, requests);
                    self.table
                        .carry_out(hash, &due.key, requests, false, is_over);
                }
                Fired::Timer => {
                    let scope = self.scope(Timestamp(due.time));
                    let Some(slot) = self.table.find(hash, &due.key) else {
                        continue;
                    };
                    let scratch = &mut self.scratch;
                    let mut context = Context { scope, scratch };
                    let timer = Timer::of(domain, due.time);
                    let state = &mut slot.state;
                    self.process.timer(&due.key, state, timer, &mut context);
                    self.carry_out(hash, &due.key, is_over);
                    self.table.forget_empty(hash, &due.key, &self.reached());
                    self.scratch.give_out(&mut self.side, out);
                }
            }
        }
    }

    /// Hands an item over whose key has this place in the table.
    #[inline(always)]
    fn take<E: Emit<P::Out>>(
        &mut self,
        (place, hash): (usize, u64),
        time: Timestamp,
        item: T,
        out: &mut E,
    ) {
        let (scope, now) = (self.scope(time), self.reached());
        let (key, slot) = self.table.at(place);
        let scratch = &mut self.scratch;
        let mut context = Context { scope, scratch };
        let state = &mut slot.state;
        self.process.item(key, state, time, item, &mut context);
        if self.scratch.clear || !self.scratch.requests.is_empty() {
            let key = key.clone();
            self.carry_out(hash, &key, false);
            self.table.forget_empty(hash, &key, &self.reached());
            self.scratch.give_out(&mut self.side, out);
            self.fire_reached(out);
        } else {
            if slot.is_empty(&now) {
                let key = key.clone();
                self.table.forget_empty(hash, &key, &now);
            }
            self.scratch.give_out(&mut self.side, out);
        }
    }

    fn carry_out(&mut self, hash: u64, key: &K, is_over: bool) {
        let clear = std::mem::take(&mut self.scratch.clear);
        if clear || !self.scratch.requests.is_empty() {
            let requests = &mut self.scratch.requests;
            self.table.carry_out(hash, key, requests, clear, is_over);
        }
    }

    /// Fires what an item has set for times that have been reached.
    #[inline]
    fn fire_reached<E: Emit<P::Out>>(&mut self, out: &mut E) {
        for (domain, reached) in [
            (TimeDomain::Event, self.watermark.0),
            (TimeDomain::Processing, self.now.0),
        ] {
            if self
                .table
                .first(domain)
                .is_some_and(|first| first <= reached)
            {
                self.fire(domain, reached, false, out);
            }
        }
    }
}

impl<T, K, F, P, L> Operator<T> for Process<T, K, F, P, L>
where
    T: Send + 'static,
    K: Key,
    F: Fn(&T) -> K + Send + 'static,
    P: KeyedProcess<K, T>,
    L: Operator<P::Side, Out = Infallible>,
{
    type Out = P::Out;

    #[inline]
    fn item<E: Emit<P::Out>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        let key = (self.key)(&item);
        let hash = self.table.hash(&key);
        let place = self.table.place(hash, key);
        self.take((place, hash), time, item, out);
    }

    fn batch<E: Emit<P::Out>>(&mut self, batch: &mut Batch<T>, out: &mut E) {
        let (mut times, mut items) = (batch.times.drain(..), batch.items.drain(..));
        // Not left over: a call that panicked ends the stage.
        let mut ahead = std::mem::take(&mut self.ahead);
        while self.table.len() >= LARGE {
            let next = items.as_slice().iter().take(AHEAD);
            ahead.extend(next.map(|item| {
                let key = (self.key)(item);
                let hash = self.table.hash(&key);
                (self.table.see(hash, &key), hash, key)
            }));
            if ahead.is_empty() {
                break;
            }
            let both = times.by_ref().zip(items.by_ref());
            for ((seen, hash, key), (time, item)) in ahead.drain(..).zip(both) {
                let place = self.table.place_seen(seen, hash, key);
                self.take((place, hash), time, item, out);
            }
        }
        self.ahead = ahead;
        for (time, item) in times.zip(items) {
            self.item(time, item, out);
        }
    }

    fn watermark<E: Emit<P::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        self.watermark = self.watermark.max(watermark);
        let is_over = watermark == Timestamp::MAX;
        self.fire(TimeDomain::Event, watermark.0, is_over, out);
        if is_over {
            self.fire(TimeDomain::Processing, i64::MAX, true, out);
            // Nothing can come any more, neither items nor time.
            self.table.clear();
        }
        self.side.watermark(watermark, &mut Discard);
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.late_before = limit;
        self.side.late_before(limit);
    }

    fn begin(&mut self, turn: &Turn) {
        // A clock that goes back does not take back timers that have fired.
        self.now = self.now.max(turn.now);
        self.side.begin(turn);
    }

    fn processing_time<E: Emit<P::Out>>(&mut self, now: Timestamp, out: &mut E) {
        self.now = self.now.max(now);
        self.fire(TimeDomain::Processing, self.now.0, false, out);
        self.fire_reached(out);
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.table.first(TimeDomain::Processing).map(Timestamp)
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.table.share(&StateMemory::of(wiring));
        self.side.open(wiring)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.table.settle()?;
        self.side.flush(idle)
    }

    inner_sink!(side: is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("keyed states", self.table.len()));
        into.push(("timers", self.table.timers_len()));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let saved = Saved {
            parameters: Parameters(self.process.parameters()),
            watermark: self.watermark,
            now: self.now,
        };
        saving.whole(KIND, &saved)?;
        self.table.save(saving)?;
        self.side.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let all = restoring.whole::<Saved>(KIND)?;
        // As the input: of several partitions the earliest, after which items may still come.
        let watermark = all.iter().map(|saved| saved.watermark).min();
        self.watermark = watermark.unwrap_or(Timestamp::MIN);
        for saved in all {
            let parameters = self.process.parameters();
            saved.parameters.check(KIND, parameters, restoring)?;
            self.now = self.now.max(saved.now);
            restoring.goes_on_from(saved.now);
        }
        self.table.restore(restoring)?;
        self.side.restore(restoring)
    }
}

impl<T, K, F: Clone, P: KeyedProcess<K, T>, L: Clone> Clone for Process<T, K, F, P, L> {
    /// The same process with no keys yet.
    fn clone(&self) -> Self {
        Self::new(self.key.clone(), self.process.clone(), self.side.clone())
    }
}

impl<T, K, F, P: KeyedProcess<K, T>, L> fmt::Debug for Process<T, K, F, P, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("keys", &self.table.len())
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}
