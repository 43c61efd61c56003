//! What readers see and the store may not have yet, in order: the part of a table that a scan has to merge in.
//!
//! Place: a table's writer -> **fresh rows** -> scans. One per actor of a projection and table. A row is fresh from when
//! it is shown until the batch that stores it is done; its value is in the hot rows. Entries of indexes, which have
//! no value, are kept whole.
//! Cost: showing a row pushes its key; keys are sorted by whoever scans, once each. Entries are few and sorted at once.
//! Threads: any. Whoever scans sorts while others may show rows, and locks them out for putting sorted keys in place and for
//! copying those of one page; scans of one actor's rows wait for each other meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TableKey;
use super::range::{Gathered, key_bytes};

/// Keys of rows, and changed entries of each index, since the last of them were handed to the store.
#[derive(Debug)]
struct Generation<K> {
    number: u64,
    unsorted: Vec<K>,
    keys: BTreeMap<Vec<u8>, K>,
    /// By index: whether the entry is there.
    entries: Vec<BTreeMap<Vec<u8>, bool>>,
}

impl<K: TableKey> Generation<K> {
    fn new(number: u64, indexes: usize) -> Self {
        Self {
            number,
            unsorted: Vec::new(),
            keys: BTreeMap::new(),
            entries: (0..indexes).map(|_| BTreeMap::new()).collect(),
        }
    }

    /// Puts keys in place that were sorted apart.
    fn put(&mut self, mut sorted: BTreeMap<Vec<u8>, K>) {
        if self.keys.is_empty() {
            self.keys = sorted;
        } else {
            self.keys.append(&mut sorted);
        }
    }
}

fn sort<K: TableKey>(unsorted: Vec<K>) -> BTreeMap<Vec<u8>, K> {
    let keys = unsorted.into_iter();
    keys.map(|key| (key_bytes(&key), key)).collect()
}

/// Entries of an index that have changed, with whether they are there.
type Entries = Vec<(Vec<u8>, bool)>;

/// Generations of fresh rows.
#[derive(Debug)]
pub(super) struct Generations<K> {
    /// Those that were handed to the store and are on their way, the oldest first.
    older: VecDeque<Generation<K>>,
    newest: Generation<K>,
}

impl<K: TableKey> Generations<K> {
    /// The newest first.
    fn all(&self) -> impl DoubleEndedIterator<Item = &Generation<K>> {
        std::iter::once(&self.newest).chain(self.older.iter().rev())
    }

    /// The oldest first.
    fn all_mut(&mut self) -> impl Iterator<Item = &mut Generation<K>> {
        let older = self.older.iter_mut();
        older.chain(std::iter::once(&mut self.newest))
    }

    /// A row is shown that the store does not have so.
    pub(super) fn add(&mut self, key: K) {
        self.newest.unsorted.push(key);
    }

    /// An entry of an index is shown, or is shown no longer.
    pub(super) fn enter(&mut self, index: usize, entry: Vec<u8>, is_there: bool) {
        self.newest.entries[index].insert(entry, is_there);
    }

    /// Entries of an index that begin with `prefix` and were not handed to the store, or are on their way.
    pub(super) fn entries_with(&self, index: usize, prefix: &[u8]) -> BTreeMap<Vec<u8>, bool> {
        let mut found = BTreeMap::new();
        for generation in self.all().rev() {
            let from = (Bound::Included(prefix), Bound::Unbounded);
            let entries = generation.entries[index].range::<[u8], _>(from);
            let own = entries.take_while(|(entry, _)| entry.starts_with(prefix));
            found.extend(own.map(|(entry, is_there)| (entry.clone(), *is_there)));
        }
        found
    }

    fn hand_over(&mut self) -> (u64, Vec<Entries>) {
        let number = self.newest.number;
        let entries = self.newest.entries.iter().map(|entries| {
            let changed = entries.iter();
            changed.map(|(entry, is_there)| (entry.clone(), *is_there))
        });
        let entries: Vec<_> = entries.map(Iterator::collect).collect();
        let next = Generation::new(number + 1, entries.len());
        let newest = std::mem::replace(&mut self.newest, next);
        self.older.push_back(newest);
        (number, entries)
    }
}

/// What is told that a batch of what was handed over is stored.
pub(super) trait Settle: Send + Sync {
    fn settle(&self, number: u64);
}

/// Rows, or effects, that were handed to the store: they are on their way until it has them.
#[derive(Clone)]
pub struct HandedOver {
    of: Arc<dyn Settle>,
    number: u64,
}

impl HandedOver {
    pub(super) fn new(of: Arc<dyn Settle>, number: u64) -> Self {
        Self { of, number }
    }

    /// The store has them, and those that were handed over before.
    pub fn settle(&self) {
        self.of.settle(self.number);
    }
}

impl fmt::Debug for HandedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HandedOver").field(&self.number).finish()
    }
}

impl<K: TableKey> Settle for Fresh<K> {
    fn settle(&self, number: u64) {
        let older = &mut self.lock().older;
        while older.front().is_some_and(|oldest| oldest.number <= number) {
            older.pop_front();
        }
    }
}

/// What one actor has shown of a table and the store may not have.
#[derive(Debug)]
pub(super) struct Fresh<K> {
    generations: Mutex<Generations<K>>,
    /// Held by whoever may have keys that are taken out to be sorted. Before the other lock.
    sorting: Mutex<()>,
}

impl<K: TableKey> Fresh<K> {
    pub(super) fn new(indexes: usize) -> Self {
        Self {
            generations: Mutex::new(Generations {
                older: VecDeque::new(),
                newest: Generation::new(0, indexes),
            }),
            sorting: Mutex::new(()),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Generations<K>> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is fresh goes to the store now; with the entries of each index that have changed.
    pub(super) fn hand_over(self: &Arc<Self>) -> (HandedOver, Vec<Entries>) {
        let (number, entries) = self.lock().hand_over();
        let of = Arc::clone(self) as Arc<dyn Settle>;
        (HandedOver { of, number }, entries)
    }

    /// Sorts what has been shown, while more may be shown.
    fn sort(&self) -> MutexGuard<'_, ()> {
        let sorting = self.sorting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unsorted = Vec::new();
        for generation in self.lock().all_mut() {
            if !generation.unsorted.is_empty() {
                let keys = std::mem::take(&mut generation.unsorted);
                unsorted.push((generation.number, keys));
            }
        }
        for (number, keys) in unsorted {
            let sorted = sort(keys);
            let generations = &mut *self.lock();
            // If there is none any more, the store has them.
            if let Some(own) = generations.all_mut().find(|own| own.number == number) {
                own.put(sorted);
            }
        }
        sorting
    }

    /// All keys of rows that are fresh.
    pub(super) fn shown(&self) -> Vec<K> {
        let _sorted = self.sort();
        let generations = &mut *self.lock();
        let keys = generations.all_mut().flat_map(|own| own.keys.values());
        keys.cloned().collect()
    }

    /// Every key of a row that is fresh to `with`, in no order; one that has changed again since it was handed over comes twice.
    pub(super) fn each(&self, mut with: impl FnMut(&K)) {
        // None is taken out to be sorted meanwhile.
        let _sorting = self.sorting.lock().unwrap_or_else(PoisonError::into_inner);
        for generation in self.lock().all() {
            generation.unsorted.iter().for_each(&mut with);
            generation.keys.values().for_each(&mut with);
        }
    }

    /// Forgets everything: what was shown is taken back.
    pub(super) fn take(&self) {
        let _sorted = self.sort();
        let generations = &mut *self.lock();
        let indexes = generations.newest.entries.len();
        let next = Generation::new(generations.newest.number + 1, indexes);
        generations.older.clear();
        generations.newest = next;
    }

    /// Adds keys of fresh rows in a range.
    pub(super) fn keys(&self, into: &mut Gathered<'_, K>) {
        let _sorted = self.sort();
        for generation in self.lock().all_mut() {
            into.add(&generation.keys);
        }
    }

    /// Adds entries of an index in a range, with whether they are there.
    pub(super) fn entries(&self, index: usize, into: &mut Gathered<'_, bool>) {
        for generation in self.lock().all().rev() {
            into.add(&generation.entries[index]);
        }
    }
}
