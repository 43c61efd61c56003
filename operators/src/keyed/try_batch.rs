//! Hands the items of a batch to a process that may fail.
//!
//! One frame for all of them catches panics, since one for each costs as much as the lookups of their keys, of which the
//! processor has several under way otherwise. Items stay where they are in the batch, and the frame is told nothing but which of
//! them is with the process: what fails is taken out once the frame is left, and the rest begins another. What must wait is
//! passed by and taken out then, too.
//! Keys are looked for a few items ahead, so that the memory of their states is waited for together.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use millstream_engine::batch::Batch;
use millstream_engine::flow::{Emit, Operator};
use millstream_engine::time::Timestamp;

use super::table::{AHEAD, LARGE};
use super::try_call::Call;
use super::try_core::{Core, TryKeyedProcess};
use super::try_process::{TryProcess, arrived};
use crate::failing::{Failing, Failure, Place};
use crate::{Key, Savable};

/// What a frame is left with where an item has failed.
struct Trial<S> {
    /// Place of the item's key in the table, while the process has it.
    place: Option<usize>,
    /// What may have to be put back.
    before: Option<S>,
}

/// Why a frame was left.
enum Left {
    /// There are no more items, or the stage has failed.
    Over,
    /// The item of this number, whose key has this place, has failed.
    Failed {
        at: usize,
        place: usize,
        failure: Failure,
    },
}

/// Items between two places where a panic is caught.
struct Frame<'a, K, T, P: TryKeyedProcess<K, T>, L>
where
    K: Key,
    T: Savable,
{
    core: &'a mut Core<K, T, P, L>,
    failing: &'a mut Failing<K, Call<T>>,
    held: &'a mut Vec<Held>,
    trial: Trial<P::State>,
    /// Number of the item that is next.
    at: usize,
    late_before: Timestamp,
    /// The stage has failed: what is left comes again after its restart.
    is_over: bool,
}

impl<K, T, P, L> Frame<'_, K, T, P, L>
where
    K: Key,
    T: Savable,
    P: TryKeyedProcess<K, T>,
    L: Operator<P::Side, Out = Infallible>,
{
    /// Whether the next item must wait: then it is noted, and passed by.
    #[inline(always)]
    fn waits(&mut self, hash: u64, key: &K) -> bool {
        if self.failing.is_empty() {
            return false;
        }
        if self.failing.has_failed() {
            self.is_over = true;
            return true;
        }
        // Nothing that is held is let go while a batch is tried, and no timer of its key is reached.
        let Some(head) = self.failing.head_hashed(hash, key) else {
            return false;
        };
        self.held.push((self.at, head));
        self.at += 1;
        true
    }

    /// Tries the next item, whose key has this place.
    #[inline(always)]
    fn try_item<E: Emit<P::Out>>(
        &mut self,
        place: usize,
        hash: u64,
        time: Timestamp,
        item: &T,
        out: &mut E,
    ) -> Result<(), P::Error> {
        let Self {
            core,
            failing,
            trial,
            ..
        } = self;
        trial.place = Some(place);
        match core.call(place, time, self.late_before, item, &mut trial.before) {
            Ok(after) => {
                trial.clear();
                core.succeed(failing, (place, hash), after, out);
            }
            Err(error) if failing.passes_over_at_once() => {
                let before = trial.before.take();
                trial.clear();
                core.pass_over(failing, place, before, error);
            }
            Err(error) => return Err(error),
        }
        self.at += 1;
        Ok(())
    }
}

/// An item that must wait: its number in the frame, and behind what it does.
pub(super) type Held = (usize, Place);

impl<S> Trial<S> {
    const fn new() -> Self {
        Self {
            place: None,
            before: None,
        }
    }

    /// The process has given the item back. Also what was kept goes: the next copy may panic while it is made.
    #[inline(always)]
    fn clear(&mut self) {
        self.place = None;
        self.before = None;
    }

    /// Why the process failed on the item that it has, and the place of its key. A panic of what is not the process is the
    /// stage's.
    fn failed<X>(&self, tried: std::thread::Result<Result<(), X>>) -> Option<(usize, Failure)>
    where
        X: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match (tried, self.place) {
            (Ok(Err(error)), Some(place)) => Some((place, Failure::of(error))),
            (Err(panic), Some(place)) => Some((place, Failure::panicked(panic))),
            (Err(panic), None) => resume_unwind(panic),
            (Ok(_), _) => None,
        }
    }
}

impl<T, K, F, P, L> TryProcess<T, K, F, P, L>
where
    T: Savable,
    K: Key,
    F: Fn(&T) -> K,
    P: TryKeyedProcess<K, T>,
    L: Operator<P::Side, Out = Infallible>,
{
    pub(super) fn try_batch<E: Emit<P::Out>>(&mut self, batch: &mut Batch<T>, out: &mut E) {
        let mut times = batch.times.drain(..);
        let mut items = batch.items.drain(..);
        loop {
            let left = self.try_in_place(times.as_slice(), items.as_slice(), out);
            let mut both = times.by_ref().zip(items.by_ref());
            // Items that are taken out of this frame, or lie before one that is.
            let mut passed = 0;
            let mut held = std::mem::take(&mut self.held);
            for (at, head) in held.drain(..) {
                if let Some((time, item)) = both.nth(at - passed) {
                    self.queue(head, time, item);
                }
                passed = at + 1;
            }
            self.held = held;
            let Left::Failed { at, place, failure } = left else {
                return;
            };
            if let Some((time, item)) = both.nth(at - passed) {
                self.fail(place, time, item, failure);
            }
        }
    }

    /// Takes an item that stands between the stage's input and the process.
    pub(super) fn try_one<E: Emit<P::Out>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        let left = self.try_in_place(&[time], std::slice::from_ref(&item), out);
        if let Some((_, head)) = self.held.pop() {
            self.queue(head, time, item);
        } else if let Left::Failed { place, failure, .. } = left {
            self.fail(place, time, item, failure);
        }
    }

    fn queue(&mut self, head: Place, time: Timestamp, item: T) {
        let call = arrived(time, self.core.late_before, item);
        self.failing.queue_at(head, call);
    }

    /// Tries items until one fails that is to be kept; notes which were passed by, since they must wait.
    fn try_in_place<E: Emit<P::Out>>(
        &mut self,
        times: &[Timestamp],
        items: &[T],
        out: &mut E,
    ) -> Left {
        let Self {
            key,
            core,
            failing,
            ahead,
            held,
            ..
        } = self;
        // A frame before may have been left in the middle.
        ahead.clear();
        held.clear();
        let late_before = core.late_before;
        let mut frame = Frame {
            core,
            failing,
            held,
            trial: Trial::new(),
            at: 0,
            late_before,
            is_over: false,
        };
        let tried = catch_unwind(AssertUnwindSafe(|| {
            if frame.core.table.len() < LARGE {
                for (time, item) in times.iter().zip(items) {
                    let key = key(item);
                    let hash = frame.core.table.hash(&key);
                    if frame.waits(hash, &key) {
                        continue;
                    }
                    let place = frame.core.table.place(hash, key);
                    frame.try_item(place, hash, *time, item, out)?;
                }
                return Ok::<_, P::Error>(());
            }
            let chunks = times.chunks(AHEAD).zip(items.chunks(AHEAD));
            for (times, items) in chunks {
                ahead.extend(items.iter().map(|item| {
                    let key = key(item);
                    let hash = frame.core.table.hash(&key);
                    (frame.core.table.see(hash, &key), hash, key)
                }));
                let keys = ahead.drain(..);
                for ((time, item), (seen, hash, key)) in times.iter().zip(items).zip(keys) {
                    if frame.waits(hash, &key) {
                        continue;
                    }
                    let place = frame.core.table.place_seen(seen, hash, key);
                    frame.try_item(place, hash, *time, item, out)?;
                }
                if frame.is_over {
                    break;
                }
            }
            Ok(())
        }));
        let Frame { trial, at, .. } = frame;
        match trial.failed(tried) {
            Some((place, failure)) => {
                self.core.put_back(place, trial.before);
                Left::Failed { at, place, failure }
            }
            None => Left::Over,
        }
    }
}
