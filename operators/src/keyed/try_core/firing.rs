//! Timers of a process that may fail, when their times are reached.
//!
//! Invariants: a timer is taken off its key before it is handed to the process, so that one that fails waits outside of the
//! table; one of a key that waits is queued behind what waits, and stays set until it is its turn.
//! Cost: as with a process that does not fail, and a clone of the key's state before each call.

use std::convert::Infallible;

use millstream_engine::flow::{Emit, Operator};
use millstream_engine::time::Timestamp;

use super::{After, Core, TryKeyedProcess};
use crate::failing::{Failing, Failure, guarded};
use crate::keyed::context::{Context, Scope, Timer};
use crate::keyed::table::Fired;
use crate::keyed::timers::Due;
use crate::keyed::try_call::{Call, Reached};
use crate::progress::Progress;
use crate::window::TimeDomain;
use crate::{Key, Savable};

impl<K, T, P, L> Core<K, T, P, L>
where
    K: Key,
    T: Savable,
    P: TryKeyedProcess<K, T>,
    L: Operator<P::Side, Out = Infallible>,
{
    /// Fires timers of one kind that are due by `until`; those of keys that wait are queued.
    pub(in crate::keyed) fn fire<E: Emit<P::Out>>(
        &mut self,
        failing: &mut Failing<K, Call<T>>,
        domain: TimeDomain,
        until: i64,
        out: &mut E,
    ) {
        let mut progress = Progress::default();
        while let Some(due) = self.table.timers(domain).pop_due(until) {
            progress.made_one();
            if !failing.is_empty() {
                if failing.has_failed() {
                    return;
                }
                if failing.holds(&due.key) {
                    failing.queue(&due.key, Call::Due(Reached::of(domain, &due)));
                    continue;
                }
            }
            let Some(timer) = self.take_off(domain, &due) else {
                continue;
            };
            if let Err(cause) = self.try_timer(failing, &due.key, timer, out) {
                failing.fail(Some(due.key), Call::Timer(timer), cause);
            }
        }
    }

    /// Takes an entry of the queue off its key; gives the timer, if it was one and was still set.
    pub(super) fn take_off(&mut self, domain: TimeDomain, due: &Due<K>) -> Option<Timer> {
        let hash = self.table.hash(&due.key);
        match self.table.fired(hash, domain, due) {
            Fired::Nothing => None,
            Fired::Expiry => {
                let mut now = self.reached();
                match domain {
                    TimeDomain::Event => now.event = Timestamp(due.time),
                    TimeDomain::Processing => now.processing = Timestamp(due.time),
                }
                let is_over = self.is_over();
                let requests = &mut self.scratch.requests;
                self.table.expire(hash, &due.key, &now, requests);
                self.table
                    .carry_out(hash, &due.key, requests, false, is_over);
                None
            }
            Fired::Timer => Some(Timer::of(domain, due.time)),
        }
    }

    pub(super) fn try_timer<E: Emit<P::Out>>(
        &mut self,
        failing: &mut Failing<K, Call<T>>,
        key: &K,
        timer: Timer,
        out: &mut E,
    ) -> Result<(), Failure> {
        let hash = self.table.hash(key);
        let place = self.table.place(hash, key.clone());
        let now = self.reached();
        let (_, time) = timer.parts();
        let scope = Scope {
            time: Timestamp(time),
            watermark: self.watermark,
            late_before: self.late_before,
            now: self.now,
        };
        let (key, slot) = self.table.at(place);
        let (process, scratch, state) = (&mut self.process, &mut self.scratch, &mut slot.state);
        let before = state.clone();
        let outcome = guarded(|| {
            let mut context = Context {
                scope,
                scratch: &mut *scratch,
            };
            process.timer(key, state, timer, &mut context)
        });
        match outcome {
            Ok(()) => {
                let after = After::of(scratch, slot, &now);
                self.succeed(failing, (place, hash), after, out);
                Ok(())
            }
            Err(cause) => {
                self.put_back(place, Some(before));
                self.failed(place);
                Err(cause)
            }
        }
    }

    /// Fires what was set for times that have been reached.
    #[inline]
    pub(in crate::keyed) fn fire_reached<E: Emit<P::Out>>(
        &mut self,
        failing: &mut Failing<K, Call<T>>,
        out: &mut E,
    ) {
        for (domain, reached) in [
            (TimeDomain::Event, self.watermark.0),
            (TimeDomain::Processing, self.now.0),
        ] {
            let first = self.table.first(domain);
            if first.is_some_and(|first| first <= reached) {
                self.fire(failing, domain, reached, out);
            }
        }
    }
}
