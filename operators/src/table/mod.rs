//! Accumulators by key: values that lie one after another, and an index of where each key's is.
//!
//! With many keys a table is larger than the processor's cache, where most of an item's cost is waiting for memory.
//! The index has 5 bytes per place whatever keys and values are, so that it stays in the cache for longer than a table
//! of the values themselves; a new key writes behind the one before it, and emptying reads from front to back.
//! Order: that in which keys first came, so that what is given out does not depend on hashes; where a key is removed,
//! the last one takes its place.
//! In checkpoints: what has [changed](marks), with its places, so that a restored table has the same order.

mod filling;
mod finding;
mod marks;
mod memory;
mod numbered;
mod paged;
mod reading;
mod saved;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hash};

use filling::Filled;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use marks::Marks;
use memory::Memory;
pub(crate) use memory::{StateMemory, TableMemory, in_memory};
pub(crate) use numbered::Numbers;
use paged::Paged;
use saved::Written;

/// Entries that come to a table in one turn after which it gives up what is too much.
const SETTLE_EVERY: usize = if cfg!(test) { 9 } else { 1 << 12 };

/// No place.
const UNSEEN: u32 = u32::MAX;

/// The hash of a key: the same in all tables, so that a table can be made without one.
fn hash_of<K: Hash>(key: &K) -> u64 {
    FixedState::default().hash_one(key)
}

/// Values by key.
pub(crate) struct Table<K, A> {
    places: HashTable<u32>,
    entries: Vec<(K, A)>,
    /// Where the entries are instead, once they have outgrown their memory.
    paged: Option<Box<Paged<K, A>>>,
    hasher: FixedState,
    marks: Marks,
    memory: Option<Memory<K, A>>,
}

impl<K, A> Default for Table<K, A> {
    fn default() -> Self {
        Self {
            places: HashTable::new(),
            entries: Vec::new(),
            paged: None,
            hasher: FixedState::default(),
            marks: Marks::default(),
            memory: None,
        }
    }
}

impl<K: Clone, A: Clone> Clone for Table<K, A> {
    /// A table like it that knows of no memory but its own: operators are cloned before they are opened.
    fn clone(&self) -> Self {
        assert!(self.paged.is_none(), "only tables in memory are cloned");
        Self {
            places: self.places.clone(),
            entries: self.entries.clone(),
            paged: None,
            hasher: self.hasher.clone(),
            marks: self.marks.clone(),
            memory: None,
        }
    }
}

impl<K, A> Table<K, A> {
    pub(crate) fn len(&self) -> usize {
        match &self.paged {
            Some(paged) => paged.len(),
            None => self.entries.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows all entries.
    pub(crate) fn for_each(&self, mut show: impl FnMut(&K, &A)) {
        match &self.paged {
            Some(paged) => {
                let Ok(()) = paged.show(0..paged.len(), |_, key, value| {
                    show(key, value);
                    Ok::<_, std::convert::Infallible>(())
                });
            }
            None => self
                .entries
                .iter()
                .for_each(|(key, value)| show(key, value)),
        }
    }

    /// Empties the table, which keeps its memory.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, A)> {
        self.places.clear();
        self.marks.clear();
        let paged = self.paged.take().map(|paged| paged.into_entries());
        paged.into_iter().flatten().chain(self.entries.drain(..))
    }

    /// It is empty, and may stay so: what it grew to is given back.
    pub(crate) fn give_memory_back(&mut self) {
        debug_assert!(self.is_empty(), "only what is empty");
        self.paged = None;
        self.entries = Vec::new();
        self.places.shrink_to(1024, |_| 0);
    }

    /// As [`drain`](Self::drain), without the values.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.marks.clear();
        self.paged = None;
        self.entries.clear();
    }
}

/// What became of an entry that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Same,
    Changed,
    Over,
}

impl<K: Hash + Eq, A> Table<K, A> {
    /// Adds entries, whose keys differ; those that were there are replaced.
    pub(crate) fn take_in(&mut self, entries: impl IntoIterator<Item = (K, A)>) {
        for (number, (key, value)) in entries.into_iter().enumerate() {
            self.insert(key, value);
            if number.is_multiple_of(SETTLE_EVERY) {
                // What cannot be given up now is told at the end of the turn.
                let _ = self.settle();
            }
        }
    }

    /// Adds what was read back.
    fn take_filled(&mut self, filled: Filled<K, A>) {
        match filled {
            Filled::InMemory(entries) if self.is_empty() => self.fill(entries),
            Filled::InMemory(entries) => self.take_in(entries),
            Filled::InPages(paged) if self.is_empty() => {
                self.clear();
                self.paged = Some(paged);
            }
            Filled::InPages(paged) => self.take_in(paged.into_entries()),
        }
    }

    /// As [`take_in`](Self::take_in) where nothing is: no entry is moved, and growing does not hash any again.
    fn fill(&mut self, entries: Vec<(K, A)>) {
        debug_assert!(self.is_empty(), "it takes the place of what there is");
        let Self {
            places,
            entries: held,
            hasher,
            marks,
            ..
        } = self;
        *held = entries;
        let hash = |place: u32| hasher.hash_one(&held[place as usize].0);
        places.reserve(held.len(), |&place| hash(place));
        let count = u32::try_from(held.len()).expect("four billion keys fit no memory");
        for place in 0..count {
            places.insert_unique(hash(place), place, |&place| hash(place));
            marks.add(place as usize);
        }
    }

    /// Whether it is the entry of such a key that lies at a place; never of what may lie on disk, where it would be read.
    #[inline]
    pub(crate) fn is_at(&self, place: usize, is_it: impl Fn(&K) -> bool) -> bool {
        // Those in pages are not among them.
        self.entries.get(place).is_some_and(|(key, _)| is_it(key))
    }

    /// The entry at a place.
    #[inline]
    pub(crate) fn at(&mut self, place: usize) -> (&K, &A) {
        if let Some(paged) = &mut self.paged {
            return paged.at(place);
        }
        let (key, value) = &self.entries[place];
        (key, value)
    }

    /// The entry at a place, which counts as changed.
    #[inline(always)]
    pub(crate) fn at_mut(&mut self, place: usize) -> (&K, &mut A) {
        self.marks.mark(place);
        if let Some(paged) = &mut self.paged {
            return paged.at_mut(place);
        }
        let (key, value) = &mut self.entries[place];
        (key, value)
    }

    /// The entry at a place: whoever changes it [says so](Self::changed_at), before another one is looked at.
    #[inline]
    pub(crate) fn peek_mut(&mut self, place: usize) -> (&K, &mut A) {
        if let Some(paged) = &mut self.paged {
            return paged.peek_mut(place);
        }
        let (key, value) = &mut self.entries[place];
        (key, value)
    }

    /// The entry at a place, which was looked at last, has changed.
    #[inline]
    pub(crate) fn changed_at(&mut self, place: usize) {
        self.marks.mark(place);
        if let Some(paged) = &mut self.paged {
            paged.changed(place);
        }
    }

    /// Takes a value out that will be [given back](Self::give_back) as it is, before anything is saved.
    pub(crate) fn lend(&mut self, place: usize) -> A
    where
        A: Default,
    {
        std::mem::take(self.peek_mut(place).1)
    }

    /// Puts a value back.
    pub(crate) fn give_back(&mut self, place: usize, value: A) {
        *self.peek_mut(place).1 = value;
        if let Some(paged) = &mut self.paged {
            // Its page may have been stored without it.
            paged.changed(place);
        }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&A> {
        let place = self.find(key)?;
        Some(self.at(place).1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut A> {
        let place = self.find(key)?;
        Some(self.at_mut(place).1)
    }

    /// The value of `key`, made if there is none.
    #[inline(always)]
    pub(crate) fn get_or_insert_with(&mut self, key: K, create: impl FnOnce() -> A) -> &mut A {
        let place = self.find_or_insert_with(key, create);
        self.at_mut(place).1
    }

    /// Gives the value that the key had.
    pub(crate) fn insert(&mut self, key: K, value: A) -> Option<A> {
        let mut value = Some(value);
        let place = self.find_or_insert_with(key, || value.take().expect("made once"));
        value.map(|value| std::mem::replace(self.at_mut(place).1, value))
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<A> {
        self.find(key).map(|place| self.remove_at(place))
    }

    /// Removes the entry at a place, which the last one takes.
    pub(crate) fn remove_at(&mut self, place: usize) -> A {
        if let Some(paged) = &mut self.paged {
            let removed = paged.remove_at(place, hash_of);
            if place < paged.len() {
                self.marks.mark(place);
            }
            return removed;
        }
        let number = place as u32;
        let hash = self.hasher.hash_one(&self.entries[place].0);
        if let Ok(found) = self.places.find_entry(hash, |&other| other == number) {
            found.remove();
        }
        let (_, value) = self.entries.swap_remove(place);
        if let Some((moved, _)) = self.entries.get(place) {
            let last = self.entries.len() as u32;
            let hash = self.hasher.hash_one(moved);
            if let Some(moved) = self.places.find_mut(hash, |&other| other == last) {
                *moved = number;
            }
            self.marks.mark(place);
        }
        value
    }

    /// Shows all entries and removes those that are over: the last one takes the place of such a one, and is shown next.
    pub(crate) fn visit(&mut self, mut visit: impl FnMut(&K, &mut A) -> Seen) {
        let mut place = 0;
        while place < self.len() {
            let (key, value) = self.peek_mut(place);
            match visit(key, value) {
                Seen::Same => place += 1,
                Seen::Changed => {
                    self.changed_at(place);
                    place += 1;
                }
                Seen::Over => drop(self.remove_at(place)),
            }
        }
    }
}
