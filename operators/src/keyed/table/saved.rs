//! What a checkpoint holds of the keys of a partition.
//!
//! Of the queues nothing: their valid entries are what the keys know of their timers, and the others have no effect. As
//! tuples, without names, since there may be millions of them.

use std::hash::Hash;

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::{Set, Sets, Slot, Table};
use crate::keyed::expiring::KeyedState;
use crate::keyed::plain::{Reading, Writing};
use crate::keyed::timers::Due;
use crate::window::TimeDomain;

/// Its kinds of state.
const KEYS: &str = "keys";
const NEXT: &str = "number of the next timer";

/// Whether it is of processing time, when it is due, and its number in the queue.
type Timer = (bool, i64, u64);

/// Its timers, and by kind of time when something of its state is over next.
type Timers = (SmallVec<[Timer; 1]>, [Option<(i64, u64)>; 2]);

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

impl<S> Slot<S> {
    fn timers(&self) -> Timers {
        let expiries = self.expiries;
        let expiries = expiries.map(|set| set.map(|set| (set.time, set.number)));
        (self.timers.all(), expiries)
    }
}

impl<S: KeyedState> Serialize for Slot<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        (Writing(&self.state), self.timers()).serialize(serializer)
    }
}

impl<'de, S: KeyedState> Deserialize<'de> for Slot<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (state, (timers, expiries)) = <(Reading<S>, Timers)>::deserialize(deserializer)?;
        let mut sets = Sets::default();
        for (is_processing, time, number) in timers {
            sets.insert(Set {
                domain: domain(is_processing),
                time,
                number,
            });
        }
        let expiry = |kind: usize| {
            let domain = domain(kind == 1);
            let set = |(time, number)| Set {
                domain,
                time,
                number,
            };
            expiries[kind].map(set)
        };
        Ok(Self {
            state: state.0,
            timers: sets,
            expiries: [expiry(0), expiry(1)],
            is_lasting: true,
        })
    }
}

impl<K, S> Table<K, S> {
    /// Gives what has changed.
    ///
    /// # Errors
    /// [`CheckpointError::Encode`].
    pub(in crate::keyed) fn save(&mut self, saving: &mut Saving) -> Result<(), CheckpointError>
    where
        K: Serialize,
        S: KeyedState,
    {
        self.slots.save(KEYS, saving)?;
        saving.whole(NEXT, &self.next)
    }
}

impl<K: Hash + Eq + Clone, S> Table<K, S> {
    /// Takes back keys that were saved, as far as they are this partition's. Timers of several partitions that are due
    /// at once fire in the order of their numbers, whichever partition had them: those of one key keep their order.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`], [`CheckpointError::Decode`].
    pub(in crate::keyed) fn restore(
        &mut self,
        restoring: &mut Restoring,
    ) -> Result<(), CheckpointError>
    where
        K: DeserializeOwned,
        S: KeyedState,
    {
        self.slots.restore(KEYS, restoring)?;
        let next = restoring.whole::<u64>(NEXT)?;
        self.next = next.into_iter().max().unwrap_or(0);
        let queues = &mut self.queues;
        self.slots.for_each(|key, slot| {
            let (timers, expiries) = slot.timers();
            let timers = timers.into_iter();
            let timers = timers
                .map(|(is_processing, time, number)| (usize::from(is_processing), time, number));
            let expiries = expiries.into_iter().enumerate();
            let expiries = expiries
                .filter_map(|(kind, expiry)| expiry.map(|(time, number)| (kind, time, number)));
            for (kind, time, number) in timers.chain(expiries) {
                let key = key.clone();
                queues[kind].push(Due { time, number, key });
            }
        });
        Ok(())
    }

    /// After [`restore`](Self::restore): takes entries off the queues that had left them and that somebody else has now.
    pub(in crate::keyed) fn take_off_queues(
        &mut self,
        is_off: impl Fn(TimeDomain, &Due<K>) -> bool,
    ) {
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            self.timers(domain).take_off(|due| is_off(domain, due));
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
