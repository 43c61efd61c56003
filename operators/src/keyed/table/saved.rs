//! What a checkpoint holds of the keys of a partition.
//!
//! Of the heaps nothing: their valid entries are what the keys know of their timers, and the others have no effect. As
//! tuples, without names, since there may be millions of them.

use std::hash::{BuildHasher, Hash};

use millstream_engine::checkpoint::Restoring;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use super::{Set, Sets, Slot, Table};
use crate::keyed::timers::Due;
use crate::window::TimeDomain;

/// Whether it is of processing time, when it is due, and its number in the heap.
type Timer = (bool, i64, u64);

/// Its timers, and by kind of time when something of its state is over next.
type Timers = (SmallVec<[Timer; 1]>, [Option<(i64, u64)>; 2]);

/// A table as it is read.
#[derive(Deserialize)]
pub(in crate::keyed) struct SavedTable<K, S> {
    slots: Vec<(K, S, Timers)>,
    /// The number of the next timer.
    next: u64,
}

impl Sets {
    fn all(&self) -> SmallVec<[Timer; 1]> {
        match self {
            Self::Few(sets) => {
                let sets = sets.iter();
                sets.map(|set| (set.domain == TimeDomain::Processing, set.time, set.number))
                    .collect()
            }
            Self::Many(sets) => {
                let sets = sets.iter();
                sets.map(|(&(processing, time), &number)| (processing, time, number))
                    .collect()
            }
        }
    }
}

impl<K, S> Slot<K, S> {
    fn timers(&self) -> Timers {
        let expiries = self.expiries;
        let expiries = expiries.map(|set| set.map(|set| (set.time, set.number)));
        (self.timers.all(), expiries)
    }
}

/// The keys of a table, written one by one.
struct Slots<'a, K, S>(&'a Table<K, S>);

impl<K: Serialize, S: Serialize> Serialize for Slots<'_, K, S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let slots = self.0.slots.iter();
        serializer.collect_seq(slots.map(|slot| (&slot.key, &slot.state, slot.timers())))
    }
}

impl<K: Serialize, S: Serialize> Serialize for Table<K, S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut saved = serializer.serialize_struct("SavedTable", 2)?;
        saved.serialize_field("slots", &Slots(self))?;
        saved.serialize_field("next", &self.next)?;
        saved.end()
    }
}

impl<K: Hash + Eq + Clone, S> Table<K, S> {
    /// Adds keys that were saved, as far as they are this partition's. Timers of several partitions that are due at once
    /// fire in the order of their numbers, whichever partition had them: those of one key keep their order.
    pub(in crate::keyed) fn take_back(&mut self, saved: SavedTable<K, S>, restoring: &Restoring) {
        self.next = self.next.max(saved.next);
        let own = saved.slots.into_iter();
        for (key, state, timers) in own.filter(|(key, ..)| restoring.owns(key)) {
            let (timers, expiries) = timers;
            let mut slot = Slot {
                key,
                state,
                timers: Sets::default(),
                expiries: [None; 2],
            };
            for (is_processing, time, number) in timers {
                let domain = domain(is_processing);
                slot.timers
                    .insert(self.set_again(&slot.key, domain, time, number));
            }
            for (kind, expiry) in expiries.into_iter().enumerate() {
                if let Some((time, number)) = expiry {
                    let set = self.set_again(&slot.key, domain(kind == 1), time, number);
                    slot.expiries[kind] = Some(set);
                }
            }
            let hasher = &self.hasher;
            let hash = hasher.hash_one(&slot.key);
            self.slots
                .insert_unique(hash, slot, |slot| hasher.hash_one(&slot.key));
        }
    }

    fn set_again(&mut self, key: &K, domain: TimeDomain, time: i64, number: u64) -> Set {
        let key = key.clone();
        self.heaps[domain as usize].push(Due { time, number, key });
        Set {
            domain,
            time,
            number,
        }
    }
}

const fn domain(is_processing: bool) -> TimeDomain {
    if is_processing {
        TimeDomain::Processing
    } else {
        TimeDomain::Event
    }
}
