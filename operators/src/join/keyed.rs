//! State per key that a queue can point to with four bytes instead of a copy of the key.
//!
//! Cost: a lookup is one probe of a table of numbers and one access to the slot. A slot that is freed is used again,
//! so whoever keeps its number must cope with meeting another key there.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::due::DueQueue;

/// Number of a slot.
pub(super) type SlotId = u32;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Slot<K, V> {
    pub(super) key: K,
    pub(super) value: V,
}

#[derive(Debug)]
pub(super) struct Keyed<K, V> {
    table: HashTable<SlotId>,
    slots: Vec<Option<Slot<K, V>>>,
    free: Vec<SlotId>,
    hasher: FixedState,
}

impl<K, V> Default for Keyed<K, V> {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hasher: FixedState::default(),
        }
    }
}

impl<K: Hash + Eq, V> Keyed<K, V> {
    /// The slot of `key`, if it has one.
    pub(super) fn find(&self, key: &K) -> Option<SlotId> {
        let is_key = |id: &SlotId| slot_at(&self.slots, *id).is_some_and(|slot| slot.key == *key);
        self.table.find(self.hasher.hash_one(key), is_key).copied()
    }

    /// The slot of `key`, new if it has none.
    #[inline]
    pub(super) fn find_or_insert(&mut self, key: K) -> SlotId
    where
        V: Default,
    {
        let Self {
            table,
            slots,
            free,
            hasher,
        } = self;
        let hash = hasher.hash_one(&key);
        let entry = table.entry(
            hash,
            |id| slot_at(slots, *id).is_some_and(|slot| slot.key == key),
            |id| slot_at(slots, *id).map_or(0, |slot| hasher.hash_one(&slot.key)),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(occupied) => *occupied.get(),
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                let value = V::default();
                let slot = Some(Slot { key, value });
                let id = if let Some(id) = free.pop() {
                    slots[id as usize] = slot;
                    id
                } else {
                    slots.push(slot);
                    SlotId::try_from(slots.len() - 1)
                        .expect("a partition has fewer than 2^32 keys: memory ends before")
                };
                vacant.insert(id);
                id
            }
        }
    }

    /// Takes back what was saved of `key`; gives its slot.
    pub(super) fn insert(&mut self, key: K, value: V) -> SlotId
    where
        V: Default,
    {
        let id = self.find_or_insert(key);
        if let Some(slot) = self.get_mut(id) {
            slot.value = value;
        }
        id
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: SlotId) -> Option<&mut Slot<K, V>> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// All slots, those first that `queue` has, in its order, so that it can be made anew from them. `due` is when it has a
    /// slot next. Of equal times a key that was queued for an earlier one meanwhile may come later than it would have.
    pub(super) fn in_order(
        &self,
        queue: &DueQueue<SlotId>,
        due: impl Fn(&V) -> i64,
    ) -> Vec<&Slot<K, V>> {
        let mut slots: Vec<_> = self.slots.iter().map(Option::as_ref).collect();
        let mut ordered = Vec::with_capacity(slots.len() - self.free.len());
        for (at, &id) in queue.in_order() {
            let place = slots.get_mut(id as usize);
            // One that was queued anew for an earlier time is there twice, or another key's by now.
            let next = place.and_then(|slot| slot.take_if(|slot| due(&slot.value) == at));
            ordered.extend(next);
        }
        ordered.extend(slots.into_iter().flatten());
        ordered
    }

    pub(super) fn remove(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        let hash = self.hasher.hash_one(&slot.key);
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        self.free.push(id);
        // A burst of keys must not be paid for ever.
        if self.table.is_empty() {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.table.shrink_to(1024, |_| 0);
        }
    }
}

#[inline]
fn slot_at<K, V>(slots: &[Option<Slot<K, V>>], id: SlotId) -> Option<&Slot<K, V>> {
    slots.get(id as usize)?.as_ref()
}
