//! Which keys are to be looked at, by event time and by the clock.

use std::hash::Hash;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::list::Sessions;
use super::rules::Rules;
use crate::ladder::{Ladder, Ranked, rank};

/// When a key is to be looked at. Never changed: what is no longer true is found out by whoever takes it.
#[derive(Serialize, Deserialize)]
pub(super) struct Look<K> {
    pub(super) due: i64,
    pub(super) key: K,
}

impl<K> Ranked for Look<K> {
    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.due, 0)
    }
}

pub(super) struct Queues<K> {
    pub(super) due: Ladder<Look<K>>,
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
            dirty: HashSet::default(),
            early_at: None,
            now: Timestamp::MIN,
        }
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
            self.due.push(Look { due, key });
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
