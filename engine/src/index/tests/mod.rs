//! A store in memory and a writer with a log to feed the index from, shared by the tests.

mod damage;
mod limits;
mod model;
mod threads;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{ChunkKey, IndexConfig, IndexEntry, IndexError, IndexWrite, RunStore, StreamIndex};

/// Chunks in a map; a clone shares them, as a reopened database would.
#[derive(Clone, Default)]
pub(super) struct MemoryStore {
    chunks: Arc<Mutex<BTreeMap<ChunkKey, Vec<u8>>>>,
}

impl RunStore for MemoryStore {
    fn read(&self, key: ChunkKey) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.chunks.lock().unwrap().get(&key).cloned())
    }
}

impl MemoryStore {
    pub(super) fn commit(&self, writes: Vec<IndexWrite>) {
        let mut chunks = self.chunks.lock().unwrap();
        for write in writes {
            match write {
                IndexWrite::Put { key, value } => chunks.insert(key, value),
                IndexWrite::Delete { key } => chunks.remove(&key),
            };
        }
    }

    pub(super) fn keys(&self) -> Vec<ChunkKey> {
        self.chunks.lock().unwrap().keys().copied().collect()
    }

    pub(super) fn change(&self, key: ChunkKey, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.chunks.lock().unwrap().get_mut(&key).unwrap());
    }

    pub(super) fn remove(&self, key: ChunkKey) {
        self.chunks.lock().unwrap().remove(&key);
    }
}

pub(super) fn small_config() -> IndexConfig {
    IndexConfig {
        tail_entries_max: 300,
        level_fanout: 3,
        chunk_bytes_max: 1_024,
    }
}

/// Spreads small numbers over all hashes.
pub(super) fn spread(number: u64) -> u64 {
    let x = (number ^ (number >> 30))
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// An index with the log it is fed from. The entry's place in `log` is its offset; `streams` names
/// the stream of each, which the index does not know.
pub(super) struct Fixture {
    pub(super) store: MemoryStore,
    pub(super) index: Arc<StreamIndex>,
    pub(super) log: Vec<IndexEntry>,
    pub(super) streams: Vec<u64>,
    versions: BTreeMap<u64, u64>,
    hash: fn(u64) -> u64,
    config: IndexConfig,
}

impl Fixture {
    pub(super) fn new(config: IndexConfig, hash: fn(u64) -> u64) -> Self {
        let store = MemoryStore::default();
        let index = StreamIndex::open(Arc::new(store.clone()), config.clone()).unwrap();
        let (log, streams, versions) = Default::default();
        Self {
            store,
            index: Arc::new(index),
            log,
            streams,
            versions,
            hash,
            config,
        }
    }

    /// One frame with an event for each of `streams`.
    pub(super) fn push(&mut self, streams: impl IntoIterator<Item = u64>) {
        let start = self.log.len();
        for stream in streams {
            let version = self.versions.entry(stream).or_default();
            let offset = self.log.len() as u64;
            self.log.push(IndexEntry {
                hash: (self.hash)(stream),
                version: *version,
                offset,
            });
            self.streams.push(stream);
            *version += 1;
        }
        self.index.push(&self.log[start..]);
    }

    /// One slice, committed and applied; false when there was nothing to do.
    pub(super) fn maintain(&self, budget_bytes: usize) -> bool {
        let Some(writes) = self.index.maintain(budget_bytes).unwrap() else {
            return false;
        };
        self.store.commit(writes);
        self.index.applied();
        true
    }

    pub(super) fn settle(&self) {
        while self.maintain(1 << 16) {}
    }

    pub(super) fn flush_all(&self) {
        self.index
            .flush_all(4_096, |writes| {
                self.store.commit(writes);
                Ok::<_, IndexError>(())
            })
            .unwrap();
    }

    /// Drops the index, opens it from the store and feeds it from the log.
    pub(super) fn crash(&mut self) {
        let store = Arc::new(self.store.clone());
        self.index = Arc::new(StreamIndex::open(store, self.config.clone()).unwrap());
        let from = self.index.covered_until() as usize;
        for frame in self.log[from..].chunks(37) {
            self.index.push(frame);
        }
    }

    /// What the index should answer for a hash of one stream, ascending.
    pub(super) fn expected(&self, stream: u64) -> Vec<IndexEntry> {
        let all = self.log.iter().zip(&self.streams);
        all.filter(|(_, of)| **of == stream)
            .map(|(entry, _)| *entry)
            .collect()
    }

    fn own(&self, stream: u64, entries: &[IndexEntry]) -> Vec<IndexEntry> {
        let own = |entry: &&IndexEntry| self.streams[entry.offset as usize] == stream;
        entries.iter().filter(own).copied().collect()
    }

    /// Reads a stream up from `from` by the rule in the docs of [`StreamIndex`].
    pub(super) fn read(&self, stream: u64, from: u64, page: usize) -> Vec<IndexEntry> {
        let (mut kept, mut from, mut limit) = (Vec::new(), from, page);
        loop {
            let answer = self.index.scan((self.hash)(stream), from, limit).unwrap();
            assert!(answer.len() <= limit);
            let own = self.own(stream, &answer);
            kept.extend_from_slice(&own);
            if answer.len() < limit {
                return kept;
            }
            match own.last() {
                Some(last) => (from, limit) = (last.version + 1, page),
                None => limit *= 2,
            }
        }
    }

    /// Reads a stream down from `from` by the same rule.
    pub(super) fn read_back(&self, stream: u64, from: u64, page: usize) -> Vec<IndexEntry> {
        let (mut kept, mut from, mut limit) = (Vec::new(), from, page);
        loop {
            let answer = self
                .index
                .scan_back((self.hash)(stream), from, limit)
                .unwrap();
            assert!(answer.len() <= limit);
            let own = self.own(stream, &answer);
            kept.extend_from_slice(&own);
            if answer.len() < limit {
                return kept;
            }
            match own.last().map(|last| last.version) {
                Some(0) => return kept,
                Some(last) => (from, limit) = (last - 1, page),
                None => limit *= 2,
            }
        }
    }
}
