//! Keys behind whose failed item others wait. Asked for each item while anything waits, with the hash that its table knows.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::entry::Place;
use super::filter::Filter;

/// The place of the entry by key. Hashes are those of [`Table`](crate::table::Table).
///
/// Of the keys that do not wait most are told by the filter: the table is looked into for the others.
#[derive(Debug)]
pub(super) struct Heads<K> {
    places: HashTable<(K, Place)>,
    hasher: FixedState,
    filter: Filter,
}

impl<K> Default for Heads<K> {
    fn default() -> Self {
        Self {
            places: HashTable::new(),
            hasher: FixedState::default(),
            filter: Filter::default(),
        }
    }
}

impl<K: Hash + Eq> Heads<K> {
    /// The place of the key with this hash, if it is one of them.
    #[inline]
    pub(super) fn at(&self, hash: u64, key: &K) -> Option<Place> {
        if !self.filter.may_have(hash) {
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
        self.filter.add(hash);
        self.places
            .insert_unique(hash, (key, place), |(key, _)| hasher.hash_one(key));
    }

    pub(super) fn remove(&mut self, key: &K) {
        let hash = self.hasher.hash_one(key);
        if let Ok(found) = self.places.find_entry(hash, |(of, _)| of == key) {
            found.remove();
            let (left, hasher) = (&self.places, &self.hasher);
            self.filter
                .lose(left.iter().map(|(key, _)| hasher.hash_one(key)));
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
                prop_assert!(heads.filter.is_clear());
            }
        }
    }
}
