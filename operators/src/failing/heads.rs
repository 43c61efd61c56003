//! Keys behind whose failed item others wait. Asked for each item while anything waits, with the hash that its table knows.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::entry::Place;

/// Words of the filter, a kilobyte.
const WORDS: usize = 128;

/// The place of the entry by key. Hashes are those of [`Table`](crate::table::Table).
///
/// Of the keys that do not wait most are told by one bit: the table is looked into for the others.
#[derive(Debug)]
pub(super) struct Heads<K> {
    places: HashTable<(K, Place)>,
    hasher: FixedState,
    /// A bit for the highest part of each hash that is there.
    filter: Box<[u64; WORDS]>,
    /// Keys that went since the filter was made: their bits are still in it.
    gone: usize,
}

impl<K> Default for Heads<K> {
    fn default() -> Self {
        Self {
            places: HashTable::new(),
            hasher: FixedState::default(),
            filter: Box::new([0; WORDS]),
            gone: 0,
        }
    }
}

/// Word and bit of a hash in the filter.
#[inline]
const fn bit_of(hash: u64) -> (usize, u64) {
    let bit = (hash >> 51) as usize % (64 * WORDS);
    (bit / 64, 1 << (bit % 64))
}

impl<K: Hash + Eq> Heads<K> {
    /// The place of the key with this hash, if it is one of them.
    #[inline]
    pub(super) fn at(&self, hash: u64, key: &K) -> Option<Place> {
        let (word, bit) = bit_of(hash);
        if self.filter[word] & bit == 0 {
            return None;
        }
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
        let (word, bit) = bit_of(hash);
        self.filter[word] |= bit;
        self.places
            .insert_unique(hash, (key, place), |(key, _)| hasher.hash_one(key));
    }

    pub(super) fn remove(&mut self, key: &K) {
        let hash = self.hasher.hash_one(key);
        if let Ok(found) = self.places.find_entry(hash, |(of, _)| of == key) {
            found.remove();
            self.narrow();
        }
    }

    /// A key has gone, whose bit others may have: the filter is made anew once more have gone than are there.
    fn narrow(&mut self) {
        self.gone += 1;
        if self.gone <= self.places.len() {
            return;
        }
        self.gone = 0;
        self.filter.fill(0);
        for (key, _) in &self.places {
            let (word, bit) = bit_of(self.hasher.hash_one(key));
            self.filter[word] |= bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map: keys that came and went, asked for by their own hash; and keys that never came.
        #[test]
        fn places_are_those_of_a_map(steps in prop::collection::vec((any::<bool>(), 0u16..12, 0u64..100), 0..60)) {
            let (mut heads, mut model) = (Heads::default(), HashMap::new());
            let hasher = FixedState::default();
            for (comes, key, number) in steps {
                if comes {
                    let place = Place { partition: 0, number };
                    heads.insert(key, place);
                    model.insert(key, place);
                } else {
                    heads.remove(&key);
                    model.remove(&key);
                }
                for key in 0..24u16 {
                    let found = heads.at(hasher.hash_one(key), &key);
                    prop_assert_eq!(found, model.get(&key).copied());
                }
            }
            if model.is_empty() {
                prop_assert!(heads.filter.iter().all(|word| *word == 0));
            }
        }
    }
}
