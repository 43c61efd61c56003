//! Hands the items of a batch to a process that may fail.
//!
//! One frame for all of them catches panics, since one for each costs as much as the lookups of their keys, of which the
//! processor has several under way otherwise. While nothing waits, items stay where they are in the batch and the frame is
//! told nothing but which of them is with the process: what fails is taken out afterwards. While something waits, each is
//! moved, as it may have to be queued.

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

/// The item that failed: the place of its key, and why.
struct Failed {
    place: usize,
    failure: Failure,
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

    /// How a frame ended. A panic of what is not the process is the stage's.
    fn cause<X>(&self, tried: std::thread::Result<Result<(), X>>) -> Option<Failed>
    where
        X: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (place, failure) = match (tried, self.place) {
            (Ok(Err(error)), Some(place)) => (place, Failure::of(error)),
            (Err(panic), Some(place)) => (place, Failure::panicked(panic)),
            (Err(panic), None) => resume_unwind(panic),
            (Ok(_), _) => return None,
        };
        Some(Failed { place, failure })
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
        while self.failing.is_empty() {
            let (times_left, items_left) = (times.as_slice(), items.as_slice());
            let (done, outcome) = self.try_in_place(times_left, items_left, out);
            match outcome {
                None if done == items_left.len() => return,
                None => {
                    // A timer failed behind the last of them.
                    times.by_ref().take(done).for_each(drop);
                    items.by_ref().take(done).for_each(drop);
                }
                Some(Failed { place, failure }) => {
                    if let (Some(time), Some(item)) = (times.nth(done), items.nth(done)) {
                        self.fail(place, time, item, failure);
                    }
                }
            }
        }
        let mut moved = times.zip(items);
        while self.try_moved(&mut moved, out) {}
    }

    /// Tries items until one fails or something waits; gives how many have succeeded.
    fn try_in_place<E: Emit<P::Out>>(
        &mut self,
        times: &[Timestamp],
        items: &[T],
        out: &mut E,
    ) -> (usize, Option<Failed>) {
        let Self {
            key,
            core,
            failing,
            ahead,
        } = self;
        // A frame before may have been left in the middle.
        ahead.clear();
        let late_before = core.late_before;
        let (mut done, mut trial) = (0, Trial::new());
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
                    let place = core.table.place_seen(seen, hash, key);
                    trial.place = Some(place);
                    core.call(place, *time, late_before, item, &mut trial.before)?;
                    trial.clear();
                    core.succeed(failing, place, hash, out);
                    done += 1;
                    if !failing.is_empty() {
                        return Ok(());
                    }
                }
            }
            Ok::<_, P::Error>(())
        }));
        let outcome = trial.cause(tried);
        if let Some(Failed { place, .. }) = &outcome {
            self.core.put_back(*place, trial.before);
        }
        (done, outcome)
    }

    /// The same of items that may have to be queued; gives whether one has failed, upon which there may be more.
    pub(super) fn try_moved<E: Emit<P::Out>>(
        &mut self,
        items: &mut impl Iterator<Item = (Timestamp, T)>,
        out: &mut E,
    ) -> bool {
        let Self {
            key, core, failing, ..
        } = self;
        let mut trial = Trial::new();
        let mut with_process = None;
        let tried = catch_unwind(AssertUnwindSafe(|| {
            for (time, item) in items {
                let key = key(&item);
                if !failing.is_empty() {
                    if failing.has_failed() {
                        return Ok(());
                    }
                    if failing.holds(&key) {
                        failing.queue(&key, arrived(time, core.late_before, item));
                        continue;
                    }
                }
                let hash = core.table.hash(&key);
                let place = core.table.place(hash, key);
                trial.place = Some(place);
                let (time, item) = with_process.insert((time, item));
                core.call(place, *time, core.late_before, item, &mut trial.before)?;
                trial.clear();
                with_process = None;
                core.succeed(failing, place, hash, out);
            }
            Ok::<_, P::Error>(())
        }));
        let Some(Failed { place, failure }) = trial.cause(tried) else {
            return false;
        };
        self.core.put_back(place, trial.before);
        if let Some((time, item)) = with_process {
            self.fail(place, time, item, failure);
        }
        true
    }
}
