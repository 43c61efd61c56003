//! Upkeep of indexes: of one whose store cannot be read for a moment, of several that have their turns.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::upkeep::{Budget, Upkeep};
use super::super::*;
use crate::index::{ChunkKey, IndexEntry, IndexError, IndexWrite, RunStore, StreamIndex};
use crate::log::index_damage::Damage;

/// Entries that make a run.
const RUN: u64 = 16;

/// Chunks in memory, which cannot be read now and then.
#[derive(Default)]
struct Failing {
    chunks: Mutex<BTreeMap<ChunkKey, Vec<u8>>>,
    is_failing: AtomicBool,
    /// Whether it will always fail.
    is_damaged: AtomicBool,
    reads: AtomicUsize,
}

impl Failing {
    fn write(&self, writes: Vec<IndexWrite>) {
        let mut chunks = self.chunks.lock().unwrap();
        for write in writes {
            match write {
                IndexWrite::Put { key, value } => chunks.insert(key, value),
                IndexWrite::Delete { key } => chunks.remove(&key),
            };
        }
    }
}

impl RunStore for Failing {
    fn read(&self, key: ChunkKey) -> Result<Option<Vec<u8>>, IndexError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.is_damaged.load(Ordering::Relaxed) {
            let source = std::io::Error::from(std::io::ErrorKind::InvalidData);
            return Err(IndexError::Store { key, source });
        }
        if self.is_failing.load(Ordering::Relaxed) {
            let source = std::io::Error::other("no reader slot is free");
            return Err(IndexError::Store { key, source });
        }
        Ok(self.chunks.lock().unwrap().get(&key).cloned())
    }
}

/// Indexes beside each other, with their turns.
struct Indexes {
    _folder: tempfile::TempDir,
    own: Vec<OwnIndex>,
    stores: Vec<Arc<Failing>>,
    upkeep: Upkeep,
    pushed: u64,
}

impl Indexes {
    fn new(count: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let environment = super::open(folder.path()).reader.environment;
        let config = IndexConfig {
            tail_entries_max: RUN as usize,
            level_fanout: 2,
            chunk_bytes_max: 1_024,
        };
        let stores: Vec<_> = (0..count).map(|_| Arc::new(Failing::default())).collect();
        let own = |(at, store): (u16, &Arc<Failing>)| OwnIndex {
            index: StreamIndex::open(Arc::clone(store) as _, config.clone()).unwrap(),
            damage: Damage::of(&environment, PartitionId(at)),
        };
        Self {
            own: (0..count).zip(&stores).map(own).collect(),
            stores,
            upkeep: Upkeep::new(count),
            pushed: 0,
            _folder: folder,
        }
    }

    /// Gives each of these indexes as many entries as make a run.
    fn push(&mut self, indexes: std::ops::Range<usize>) {
        let entries = (self.pushed..self.pushed + RUN).map(|offset| IndexEntry {
            hash: offset.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            version: 0,
            offset,
        });
        let entries: Vec<_> = entries.collect();
        self.pushed += RUN;
        for own in &self.own[indexes] {
            own.index.push(&entries);
        }
    }

    /// One turn; whether there was something to do.
    fn turn(&mut self, budget: &Budget) -> bool {
        let stores = &self.stores;
        let did = self.upkeep.slice(&self.own, budget, |partition, writes| {
            stores[usize::from(partition.0)].write(writes);
            Ok(())
        });
        let did = did.unwrap();
        if let Some(at) = did {
            self.upkeep.applied(&self.own, at);
        }
        did.is_some()
    }

    /// Flushes what the first one has in memory, and merges nothing.
    fn flush_first(&self) {
        let store = |writes| -> Result<(), IndexError> {
            self.stores[0].write(writes);
            Ok(())
        };
        self.own[0].index.flush_all(LARGE.bytes, store).unwrap();
    }

    fn tail_entries(&self, at: usize) -> u64 {
        self.own[at].index.stats().tail_entries as u64
    }
}

const LARGE: Budget = Budget {
    bytes: 1 << 16,
    late_bytes: 1 << 16,
};

/// Story: one moment without a free reader slot ended the upkeep of an index until the process was started again.
#[test]
fn a_merge_that_could_not_be_read_is_tried_again() {
    let mut indexes = Indexes::new(1);
    for _ in 0..2 {
        indexes.push(0..1);
        assert!(indexes.turn(&LARGE));
    }
    indexes.stores[0].is_failing.store(true, Ordering::Relaxed);
    assert!(
        !indexes.turn(&LARGE),
        "the merge that is due cannot be read"
    );
    indexes.stores[0].is_failing.store(false, Ordering::Relaxed);
    while indexes.turn(&LARGE) {}
    assert_eq!(indexes.own[0].index.stats().level_runs, [0, 1]);
    assert!(!indexes.own[0].damage.is_noted());
}

/// Story: a merge that came to a damaged page of the log began again with each commit, for as long as the process ran, and wrote
/// and deleted the same chunks.
#[test]
fn a_merge_that_meets_a_damaged_page_does_not_begin_again() {
    let mut indexes = Indexes::new(1);
    for _ in 0..2 {
        indexes.push(0..1);
        assert!(indexes.turn(&LARGE));
    }
    indexes.stores[0].is_damaged.store(true, Ordering::Relaxed);
    assert!(!indexes.turn(&LARGE));
    let reads = indexes.stores[0].reads.load(Ordering::Relaxed);
    assert!(!indexes.turn(&LARGE));
    assert_eq!(indexes.stores[0].reads.load(Ordering::Relaxed), reads);
    // Flushes go on, and no merge brings the note of an index that is to be made anew: it would not mend the page.
    indexes.push(0..1);
    assert!(indexes.turn(&LARGE));
    assert_eq!(indexes.own[0].index.stats().level_runs, [3]);
    assert!(!indexes.own[0].damage.is_noted());
}

/// Story: an index kept its turn while it had runs to merge, and nobody else flushed: their tails grew in memory.
#[test]
fn merges_of_one_index_do_not_keep_the_flushes_of_others_back() {
    let mut indexes = Indexes::new(2);
    // Runs to be merged, slowly.
    for _ in 0..32 {
        indexes.push(0..1);
        indexes.flush_first();
    }
    assert_eq!(indexes.own[0].index.stats().level_runs, [32]);
    let slow = Budget {
        bytes: 1,
        late_bytes: 1 << 16,
    };
    for turn in 0..200 {
        // A flush takes three chunks here, one in each turn.
        if turn % 8 == 0 {
            indexes.push(0..2);
        }
        indexes.turn(&slow);
        assert!(indexes.tail_entries(1) <= 2 * RUN, "turn {turn}");
    }
    while indexes.turn(&LARGE) {}
    for own in &indexes.own {
        let runs = own.index.stats().level_runs;
        assert!(runs.iter().all(|runs| *runs < 2), "{runs:?}");
    }
}

/// Story: where less was flushed than came in, tails grew as long as it went on.
#[test]
fn tails_that_are_late_are_flushed_faster_than_they_grow() {
    const COUNT: u16 = 8;
    let mut indexes = Indexes::new(COUNT);
    let budget = Budget {
        bytes: 1,
        late_bytes: Budget::beside(0, usize::from(COUNT) * RUN as usize).late_bytes - (64 << 10),
    };
    let mut longest = 0;
    for _ in 0..1_000 {
        indexes.push(0..usize::from(COUNT));
        indexes.turn(&budget);
        let tails = (0..usize::from(COUNT)).map(|at| indexes.tail_entries(at));
        longest = longest.max(tails.max().unwrap());
    }
    assert!(longest <= 16 * RUN, "{longest}");
}
