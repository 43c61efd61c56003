//! A table that is larger than its memory: entries in pages, of which the ones used last are in memory and the others in
//! a [store](millstream_engine::spill).
//!
//! Entries lie in the order of their places, as they do in memory alone, so that those that came at one time lie
//! together. What is known of every key is 8 bytes in an index (its place and a part of its hash), as in Chandramouli et
//! al., "FASTER: a concurrent key-value store with in-place updates", 2018; a page is only read to look at an entry whose
//! hash fits. Pages are given up by the clock algorithm (Corbató, "A paging experiment with the Multics system", 1968).
//! Failure: a page that cannot be read back is a panic, which begins the dataflow again from its last checkpoint; one that
//! cannot be written stays in memory, and the next [`settle`](super::Table::settle) says why.

mod pages;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use hashbrown::HashTable;
use millstream_engine::spill::SpillStore;
pub(super) use pages::{Codec, PAGE, Pages};
use smallvec::SmallVec;

/// Where an entry is, and enough of its hash to tell most others from it.
#[derive(Clone, Copy)]
struct Known {
    hash: u32,
    place: u32,
}

impl Known {
    /// What the index goes by: all that is known of the hash, spread over all bits again.
    const fn spread(hash: u32) -> u64 {
        (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// A table in pages.
pub(super) struct Paged<K, A> {
    index: HashTable<Known>,
    pages: Pages<K, A>,
}

impl<K, A> Deref for Paged<K, A> {
    type Target = Pages<K, A>;

    fn deref(&self) -> &Self::Target {
        &self.pages
    }
}

impl<K, A> DerefMut for Paged<K, A> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.pages
    }
}

/// The part of a hash that is kept.
const fn kept(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<K, A> Paged<K, A> {
    /// With nothing in it; entries are written as `codec` says, in so many bytes on average.
    pub(super) fn new(store: &Arc<SpillStore>, codec: Codec<K, A>, entry_bytes: usize) -> Self {
        Self {
            index: HashTable::new(),
            pages: Pages::new(store, codec, entry_bytes),
        }
    }

    fn index_bytes(&self) -> usize {
        self.index.capacity() * (size_of::<Known>() + 1)
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.pages.bytes() + self.index_bytes()
    }

    /// Gives up pages until it has so many bytes, and takes no more until it is asked again.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.pages
            .shrink_to(bytes.saturating_sub(self.index_bytes()));
    }

    /// Place of a key.
    pub(super) fn find(&mut self, hash: u64, key: &K) -> Option<usize>
    where
        K: Eq,
    {
        let hash = kept(hash);
        let alike = self.index.iter_hash(Known::spread(hash));
        let alike = alike.filter(|known| known.hash == hash);
        // Nearly always one or none.
        let places: SmallVec<[u32; 4]> = alike.map(|known| known.place).collect();
        let mut places = places.into_iter().map(|place| place as usize);
        places.find(|&place| self.at(place).0 == key)
    }

    /// Adds an entry whose key is not there; gives its place.
    pub(super) fn push(&mut self, hash: u64, key: K, value: A) -> usize {
        let place = self.pages.len();
        self.pages.push(key, value);
        self.know(hash, place);
        place
    }

    fn know(&mut self, hash: u64, place: usize) {
        let hash = kept(hash);
        let place = u32::try_from(place).expect("four billion keys fit no memory");
        let spread = |known: &Known| Known::spread(known.hash);
        self.index
            .insert_unique(Known::spread(hash), Known { hash, place }, spread);
    }

    /// Removes the entry at a place, which the last one takes; `hash_of` gives hashes of keys.
    pub(super) fn remove_at(&mut self, place: usize, hash_of: impl Fn(&K) -> u64) -> A {
        let taken = self.pages.pop();
        let last = self.pages.len();
        let moved = hash_of(&taken.0);
        let (key, value) = if place == last {
            taken
        } else {
            self.pages.replace(place, taken)
        };
        let is_at = |at: usize| move |known: &Known| known.place as usize == at;
        let hash = Known::spread(kept(hash_of(&key)));
        if let Ok(found) = self.index.find_entry(hash, is_at(place)) {
            found.remove();
        }
        if place != last {
            let moved = Known::spread(kept(moved));
            if let Some(known) = self.index.find_mut(moved, is_at(last)) {
                known.place = place as u32;
            }
        }
        value
    }

    /// Takes all entries out, in their order, a page at a time.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (K, A)> {
        self.pages.into_entries()
    }
}

/// Tables that are put together: entries come at any place, and then the index is made.
impl<K, A> Paged<K, A> {
    /// All places have their entries.
    pub(super) fn make_index(&mut self, hash_of: impl Fn(&K) -> u64) {
        self.index
            .reserve(self.len(), |known| Known::spread(known.hash));
        let mut hashes = Vec::with_capacity(self.len());
        let shown = self.pages.show(0..self.len(), |_, key, _| {
            hashes.push(kept(hash_of(key)));
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = shown;
        for (place, hash) in hashes.into_iter().enumerate() {
            self.know(u64::from(hash) << 32, place);
        }
    }
}

impl<K, A> fmt::Debug for Paged<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paged")
            .field("pages", &self.pages)
            .finish_non_exhaustive()
    }
}
