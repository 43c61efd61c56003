//! When rows changed last, told for groups of keys: whether an answer made of some rows still holds.
//!
//! Each publication of a table has a number. A row that changes leaves it at a place that its key chooses among a fixed
//! number of places, so that nobody has to know who depends on what: an answer remembers the number up to which it has
//! seen all and the places of the rows that it read. Rows that share a place are taken for each other, which costs an
//! answer that still held, never a wrong one. Memory: 32 KiB per table. Cost: a hash and two writes per row that is shown.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// Places of a table.
const PLACES: usize = 4_096;

/// Where changes of a table are noted. The owner sees to it that nothing is published while [`upto`](Self::upto) is asked for
/// an answer that is about to be made.
#[derive(Debug)]
pub(super) struct Changes {
    hasher: foldhash::fast::RandomState,
    published: AtomicU64,
    places: Box<[AtomicU64]>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            hasher: foldhash::fast::RandomState::default(),
            published: AtomicU64::new(0),
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Changes {
    /// Begins a publication: its number.
    pub(super) fn begin(&self) -> u64 {
        self.published.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// A row changes in this publication.
    pub(super) fn note<K: std::hash::Hash>(&self, key: &K, publication: u64) {
        // The actors of other partitions publish at the same time.
        self.places[self.place(key)].fetch_max(publication, Ordering::AcqRel);
    }

    /// All rows change.
    pub(super) fn all(&self) {
        let publication = self.begin();
        for place in &self.places {
            place.fetch_max(publication, Ordering::AcqRel);
        }
    }

    /// Where changes of a row are noted.
    pub(super) fn place<K: std::hash::Hash>(&self, key: &K) -> usize {
        self.hasher.hash_one(key) as usize % PLACES
    }

    /// The publications so far.
    pub(super) fn upto(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Whether nothing at these places changed after a publication; `None`: anywhere in the table.
    pub(super) fn holds(&self, upto: u64, places: Option<&[usize]>) -> bool {
        match places {
            _ if self.upto() == upto => true,
            Some(places) => places
                .iter()
                .all(|place| self.places[*place].load(Ordering::Acquire) <= upto),
            None => false,
        }
    }
}
