//! A table that is put together from its parts, the newest first, an entry at a time.
//!
//! Of what was written of a place several times the newest is met first, and stands; the others are read and dropped. So
//! nothing is kept twice, and a table that was written at once is read straight into its place.

use std::collections::BTreeMap;
use std::hash::Hash;

use millstream_engine::checkpoint::{CheckpointError, Restoring};

use super::hash_of;
use super::memory::{Memory, TableMemory};
use super::paged::Paged;

/// Places of which nothing was met yet, and whose entry is elsewhere: in pages, or another partition's.
const MISSING: u32 = u32::MAX;
const ELSEWHERE: u32 = u32::MAX - 1;
/// A length that is read reserves no more than this many entries: it may be damaged.
const RESERVED_MAX: usize = 1 << 16;
/// After so many entries, or so many bytes of them, it looks how much memory there is.
const LOOK_EVERY: usize = if cfg!(test) { 9 } else { 1 << 12 };
const LOOK_BYTES: usize = 4 << 20;
const FIRST_LOOK: usize = 8;

/// Whether an entry with this key is the partition's that is restored.
pub(crate) type Owns<K> = fn(&Restoring, &K) -> bool;

/// The entries that were met so far.
pub(super) struct Filling<'a, K, A> {
    restoring: &'a Restoring,
    owns: Owns<K>,
    /// In the order in which they were met; those that are in memory.
    entries: Vec<(K, A)>,
    /// By place, which of them lies there.
    met: Vec<u32>,
    /// Length of the table, once the newest part has said it.
    length: Option<usize>,
    missing: usize,
    until_look: usize,
    memory: Option<Memory<K, A>>,
    /// Where entries are instead, once memory has become little.
    paged: Option<Box<Paged<K, A>>>,
}

/// All entries of a table.
pub(super) enum Filled<K, A> {
    InMemory(Vec<(K, A)>),
    /// Without an index if they lie at their places, with one if they came as they were met.
    InPages(Box<Paged<K, A>>),
}

impl<'a, K: Hash, A> Filling<'a, K, A> {
    /// Keeps what is the partition's of `restoring`, as `owns` says.
    pub(super) fn new(restoring: &'a Restoring, memory: TableMemory<K, A>, owns: Owns<K>) -> Self {
        Self {
            restoring,
            owns,
            entries: Vec::new(),
            met: Vec::new(),
            length: None,
            missing: 0,
            until_look: FIRST_LOOK,
            memory: memory.take_part(),
            paged: None,
        }
    }

    /// A part of a table of this length begins.
    pub(super) fn begin(&mut self, length: usize) {
        if self.length.is_none() {
            self.length = Some(length);
            self.missing = length;
            self.entries.reserve(length.min(RESERVED_MAX));
        }
    }

    /// Why nothing more can be taken.
    pub(super) fn failed(&self) -> Option<String> {
        let error = self.paged.as_ref()?.failed()?;
        Some(error.to_string())
    }

    #[inline]
    pub(super) fn take(&mut self, place: u32, key: K, value: A) {
        let place = place as usize;
        if self.length.is_none_or(|length| place >= length) {
            return;
        }
        if place >= self.met.len() {
            // As far as entries are met, whatever length was read.
            self.met.resize(place + 1, MISSING);
        }
        if self.met[place] != MISSING {
            return;
        }
        self.missing -= 1;
        self.met[place] = ELSEWHERE;
        if self.restoring.is_spread_anew() && !(self.owns)(self.restoring, &key) {
            return;
        }
        match &mut self.paged {
            None => {
                self.met[place] = self.entries.len() as u32;
                self.entries.push((key, value));
            }
            Some(paged) if self.restoring.is_spread_anew() => {
                paged.push(hash_of(&key), key, value);
            }
            Some(paged) => paged.put(place, key, value),
        }
        self.until_look -= 1;
        if self.until_look == 0 {
            self.look_at_memory();
        }
    }

    #[cold]
    fn look_at_memory(&mut self) {
        self.until_look = LOOK_EVERY;
        let Some(memory) = &mut self.memory else {
            return;
        };
        if let Some(paged) = &mut self.paged {
            memory.settle(paged);
            if let Some(error) = paged.failed() {
                // No fault of the checkpoint, and the first that is told.
                self.restoring
                    .fail(CheckpointError::Storage(error.to_string()));
            }
            return;
        }
        memory.tell(&self.entries, size_of::<u32>() * self.met.capacity());
        self.until_look = (LOOK_BYTES / memory.entry_bytes().max(1)).clamp(1, LOOK_EVERY);
        if !memory.is_little() {
            return;
        }
        let mut paged = memory.begin_pages(self.entries.len());
        let entries = std::mem::take(&mut self.entries);
        if self.restoring.is_spread_anew() {
            for (key, value) in entries {
                paged.push(hash_of(&key), key, value);
            }
        } else {
            paged.lay_out(self.length.unwrap_or(0));
            let mut places = vec![0; entries.len()];
            for (place, &at) in self.met.iter().enumerate() {
                if let Some(of) = places.get_mut(at as usize) {
                    *of = place;
                }
            }
            for (place, (key, value)) in places.into_iter().zip(entries) {
                paged.put(place, key, value);
            }
        }
        let nowhere = |at: &mut u32| *at = ELSEWHERE.max(*at);
        self.met.iter_mut().for_each(nowhere);
        memory.settle(&mut paged);
        self.paged = Some(paged);
    }

    /// All entries in their order; of several partitions those in pages as they were met.
    ///
    /// # Errors
    /// [`CheckpointError::Decode`]: there is a gap.
    pub(super) fn filled(self, kind: &str) -> Result<Filled<K, A>, CheckpointError> {
        let Self {
            restoring,
            mut entries,
            mut met,
            missing,
            paged,
            ..
        } = self;
        if missing > 0 {
            return Err(restoring.fail(CheckpointError::Decode {
                kind: kind.to_owned(),
                cause: format!("{missing} entries are missing between its parts"),
            }));
        }
        if let Some(mut paged) = paged {
            if !restoring.is_spread_anew() {
                paged.make_index(hash_of);
            }
            return Ok(Filled::InPages(paged));
        }
        met.retain(|&at| at != ELSEWHERE);
        put_in_order(&mut entries, met);
        Ok(Filled::InMemory(entries))
    }
}

/// Puts at each place the entry that `order` says lies there, cycle by cycle.
fn put_in_order<T>(entries: &mut [T], mut order: Vec<u32>) {
    for first in 0..order.len() {
        let mut at = first;
        loop {
            let from = order[at] as usize;
            order[at] = at as u32;
            if from == first {
                break;
            }
            entries.swap(at, from);
            at = from;
        }
    }
}

/// Several tables with numbers that are filled.
pub(super) struct FillingAll<'a, K, A> {
    pub(super) restoring: &'a Restoring,
    /// Those that the newest part names, once it has been read.
    pub(super) tables: Option<BTreeMap<i64, Filling<'a, K, A>>>,
    pub(super) memory: TableMemory<K, A>,
}

impl<'a, K, A> FillingAll<'a, K, A> {
    pub(super) const fn new(restoring: &'a Restoring, memory: TableMemory<K, A>) -> Self {
        Self {
            restoring,
            tables: None,
            memory,
        }
    }

    /// The tables by their numbers.
    pub(super) fn tables(self) -> impl Iterator<Item = (i64, Filling<'a, K, A>)> {
        self.tables.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::put_in_order;

    proptest! {
        #[test]
        fn entries_come_where_the_order_says(order in Just((0..50u32).collect::<Vec<_>>()).prop_shuffle()) {
            let mut entries: Vec<u32> = (100..150).collect();
            put_in_order(&mut entries, order.clone());
            let wanted: Vec<u32> = order.iter().map(|from| from + 100).collect();
            prop_assert_eq!(entries, wanted);
        }
    }
}
