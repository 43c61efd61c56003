//! States and timers of all keys of a partition.

mod saved;
mod sets;

use std::hash::Hash;

use millstream_engine::flow::Fault;
use millstream_engine::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::{Request, Timer};
use super::expiring::{KeyedState, Left, Now};
use super::timers::{Due, Timers};
use crate::table::{self, Seen, StateMemory};
use crate::window::TimeDomain;
use sets::{Set, Sets};

/// Items whose keys are looked for before the first of them is handed over: more than the processor has under way anyway, and
/// few enough that what was found is still in its cache.
pub(super) const AHEAD: usize = 16;
/// Keys from which on that is done: the table of fewer is in the processor's cache, where looking ahead costs more than it
/// gains. Few in tests, so that both ways are tried.
pub(super) const LARGE: usize = if cfg!(test) { 4 } else { 8_192 };

/// What is kept of one key.
#[derive(Debug)]
pub(super) struct Slot<S> {
    pub(super) state: S,
    timers: Sets,
    /// When something of the state is over next, in event and in processing time.
    expiries: [Option<Set>; 2],
    /// A call that may fail has gone well, or it was read back: it is not there for a call that fails alone.
    is_lasting: bool,
}

impl<S> Slot<S> {
    fn knows<K>(&self, domain: TimeDomain, due: &Due<K>) -> bool {
        let is_it = |set: &Set| set.domain == domain && set.number == due.number;
        self.timers.get(domain, due.time) == Some(due.number)
            || self.expiries.iter().flatten().any(is_it)
    }

    #[inline]
    fn is_waiting(&self) -> bool {
        !self.timers.is_empty() || self.expiries.iter().any(Option::is_some)
    }
}

impl<S: KeyedState> Slot<S> {
    /// A call has gone well.
    #[inline]
    pub(super) const fn last(&mut self) {
        self.is_lasting = true;
    }

    /// Whether nothing is left of the key that anything waits for.
    #[inline]
    pub(super) fn is_empty(&mut self, now: &Now) -> bool {
        !self.is_waiting() && self.state.expire(now).is_empty
    }
}

impl<S: Default> Default for Slot<S> {
    fn default() -> Self {
        Self {
            state: S::default(),
            timers: Sets::default(),
            expiries: [None; 2],
            is_lasting: false,
        }
    }
}

/// What an entry of the queue was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fired {
    Timer,
    Expiry,
    /// Taken off before.
    Nothing,
}

/// Keys, their states and their timers.
pub(super) struct Table<K, S> {
    slots: table::Table<K, Slot<S>>,
    /// By kind of time.
    queues: [Timers<K>; 2],
    next: u64,
}

impl<K, S> Table<K, S> {
    pub(super) fn new() -> Self {
        Self {
            slots: table::Table::default(),
            queues: [Timers::new(), Timers::new()],
            next: 0,
        }
    }

    pub(super) fn timers(&mut self, domain: TimeDomain) -> &mut Timers<K> {
        &mut self.queues[domain as usize]
    }

    /// When a timer of this kind is due next, at the earliest.
    pub(super) fn first(&self, domain: TimeDomain) -> Option<i64> {
        self.queues[domain as usize].first()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn timers_len(&self) -> usize {
        self.queues.iter().map(Timers::len).sum()
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.queues.iter_mut().for_each(Timers::clear);
    }
}

impl<K: Hash + Eq + Clone, S: KeyedState> Table<K, S> {
    /// States and timers share this memory from now on.
    pub(super) fn share(&mut self, memory: &StateMemory)
    where
        K: Serialize + DeserializeOwned,
    {
        self.slots.share(&memory.for_tables());
        self.queues
            .iter_mut()
            .for_each(|timers| timers.share(memory));
    }

    /// Gives up what is too much.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        self.slots.settle()?;
        self.queues.iter_mut().try_for_each(Timers::settle)
    }

    #[inline]
    pub(super) fn hash(&self, key: &K) -> u64 {
        self.slots.hash(key)
    }

    /// The place of a key, made if there is none.
    #[inline]
    pub(super) fn place(&mut self, hash: u64, key: K) -> usize {
        self.slots.find_or_insert_hashed(hash, key, Slot::default)
    }

    /// Looks where a key is, ahead of [`place_seen`](Self::place_seen).
    #[inline(always)]
    pub(super) fn see(&self, hash: u64, key: &K) -> u32 {
        self.slots.see(hash, key)
    }

    /// The place of a key that was seen, made if there is none.
    #[inline(always)]
    pub(super) fn place_seen(&mut self, seen: u32, hash: u64, key: K) -> usize {
        self.slots
            .find_or_insert_seen(seen, hash, key, Slot::default)
    }

    /// A key and its slot, which may be changed.
    #[inline]
    pub(super) fn at(&mut self, place: usize) -> (&K, &mut Slot<S>) {
        self.slots.at_mut(place)
    }

    pub(super) fn find(&mut self, hash: u64, key: &K) -> Option<&mut Slot<S>> {
        let place = self.slots.find_hashed(hash, key)?;
        Some(self.slots.at_mut(place).1)
    }

    /// What an entry that left the queue was for; it is not set any more.
    pub(super) fn fired(&mut self, hash: u64, domain: TimeDomain, due: &Due<K>) -> Fired {
        let is_it = |set: &Set| set.domain == domain && set.number == due.number;
        let slot = self.find(hash, &due.key);
        let fired = slot.map_or(Fired::Nothing, |slot| {
            if slot.timers.get(domain, due.time) == Some(due.number) {
                slot.timers.remove(domain, due.time);
                return Fired::Timer;
            }
            let expiry = &mut slot.expiries[domain as usize];
            match expiry.take_if(|set| is_it(set)) {
                Some(_) => Fired::Expiry,
                None => Fired::Nothing,
            }
        });
        if fired == Fired::Nothing {
            self.timers(domain).left_invalid();
        }
        fired
    }

    /// Carries out what a call for `key` asked for. With `is_over` no timer is set any more.
    pub(super) fn carry_out(
        &mut self,
        hash: u64,
        key: &K,
        requests: &mut Vec<Request>,
        clear: bool,
        is_over: bool,
    ) {
        let Some(place) = self.slots.find_hashed(hash, key) else {
            requests.clear();
            return;
        };
        let slot = self.slots.at_mut(place).1;
        if clear {
            slot.state = S::default();
            slot.is_lasting = false;
            for set in slot.expiries.iter_mut().filter_map(Option::take) {
                self.queues[set.domain as usize].invalidate();
            }
        }
        // Not drained: see [`Scratch::give_out`](super::context::Scratch::give_out).
        for request in requests.iter().copied() {
            let (domain, time) = match &request {
                Request::Set(timer) | Request::Delete(timer) | Request::Expire(timer) => {
                    timer.parts()
                }
            };
            let queue = &mut self.queues[domain as usize];
            let number = self.next;
            let set = Set {
                domain,
                time,
                number,
            };
            match request {
                Request::Delete(_) => {
                    if slot.timers.remove(domain, time).is_some() {
                        queue.invalidate();
                    }
                    continue;
                }
                Request::Set(_) if is_over || slot.timers.get(domain, time).is_some() => continue,
                Request::Set(_) => slot.timers.insert(set),
                Request::Expire(_) if is_over || clear => continue,
                Request::Expire(_) => {
                    let armed = &mut slot.expiries[domain as usize];
                    if armed.is_some_and(|armed| armed.time <= time) {
                        continue;
                    }
                    if armed.replace(set).is_some() {
                        queue.invalidate();
                    }
                }
            }
            self.next += 1;
            let key = key.clone();
            queue.push(Due { time, number, key });
        }
        requests.clear();
        let is_free = clear && !slot.is_waiting();
        if is_free {
            self.remove(hash, key);
        }
        self.sweep(TimeDomain::Event);
        self.sweep(TimeDomain::Processing);
    }

    /// Drops what is over of a key's state; and the key, if nothing is left.
    pub(super) fn expire(&mut self, hash: u64, key: &K, now: &Now, requests: &mut Vec<Request>) {
        let Some(slot) = self.find(hash, key) else {
            return;
        };
        let Left {
            is_empty,
            event,
            processing,
        } = slot.state.expire(now);
        if is_empty && slot.timers.is_empty() {
            for domain in [TimeDomain::Event, TimeDomain::Processing] {
                let armed = self
                    .find(hash, key)
                    .and_then(|slot| slot.expiries[domain as usize].take());
                if armed.is_some() {
                    self.timers(domain).invalidate();
                }
            }
            self.remove(hash, key);
            return;
        }
        let again = |timer: fn(Timestamp) -> Timer| move |time| Request::Expire(timer(time));
        requests.extend(event.map(again(Timer::Event)));
        requests.extend(processing.map(again(Timer::Processing)));
    }

    /// Drops all keys but some. Timers of those that are dropped have no effect any more.
    pub(super) fn keep_only(&mut self, is_kept: impl Fn(&K) -> bool) {
        self.slots
            .visit(|key, _| if is_kept(key) { Seen::Same } else { Seen::Over });
    }

    /// Drops a key of which nothing is left: a timer may have been the last thing that held it.
    pub(super) fn forget_empty(&mut self, hash: u64, key: &K, now: &Now) {
        if self.find(hash, key).is_some_and(|slot| slot.is_empty(now)) {
            self.remove(hash, key);
        }
    }

    /// Drops a key whose call has failed, and was put back, if nothing is left of it or the call is why there is one.
    #[cold]
    pub(super) fn forget_failed(&mut self, hash: u64, key: &K, now: &Now) {
        let is_over =
            |slot: &mut Slot<S>| slot.is_empty(now) || (!slot.is_waiting() && !slot.is_lasting);
        if self.find(hash, key).is_some_and(is_over) {
            self.remove(hash, key);
        }
    }

    fn remove(&mut self, hash: u64, key: &K) {
        if let Some(place) = self.slots.find_hashed(hash, key) {
            self.slots.remove_at(place);
        }
    }

    fn sweep(&mut self, domain: TimeDomain) {
        let timers = &mut self.queues[domain as usize];
        if timers.wants_sweep() {
            let slots = &mut self.slots;
            timers.sweep(|due| {
                let slot = slots.get(&due.key);
                slot.is_some_and(|slot| slot.knows(domain, due))
            });
        }
    }
}
