//! Accumulators by key: values that lie one after another, and an index of where each key's is.
//!
//! A window's table is filled once and emptied once, and with many keys it is larger than the processor's cache, where
//! most of an item's cost is waiting for memory. The index has 5 bytes per place whatever keys and accumulators are,
//! so that it stays in the cache for longer than a table of the values themselves; a new key writes behind the one
//! before it, and emptying reads from front to back.
//! Order: that in which keys first came, so that what is given out does not depend on hashes.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Accumulators by key.
#[derive(Clone)]
pub(crate) struct Table<K, A> {
    places: HashTable<u32>,
    entries: Vec<(K, A)>,
    hasher: FixedState,
}

impl<K, A> Default for Table<K, A> {
    fn default() -> Self {
        Self {
            places: HashTable::new(),
            entries: Vec::new(),
            hasher: FixedState::default(),
        }
    }
}

impl<K, A> Table<K, A> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &A)> {
        self.entries.iter().map(|(key, sum)| (key, sum))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut A)> {
        self.entries.iter_mut().map(|(key, sum)| (&*key, sum))
    }

    /// Empties the table, which keeps its memory.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, A)> {
        self.places.clear();
        self.entries.drain(..)
    }

    /// As [`drain`](Self::drain), without the values.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.entries.clear();
    }
}

impl<K: Serialize, A: Serialize> Serialize for Table<K, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

impl<'de, K, A> Deserialize<'de> for Table<K, A>
where
    K: Hash + Eq + Deserialize<'de>,
    A: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<(K, A)>::deserialize(deserializer)?;
        let mut table = Self::default();
        table.take_in(entries);
        Ok(table)
    }
}

impl<K: Hash + Eq, A> Table<K, A> {
    /// Adds keys, those that were there are replaced.
    pub(crate) fn take_in(&mut self, entries: impl IntoIterator<Item = (K, A)>) {
        for (key, value) in entries {
            let mut value = Some(value);
            let kept = self.get_or_insert_with(key, || value.take().expect("made once"));
            if let Some(value) = value {
                *kept = value;
            }
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&A> {
        let is_it = |&place: &u32| self.entries[place as usize].0 == *key;
        let place = *self.places.find(self.hasher.hash_one(key), is_it)?;
        Some(&self.entries[place as usize].1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut A> {
        let is_it = |&place: &u32| self.entries[place as usize].0 == *key;
        let place = *self.places.find(self.hasher.hash_one(key), is_it)?;
        Some(&mut self.entries[place as usize].1)
    }

    /// The accumulator of `key`, made if there is none.
    #[inline(always)]
    pub(crate) fn get_or_insert_with(&mut self, key: K, create: impl FnOnce() -> A) -> &mut A {
        let (entries, hasher) = (&mut self.entries, &self.hasher);
        let found = self.places.entry(
            hasher.hash_one(&key),
            |&place| entries[place as usize].0 == key,
            |&place| hasher.hash_one(&entries[place as usize].0),
        );
        let place = match found {
            Entry::Occupied(known) => *known.get() as usize,
            Entry::Vacant(new) => {
                let place = entries.len();
                new.insert(u32::try_from(place).expect("four billion keys fit no memory"));
                entries.push((key, create()));
                place
            }
        };
        &mut entries[place].1
    }
}
