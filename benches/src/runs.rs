//! A stream index over a map in memory: what it writes and reads can be counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use millstream_engine::index::{
    ChunkKey, ChunkKind, IndexConfig, IndexEntry, IndexError, IndexStats, IndexWrite, RunStore,
    StreamIndex,
};

/// Bytes of one slice of upkeep.
const SLICE_BYTES: usize = 1 << 20;

/// Chunks in memory.
#[derive(Debug, Default)]
struct Chunks {
    values: Mutex<HashMap<ChunkKey, Vec<u8>>>,
    data_reads: AtomicU64,
}

impl Chunks {
    fn apply(&self, writes: Vec<IndexWrite>) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            match write {
                IndexWrite::Put { key, value } => values.insert(key, value),
                IndexWrite::Delete { key } => values.remove(&key),
            };
        }
    }
}

impl RunStore for Chunks {
    fn read(&self, key: ChunkKey) -> Result<Option<Vec<u8>>, IndexError> {
        if key.kind == ChunkKind::Data {
            self.data_reads.fetch_add(1, Ordering::Relaxed);
        }
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(values.get(&key).cloned())
    }
}

/// The index with its store.
#[derive(Debug)]
pub struct MemoryIndex {
    index: StreamIndex,
    chunks: Arc<Chunks>,
    next: u64,
}

impl MemoryIndex {
    /// An empty index that flushes after `tail` entries.
    ///
    /// # Errors
    /// As [`StreamIndex::open`].
    pub fn new(tail: usize) -> Result<Self> {
        let chunks = Arc::new(Chunks::default());
        let config = IndexConfig {
            tail_entries_max: tail,
            ..IndexConfig::default()
        };
        let index = StreamIndex::open(Arc::clone(&chunks) as Arc<dyn RunStore>, config)?;
        Ok(Self {
            index,
            chunks,
            next: 0,
        })
    }

    /// Adds an event of each stream, then does all upkeep that is due.
    ///
    /// # Errors
    /// As [`StreamIndex::maintain`].
    pub fn add(&mut self, streams: impl Iterator<Item = (u64, u64)>) -> Result<()> {
        let entries: Vec<_> = (self.next..)
            .zip(streams)
            .map(|(offset, (hash, version))| IndexEntry {
                hash,
                version,
                offset,
            })
            .collect();
        self.next += entries.len() as u64;
        self.index.push(&entries);
        while let Some(writes) = self.index.maintain(SLICE_BYTES)? {
            self.chunks.apply(writes);
            self.index.applied();
        }
        Ok(())
    }

    /// Looks for the newest event of a stream; gives whether there is one.
    ///
    /// # Errors
    /// As [`StreamIndex::last`].
    pub fn finds(&self, hash: u64) -> Result<bool> {
        Ok(!self.index.last(hash, 1)?.is_empty())
    }

    /// Figures of the index.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        self.index.stats()
    }

    /// Chunks of entries that were read so far.
    #[must_use]
    pub fn data_reads(&self) -> u64 {
        self.chunks.data_reads.load(Ordering::Relaxed)
    }
}
