//! The timers that one key has set: few in a list, many in order.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::window::TimeDomain;

/// A timer of one key and the number that its entry in the queue has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    pub(super) domain: TimeDomain,
    pub(super) time: i64,
    pub(super) number: u64,
}

/// Timers of one key that are looked through one after the other; more are kept in order.
const FEW: usize = 8;

/// The timers of one key, at most one per kind of time and time.
#[derive(Debug)]
pub(super) enum Sets {
    Few(SmallVec<[Set; 1]>),
    Many(BTreeMap<(bool, i64), u64>),
}

impl Default for Sets {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

/// In the order of kinds and times.
fn place(domain: TimeDomain, time: i64) -> (bool, i64) {
    (domain == TimeDomain::Processing, time)
}

impl Sets {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(sets) => sets.is_empty(),
            Self::Many(sets) => sets.is_empty(),
        }
    }

    /// The number of the timer for this time.
    pub(super) fn get(&self, domain: TimeDomain, time: i64) -> Option<u64> {
        match self {
            Self::Few(sets) => {
                let is_it = |set: &&Set| set.domain == domain && set.time == time;
                sets.iter().find(is_it).map(|set| set.number)
            }
            Self::Many(sets) => sets.get(&place(domain, time)).copied(),
        }
    }

    /// Adds one whose time has none.
    pub(super) fn insert(&mut self, set: Set) {
        match self {
            Self::Few(sets) if sets.len() < FEW => sets.push(set),
            Self::Few(sets) => {
                let all = sets.iter().chain([&set]);
                let all = all.map(|set| (place(set.domain, set.time), set.number));
                *self = Self::Many(all.collect());
            }
            Self::Many(sets) => {
                sets.insert(place(set.domain, set.time), set.number);
            }
        }
    }

    pub(super) fn remove(&mut self, domain: TimeDomain, time: i64) -> Option<u64> {
        match self {
            Self::Few(sets) => {
                let is_it = |set: &Set| set.domain == domain && set.time == time;
                let at = sets.iter().position(is_it)?;
                Some(sets.swap_remove(at).number)
            }
            Self::Many(sets) => sets.remove(&place(domain, time)),
        }
    }
}
