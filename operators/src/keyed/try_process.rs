//! Drives a process that may fail: items, timers, output, and what waits.
//!
//! In the original order each call comes before those of its key that came later: a key's items and timers wait in one
//! queue. At the end of a complete input what is left to be tried is tried at once, so much in each turn, before those behind
//! are told of the end; states of keys that still wait, with their timers, stay.
//! Cost beside that of [`Process`](super::Process): a clone of the key's state per call, and a frame that catches panics per
//! batch.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;

use millstream_engine::batch::Batch;
use millstream_engine::checkpoint::{Epoch, Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Turn, Wiring};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::context::{NoSide, Scratch};
use super::table::Table;
use super::try_batch::Held;
use super::try_call::{Call, Reached};
use super::try_core::{Core, TryKeyedProcess};
use crate::failing::{Arrived, Failing, Failure, ItemPolicy};
use crate::table::StateMemory;
use crate::window::TimeDomain;
use crate::{Key, Savable};

/// Its kind of state in checkpoints.
const KIND: &str = "keyed process";

/// What is saved beside the keys: as of a process that does not fail.
#[derive(Serialize, Deserialize)]
struct Saved {
    watermark: Timestamp,
    now: Timestamp,
}

pub(super) const fn arrived<T>(time: Timestamp, late_before: Timestamp, item: T) -> Call<T> {
    Call::Item(Arrived {
        time,
        late_before,
        item,
    })
}

/// A [`TryKeyedProcess`] as an operator.
pub struct TryProcess<T: Savable, K: Key, F, P: TryKeyedProcess<K, T>, L = NoSide> {
    pub(super) key: F,
    pub(super) core: Core<K, T, P, L>,
    pub(super) failing: Failing<K, Call<T>>,
    /// Keys of the items that are next, with where they were seen and their hashes.
    pub(super) ahead: Vec<(u32, u64, K)>,
    /// Items of a batch that must wait.
    pub(super) held: Vec<Held>,
    /// Time has come to its end, and something is left to be tried before those behind it are told.
    holds_end: bool,
}

impl<T, K, F, P, L> TryProcess<T, K, F, P, L>
where
    T: Savable,
    K: Key,
    P: TryKeyedProcess<K, T>,
    L: Operator<P::Side, Out = Infallible>,
{
    /// Runs `process` for the keys that `key` gives; what it gives to its side output goes to `side`.
    pub fn new(policy: ItemPolicy, key: F, process: P, side: L) -> Self {
        Self::of(Failing::new(policy, 0), key, process, side)
    }

    fn of(failing: Failing<K, Call<T>>, key: F, process: P, side: L) -> Self {
        Self {
            key,
            core: Core {
                process,
                side,
                table: Table::new(),
                scratch: Scratch::new(),
                watermark: Timestamp::MIN,
                late_before: Timestamp::MIN,
                now: Timestamp::MIN,
            },
            failing,
            ahead: Vec::new(),
            held: Vec::new(),
            holds_end: false,
        }
    }

    /// The side output.
    pub const fn side(&self) -> &L {
        &self.core.side
    }

    #[cold]
    #[inline(never)]
    pub(super) fn fail(&mut self, place: usize, time: Timestamp, item: T, failure: Failure) {
        let key = self.core.failed(place);
        let call = arrived(time, self.core.late_before, item);
        self.failing.fail(Some(key), call, failure);
    }

    /// Tries what is due.
    fn run<E: Emit<P::Out>>(&mut self, out: &mut E) {
        if self.failing.is_empty() {
            return;
        }
        let core = &mut self.core;
        self.failing.run_due(|failing, key, call| {
            let key = key.expect("each call of a process is for a key");
            core.attempt(failing, key, call, out)
        });
    }

    /// All of the input has come: a part of what is left to be done, in each turn until nothing is.
    fn finish<E: Emit<P::Out>>(&mut self, out: &mut E) {
        self.failing.complete();
        // Before the end of time is told: what it gives out is not late.
        self.run(out);
        if self.failing.is_trying() {
            return;
        }
        self.core.watermark = Timestamp::MAX;
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            self.core.fire(&mut self.failing, domain, i64::MAX, out);
        }
        // Timers that failed.
        self.run(out);
        if self.failing.is_trying() {
            return;
        }
        self.forget();
        if std::mem::take(&mut self.holds_end) {
            self.core.side.watermark(Timestamp::MAX, &mut Discard);
        }
    }

    /// What was reached while its key was held waits in the queue of the key, but is set until its turn comes: after a
    /// restart it must not be reached once more.
    fn take_queued_off(&mut self) {
        let queued = self.failing.works().filter_map(|(key, call)| match call {
            Call::Due(reached) => Some((key?, *reached)),
            Call::Item(_) | Call::Timer(_) => None,
        });
        let queued: HashSet<_> = queued.collect();
        if !queued.is_empty() {
            let table = &mut self.core.table;
            table.take_off_queues(|domain, due| {
                queued.contains(&(&due.key, Reached::of(domain, due)))
            });
        }
    }

    /// Nothing can come any more, neither items nor time: only what waits is kept.
    fn forget(&mut self) {
        if self.failing.is_empty() {
            self.core.table.clear();
        } else {
            // Also those of whose items none waits behind another.
            let waiting: HashSet<_> = self.failing.works().filter_map(|(key, _)| key).collect();
            self.core.table.keep_only(|key| waiting.contains(key));
        }
    }
}

impl<T, K, F, P, L> Operator<T> for TryProcess<T, K, F, P, L>
where
    T: Savable,
    K: Key,
    F: Fn(&T) -> K + Send + 'static,
    P: TryKeyedProcess<K, T>,
    L: Operator<P::Side, Out = Infallible>,
{
    type Out = P::Out;

    #[inline]
    fn item<E: Emit<P::Out>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        self.try_one(time, item, out);
    }

    fn batch<E: Emit<P::Out>>(&mut self, batch: &mut Batch<T>, out: &mut E) {
        self.try_batch(batch, out);
    }

    fn watermark<E: Emit<P::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        let is_over = watermark == Timestamp::MAX;
        if !self.failing.has_begun() {
            // It was told before the restart, and nobody takes what comes of it before the first turn.
            self.core.watermark = self.core.watermark.max(watermark);
            if is_over {
                self.failing.complete();
            }
        } else if is_over {
            self.holds_end = true;
            return self.finish(out);
        } else {
            let core = &mut self.core;
            core.watermark = core.watermark.max(watermark);
            core.fire(&mut self.failing, TimeDomain::Event, watermark.0, out);
        }
        self.core.side.watermark(watermark, &mut Discard);
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.core.late_before = limit;
        if !self.holds_end {
            self.core.side.late_before(limit);
        }
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.core.table.share(&StateMemory::of(wiring));
        self.failing.open(wiring)?;
        self.core.side.open(wiring)
    }

    fn begin(&mut self, turn: &Turn) {
        // A clock that goes back does not take back timers that have fired.
        self.core.now = self.core.now.max(turn.now);
        let key = &self.key;
        self.failing.begin(turn, |call| call.item().map(key));
        self.core.side.begin(turn);
    }

    fn processing_time<E: Emit<P::Out>>(&mut self, now: Timestamp, out: &mut E) {
        self.core.now = self.core.now.max(now);
        if self.holds_end {
            return self.finish(out);
        }
        // First, so that timers of keys that wait are behind what came before them.
        self.core.fire_reached(&mut self.failing, out);
        self.run(out);
        self.core.fire_reached(&mut self.failing, out);
    }

    fn next_due(&self) -> Option<Timestamp> {
        if self.holds_end {
            return Some(Timestamp::MIN);
        }
        let timer = self.core.table.first(TimeDomain::Processing).map(Timestamp);
        match (timer, self.failing.next_due()) {
            (Some(timer), Some(due)) => Some(timer.min(due)),
            (one, None) | (None, one) => one,
        }
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.core.table.settle()?;
        self.failing.flush(idle)?;
        self.core.side.flush(idle)
    }

    fn is_blocked(&self) -> bool {
        self.failing.is_blocked() || self.core.side.is_blocked()
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        if self.failing.is_blocked() {
            self.failing.blocked(waits);
        }
        if self.core.side.is_blocked() {
            self.core.side.blocked(waits);
        }
    }

    fn idle(&mut self) {
        self.core.side.idle();
    }

    fn holds_end(&self) -> bool {
        self.holds_end
    }

    fn before_end<E: Emit<P::Out>>(&mut self, out: &mut E) -> bool {
        if !self.holds_end {
            if self.core.watermark == Timestamp::MAX {
                // What somebody had tried again since, after a restart at the end.
                self.finish(out);
            } else if self.failing.leaves_nothing() {
                self.run(out);
            } else {
                return true;
            }
            if !self.failing.is_trying() {
                return true;
            }
        }
        // It still holds the end then: the next run is told of it, and holds it in turn.
        self.failing.is_left_to_next_run()
    }

    fn end<E: Emit<P::Out>>(&mut self, _out: &mut E) {
        self.failing.end();
        self.core.side.end(&mut Discard);
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("keyed states", self.core.table.len()));
        into.push(("timers", self.core.table.timers_len()));
        self.failing.state_items(into);
    }

    fn before_barrier<E: Emit<P::Out>>(&mut self, _out: &mut E) {
        self.failing.before_barrier();
        self.core.side.before_barrier(&mut Discard);
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let saved = Saved {
            watermark: self.core.watermark,
            now: self.core.now,
        };
        saving.whole(KIND, &saved)?;
        self.core.table.save(saving)?;
        self.failing.save(saving)?;
        self.core.side.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let all = restoring.whole::<Saved>(KIND)?;
        // As the input: of several partitions the earliest, after which items may still come.
        let watermark = all.iter().map(|saved| saved.watermark).min();
        self.core.watermark = watermark.unwrap_or(Timestamp::MIN);
        for saved in all {
            self.core.now = self.core.now.max(saved.now);
            restoring.goes_on_from(saved.now);
        }
        self.core.table.restore(restoring)?;
        let key = &self.key;
        self.failing
            .restore(restoring, |call| call.item().map(key))?;
        self.take_queued_off();
        self.core.side.restore(restoring)
    }

    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        self.failing.checkpointed(epoch);
        self.core.side.checkpointed(epoch)
    }

    fn awaits_checkpoint(&self) -> bool {
        self.failing.awaits_checkpoint() || self.core.side.awaits_checkpoint()
    }
}

impl<T, K, F, P, L> Clone for TryProcess<T, K, F, P, L>
where
    T: Savable,
    K: Key,
    F: Clone,
    P: TryKeyedProcess<K, T>,
    L: Operator<P::Side, Out = Infallible> + Clone,
{
    /// The same process with no keys yet.
    fn clone(&self) -> Self {
        let (process, side) = (self.core.process.clone(), self.core.side.clone());
        Self::of(self.failing.fresh(), self.key.clone(), process, side)
    }
}

impl<T: Savable, K: Key, F, P: TryKeyedProcess<K, T>, L> fmt::Debug for TryProcess<T, K, F, P, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryProcess")
            .field("keys", &self.core.table.len())
            .field("failing", &self.failing)
            .finish_non_exhaustive()
    }
}
