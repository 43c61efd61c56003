//! Hands the items of a batch to a process that may fail.
//!
//! One frame for all of them catches panics, since one for each costs as much as the lookups of their keys, of which the
//! processor has several under way otherwise. Items stay where they are in the batch, and the frame is told nothing but which of
//! them is with the process: what fails, or must wait, is taken out once the frame is left, and the rest begins another.
//! Keys are looked for a few items ahead, so that the memory of their states is waited for together.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use millstream_engine::batch::Batch;
use millstream_engine::flow::{Emit, Operator};
use millstream_engine::time::Timestamp;

use super::try_core::TryKeyedProcess;
use super::try_process::{TryProcess, arrived};
use crate::failing::Failure;
use crate::{Key, Savable};

/// Items whose keys are looked for before the first of them is tried: more than the processor has under way anyway, and few
/// enough that what was found is still in its cache.
const AHEAD: usize = 16;

/// What a frame is left with where an item has failed.
struct Trial<S> {
    /// Place of the item's key in the table, while the process has it.
    place: Option<usize>,
    /// What may have to be put back.
    before: Option<S>,
}

/// Why a frame was left.
enum Left<K> {
    /// There are no more items, or the stage has failed.
    Over,
    /// The next item waits behind one of this key.
    Held(K),
    /// The next item, whose key has this place, has failed.
    Failed { place: usize, failure: Failure },
}

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
            let (done, left) = self.try_in_place(times.as_slice(), items.as_slice(), out);
            if matches!(left, Left::Over) {
                return;
            }
            if let (Some(time), Some(item)) = (times.nth(done), items.nth(done)) {
                self.deal_with(left, time, item);
            }
        }
    }

    /// Takes an item that stands between the stage's input and the process.
    pub(super) fn try_one<E: Emit<P::Out>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        let (_, left) = self.try_in_place(&[time], std::slice::from_ref(&item), out);
        self.deal_with(left, time, item);
    }

    /// Queues or keeps the item that a frame was left for.
    fn deal_with(&mut self, left: Left<K>, time: Timestamp, item: T) {
        match left {
            Left::Over => {}
            Left::Held(key) => {
                let call = arrived(time, self.core.late_before, item);
                self.failing.queue(&key, call);
            }
            Left::Failed { place, failure } => self.fail(place, time, item, failure),
        }
    }

    /// Tries items until one fails that is to be kept, or must wait; gives how many were done before it.
    fn try_in_place<E: Emit<P::Out>>(
        &mut self,
        times: &[Timestamp],
        items: &[T],
        out: &mut E,
    ) -> (usize, Left<K>) {
        let Self {
            key,
            core,
            failing,
            ahead,
        } = self;
        // A frame before may have been left in the middle.
        ahead.clear();
        let late_before = core.late_before;
        let (mut done, mut trial, mut held) = (0, Trial::new(), None);
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let chunks = times.chunks(AHEAD).zip(items.chunks(AHEAD));
            for (times, items) in chunks {
                ahead.extend(items.iter().map(|item| {
                    let key = key(item);
                    let hash = core.table.hash(&key);
                    (core.table.see(hash, &key), hash, key)
                }));
                let keys = ahead.drain(..);
                for ((time, item), (seen, hash, key)) in times.iter().zip(items).zip(keys) {
                    if !failing.is_empty() {
                        if failing.has_failed() {
                            return Ok(());
                        }
                        if failing.holds_hashed(hash, &key) {
                            held = Some(key);
                            return Ok(());
                        }
                    }
                    let place = core.table.place_seen(seen, hash, key);
                    trial.place = Some(place);
                    match core.call(place, *time, late_before, item, &mut trial.before) {
                        Ok(()) => {
                            trial.clear();
                            core.succeed(failing, place, hash, out);
                        }
                        Err(error) if failing.passes_over_at_once() => {
                            let before = trial.before.take();
                            trial.clear();
                            core.pass_over(failing, place, before, error);
                        }
                        Err(error) => return Err(error),
                    }
                    done += 1;
                }
            }
            Ok::<_, P::Error>(())
        }));
        let left = match trial.failed(tried) {
            Some((place, failure)) => {
                self.core.put_back(place, trial.before);
                Left::Failed { place, failure }
            }
            None => held.map_or(Left::Over, Left::Held),
        };
        (done, left)
    }
}
