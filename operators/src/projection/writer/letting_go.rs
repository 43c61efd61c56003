//! Rows leave memory when there are too many: those first that were used longest ago. And all that an actor had that failed.

use std::hash::BuildHasher;

use super::{Slot, TableMut};
use crate::projection::{Row, TableKey};

impl<K: TableKey, R: Row> TableMut<K, R> {
    /// Rows held in memory, and places of rows known not to be there.
    pub(crate) fn rows(&self) -> usize {
        self.slots.len()
    }

    /// Numbers of the events that used each row in memory last; the tables of a projection count alike.
    pub(crate) fn uses(&self, into: &mut Vec<u64>) {
        into.extend(self.slots.iter().map(|slot| slot.used));
    }

    /// Lets at least half of the rows go, those that were used longest ago. As [`shrink`](Self::shrink).
    pub(crate) fn halve(&mut self) {
        let mut uses = Vec::with_capacity(self.rows());
        self.uses(&mut uses);
        self.shrink(middle(&mut uses));
    }

    /// Lets the rows go that no event after `used` has used; they are read again when they are needed. Only while
    /// everything is published and in the store.
    pub(crate) fn shrink(&mut self, used: u64) {
        debug_assert!(self.unpublished.is_empty() && self.unstored.is_empty());
        self.retain(|slot| slot.used > used);
    }

    /// Lets at least half of the rows go, those that were used longest ago, or as many as can: those stay that readers have
    /// not seen, or that the store does not have so. Between two events, at any time. Cost: looks at all of them.
    pub(crate) fn let_stored_go(&mut self) {
        let stays = self.not_stored();
        let slots = self.slots.iter().zip(&stays);
        let uses = slots.filter_map(|(slot, stays)| (!stays).then_some(slot.used));
        let mut uses: Vec<u64> = uses.collect();
        let Some(last) = uses.len().checked_sub(1) else {
            return;
        };
        let at = last.min(self.slots.len() / 2);
        let used = *uses.select_nth_unstable(at).1;
        let mut stays = stays.into_iter();
        self.retain(|slot| stays.next().unwrap_or(true) || slot.used > used);
    }

    /// By place: whether readers have not seen the row, or the store does not have it so.
    fn not_stored(&self) -> Vec<bool> {
        let mut found = vec![false; self.slots.len()];
        let slots = self.unpublished.iter().chain(&self.unstored);
        slots.for_each(|slot| found[*slot as usize] = true);
        // Those that were handed over and are on their way, too.
        self.fresh.each(|key| {
            let hash = self.hasher.hash_one(key);
            let is_of = |slot: &u32| self.slots[*slot as usize].key == *key;
            if let Some(slot) = self.table.find(hash, is_of) {
                found[*slot as usize] = true;
            }
        });
        found
    }

    fn retain(&mut self, mut is_kept: impl FnMut(&Slot<K, R>) -> bool) {
        debug_assert!(self.undo.is_empty(), "in the middle of an event");
        let hot = &self.hot;
        let before = self.slots.len();
        self.slots.retain(|slot| {
            let is_kept = is_kept(slot);
            if !is_kept {
                // The readers' map is shared with the actors of other partitions, whose rows must stay.
                hot.forget(&slot.key);
            }
            is_kept
        });
        if self.slots.len() == before {
            return;
        }
        self.complete = false;
        self.foresight.forget();
        self.slots.shrink_to_fit();
        self.table.clear();
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash = |slot: &u32| hasher.hash_one(&slots[*slot as usize].key);
        self.table.shrink_to(slots.len(), hash);
        for slot in (0..).take(slots.len()) {
            self.table.insert_unique(hash(&slot), slot, hash);
        }
        // What has changed lies elsewhere now.
        let all = || (0..).zip(slots);
        let unpublished = all().filter_map(|(at, slot)| slot.unpublished.then_some(at));
        let unstored = all().filter_map(|(at, slot)| slot.unstored.then_some(at));
        self.unpublished.clear();
        self.unpublished.extend(unpublished);
        self.unstored.clear();
        self.unstored.extend(unstored);
    }
}

impl<K: TableKey, R: 'static> Drop for TableMut<K, R> {
    fn drop(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        self.hot
            .leave(self.actor, slots.into_iter().map(|slot| slot.key));
    }
}

/// The number that at least half of these do not exceed.
pub(in crate::projection) fn middle(numbers: &mut [u64]) -> u64 {
    let middle = numbers.len() / 2;
    if numbers.is_empty() {
        return 0;
    }
    *numbers.select_nth_unstable(middle).1
}
