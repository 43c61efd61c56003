//! Which keys are to be looked at, by event time and by the clock.

use std::hash::Hash;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::list::Sessions;
use super::rules::Rules;
use crate::ladder::{Ladder, Ranked, rank};

/// When a key is to be looked at. Never changed: what is no longer true is found out by whoever takes it.
pub(super) struct Look<K> {
    pub(super) due: i64,
    /// Of several for one time: so that they can be divided, and need not be in memory together.
    number: u64,
    pub(super) key: K,
}

/// As a tuple, without names: there may be millions of them on disk.
impl<K: Serialize> Serialize for Look<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.due, self.number, &self.key).serialize(serializer)
    }
}

impl<'de, K: Deserialize<'de>> Deserialize<'de> for Look<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (due, number, key) = Deserialize::deserialize(deserializer)?;
        Ok(Self { due, number, key })
    }
}

impl<K> Ranked for Look<K> {
    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.due, self.number)
    }
}

pub(super) struct Queues<K> {
    pub(super) due: Ladder<Look<K>>,
    /// Looks so far.
    looks: u64,
    /// Keys with sessions that wait for an early result by the clock, and when that is due.
    dirty: HashSet<K, FixedState>,
    pub(super) early_at: Option<i64>,
    /// Processing time.
    pub(super) now: Timestamp,
}

impl<K: Hash + Eq + Clone> Queues<K> {
    pub(super) fn new() -> Self {
        Self {
            due: Ladder::new(),
            looks: 0,
            dirty: HashSet::default(),
            early_at: None,
            now: Timestamp::MIN,
        }
    }

    /// Has a key looked at when this time is reached.
    #[inline]
    pub(super) fn look_at(&mut self, due: i64, key: K) {
        self.looks += 1;
        let number = self.looks;
        self.due.push(Look { due, number, key });
    }

    /// Keys that wait for an early result by the clock.
    pub(super) const fn dirty(&self) -> &HashSet<K, FixedState> {
        &self.dirty
    }

    /// Takes back keys that wait for an early result by the clock, which is due at `early_at`.
    pub(super) fn wait_again(&mut self, keys: impl Iterator<Item = K>, early_at: Option<i64>) {
        let before = self.dirty.len();
        self.dirty.extend(keys);
        if self.dirty.len() > before {
            // Several partitions may have waited for different times: too early costs a result that is replaced.
            let due = self.early_at.into_iter().chain(early_at);
            self.early_at = due.min();
        }
    }

    /// After an item for `key`, whose sessions may wait for an early result by the clock.
    pub(super) fn after_item<F, A>(
        &mut self,
        rules: &Rules<F>,
        key: &K,
        sessions: &mut Sessions<A>,
        waits: bool,
    ) {
        if waits && !self.dirty.contains(key) {
            self.dirty.insert(key.clone());
            if self.early_at.is_none() {
                self.early_at = rules.trigger.next_early(self.now.0);
            }
        }
        if let Some(due) = rules.next_due(sessions)
            && due < sessions.queued
        {
            sessions.queued = due;
            let key = key.clone();
            self.look_at(due, key);
        }
    }

    /// The key has no session any more.
    #[inline]
    pub(super) fn waits_no_longer(&mut self, key: &K) {
        if !self.dirty.is_empty() {
            self.dirty.remove(key);
            if self.dirty.is_empty() {
                self.early_at = None;
            }
        }
    }

    /// The keys whose early results the clock says are due.
    pub(super) fn take_dirty(&mut self, now: i64) -> impl Iterator<Item = K> {
        let is_due = self.early_at.is_some_and(|at| at <= now);
        if is_due {
            self.early_at = None;
        }
        let dirty = is_due.then(|| std::mem::take(&mut self.dirty));
        dirty.into_iter().flatten()
    }
}
