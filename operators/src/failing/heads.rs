//! Keys behind whose failed item others wait. Asked for each item while anything waits, with the hash that its table knows.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::entry::Place;

/// The place of the entry by key. Hashes are those of [`Table`](crate::table::Table).
#[derive(Debug)]
pub(super) struct Heads<K> {
    places: HashTable<(K, Place)>,
    hasher: FixedState,
}

impl<K> Default for Heads<K> {
    fn default() -> Self {
        Self {
            places: HashTable::new(),
            hasher: FixedState::default(),
        }
    }
}

impl<K: Hash + Eq> Heads<K> {
    /// The place of the key with this hash, if it is one of them.
    #[inline]
    pub(super) fn at(&self, hash: u64, key: &K) -> Option<Place> {
        let found = self.places.find(hash, |(of, _)| of == key);
        found.map(|(_, place)| *place)
    }

    pub(super) fn get(&self, key: &K) -> Option<Place> {
        self.at(self.hasher.hash_one(key), key)
    }

    /// Whether a key is one of them whose hash is not known.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn insert(&mut self, key: K, place: Place) {
        self.remove(&key);
        let (hash, hasher) = (self.hasher.hash_one(&key), &self.hasher);
        self.places
            .insert_unique(hash, (key, place), |(key, _)| hasher.hash_one(key));
    }

    pub(super) fn remove(&mut self, key: &K) {
        let hash = self.hasher.hash_one(key);
        if let Ok(found) = self.places.find_entry(hash, |(of, _)| of == key) {
            found.remove();
        }
    }
}
