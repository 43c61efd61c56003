//! Where the entry of a key is, and one made where there is none.
//!
//! Invariant: a place that was found is the key's until an entry is removed; who saw one earlier has the key compared again.
//! Cost: in memory one look at the index and one at the entry; in pages perhaps a page that is read.

use std::hash::{BuildHasher, Hash};

use hashbrown::hash_table::Entry;

use super::{SETTLE_EVERY, Table, UNSEEN};

impl<K: Hash + Eq, A> Table<K, A> {
    /// What [`find_hashed`](Self::find_hashed) wants to know of a key.
    pub(crate) fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Place of a key; it is its own until a key is removed.
    #[inline]
    pub(crate) fn find(&mut self, key: &K) -> Option<usize> {
        self.find_hashed(self.hash(key), key)
    }

    /// The same of a key whose hash is known.
    #[inline]
    pub(crate) fn find_hashed(&mut self, hash: u64, key: &K) -> Option<usize> {
        if let Some(paged) = &mut self.paged {
            return paged.find(hash, key);
        }
        let is_it = |&place: &u32| self.entries[place as usize].0 == *key;
        self.places.find(hash, is_it).map(|&place| place as usize)
    }

    /// Where the key is, as far as is known without reading pages: for [`find_or_insert_seen`](Self::find_or_insert_seen).
    /// Asked for several keys ahead, the processor waits for the memory of all of them at once.
    #[inline(always)]
    pub(crate) fn see(&self, hash: u64, key: &K) -> u32 {
        if self.paged.is_some() {
            return UNSEEN;
        }
        let is_it = |&place: &u32| self.entries[place as usize].0 == *key;
        self.places.find(hash, is_it).copied().unwrap_or(UNSEEN)
    }

    /// As [`find_or_insert_hashed`](Self::find_or_insert_hashed) of a key that was seen; it may have moved since.
    #[inline(always)]
    pub(crate) fn find_or_insert_seen(
        &mut self,
        seen: u32,
        hash: u64,
        key: K,
        create: impl FnOnce() -> A,
    ) -> usize {
        match self.entries.get(seen as usize) {
            Some((of, _)) if *of == key => seen as usize,
            _ => self.find_or_insert_hashed(hash, key, create),
        }
    }

    /// Place of a key, with a value that is made if there is none.
    #[inline(always)]
    pub(crate) fn find_or_insert_with(&mut self, key: K, create: impl FnOnce() -> A) -> usize {
        let hash = self.hasher.hash_one(&key);
        self.find_or_insert_hashed(hash, key, create)
    }

    /// The same of a key whose hash is known.
    #[inline(always)]
    pub(crate) fn find_or_insert_hashed(
        &mut self,
        hash: u64,
        key: K,
        create: impl FnOnce() -> A,
    ) -> usize {
        if self.paged.is_some() {
            return self.find_or_insert_paged(hash, key, create);
        }
        let (entries, hasher) = (&mut self.entries, &self.hasher);
        let found = self.places.entry(
            hash,
            |&place| entries[place as usize].0 == key,
            |&place| hasher.hash_one(&entries[place as usize].0),
        );
        match found {
            Entry::Occupied(known) => *known.get() as usize,
            Entry::Vacant(new) => {
                let place = entries.len();
                new.insert(u32::try_from(place).expect("four billion keys fit no memory"));
                entries.push((key, create()));
                self.marks.add(place);
                if place.is_multiple_of(SETTLE_EVERY) && self.memory.is_some() {
                    // A turn may bring all keys at once.
                    let _ = self.settle();
                }
                place
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn find_or_insert_paged(&mut self, hash: u64, key: K, create: impl FnOnce() -> A) -> usize {
        let Some(paged) = &mut self.paged else {
            unreachable!("asked of tables in pages");
        };
        if let Some(place) = paged.find(hash, &key) {
            return place;
        }
        let place = paged.push(hash, key, create());
        self.marks.add(place);
        place
    }
}
