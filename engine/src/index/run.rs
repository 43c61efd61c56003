//! A run: sorted entries in the store that never change, with what lookups need in memory.
//!
//! In memory per run: its Bloom filter and the first key of each data chunk, 16 bytes for some
//! thousand entries. A lookup that the filter lets pass reads one data chunk, unless the stream's
//! entries fill more.

use std::sync::atomic::{AtomicU64, Ordering};

use super::IndexEntry;
use super::block::DataChunk;
use super::bloom::Bloom;
use super::chunk::{self, ChunkKey, ChunkKind, RunStore};
use super::error::IndexError;
use super::key::{Key, first_part, parts_end};
use super::manifest::RunMeta;
use super::wire::Reader;

/// Bytes of a key in a directory chunk.
pub(super) const DIRECTORY_KEY_BYTES: usize = 16;

/// How often filters were asked, and how often they let pass what was not there.
#[derive(Debug, Default)]
pub(super) struct BloomCounters {
    pub(super) checks: AtomicU64,
    pub(super) false_positives: AtomicU64,
}

/// A live run.
#[derive(Debug)]
pub(super) struct Run {
    meta: RunMeta,
    directory: Vec<Key>,
    bloom: Bloom,
}

impl Run {
    pub(super) fn new(meta: RunMeta, directory: Vec<Key>, bloom: Bloom) -> Self {
        Self {
            meta,
            directory,
            bloom,
        }
    }

    /// Reads the filter and the directory of a run named by the manifest.
    ///
    /// # Errors
    /// As [`RunStore::read`](super::RunStore::read); [`IndexError::Missing`], [`IndexError::Corrupt`].
    pub(super) fn load(store: &dyn RunStore, meta: RunMeta) -> Result<Self, IndexError> {
        let corrupt = |kind, problem| IndexError::Corrupt {
            key: ChunkKey {
                run: meta.chunks.run,
                kind,
                chunk: 0,
            },
            problem,
        };
        let mut words = Vec::new();
        read_all(
            store,
            &meta,
            ChunkKind::Bloom,
            meta.chunks.bloom,
            |reader| reader.u64().map(|word| words.push(word)),
        )?;
        let bloom = Bloom::from_words(words)
            .filter(|bloom| bloom.fits(meta.hashes))
            .ok_or_else(|| corrupt(ChunkKind::Bloom, "the filter does not fit the run"))?;
        let mut directory = Vec::new();
        read_all(
            store,
            &meta,
            ChunkKind::Directory,
            meta.chunks.directory,
            |reader| {
                let key = Key {
                    hash: reader.u64()?,
                    version: reader.u64()?,
                };
                directory.push(key);
                Some(())
            },
        )?;
        if directory.len() != meta.chunks.data as usize || !directory.is_sorted() {
            return Err(corrupt(
                ChunkKind::Directory,
                "the directory does not fit the run",
            ));
        }
        Ok(Self::new(meta, directory, bloom))
    }

    pub(super) fn meta(&self) -> &RunMeta {
        &self.meta
    }

    /// Memory held by the filter.
    pub(super) fn filter_bytes(&self) -> u64 {
        size_of_val(self.bloom.words()) as u64
    }

    /// All entries of one data chunk, in order.
    ///
    /// # Errors
    /// As [`RunStore::read`](super::RunStore::read); [`IndexError::Missing`], [`IndexError::Corrupt`].
    pub(super) fn chunk_entries(
        &self,
        store: &dyn RunStore,
        chunk: u32,
    ) -> Result<Vec<IndexEntry>, IndexError> {
        let entries = self.chunk(store, chunk as usize)?.entries()?;
        let chunk_at = chunk as usize;
        let first = entries.first().map(IndexEntry::key);
        let next = self.directory.get(chunk_at + 1);
        // A merge relies on the order, so it is checked even though the checksum was right.
        let in_order = entries.is_sorted()
            && first == self.directory.get(chunk_at).copied()
            && entries
                .last()
                .is_none_or(|last| next.is_none_or(|next| last.key() <= *next));
        if in_order {
            Ok(entries)
        } else {
            Err(self.corrupt(chunk, "entries are not in order"))
        }
    }

    fn corrupt(&self, chunk: u32, problem: &'static str) -> IndexError {
        let key = ChunkKey {
            run: self.meta.chunks.run,
            kind: ChunkKind::Data,
            chunk,
        };
        IndexError::Corrupt { key, problem }
    }

    fn chunk(&self, store: &dyn RunStore, chunk: usize) -> Result<DataChunk, IndexError> {
        let key = ChunkKey {
            run: self.meta.chunks.run,
            kind: ChunkKind::Data,
            chunk: chunk as u32,
        };
        DataChunk::open(key, chunk::read_live(store, key)?)
    }

    /// Asks the filter and, when it lets the hash pass, `search`, which answers whether it met it.
    fn search(
        &self,
        hash: u64,
        counters: &BloomCounters,
        search: impl FnOnce() -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        counters.checks.fetch_add(1, Ordering::Relaxed);
        if self.bloom.may_contain(hash) && !search()? {
            counters.false_positives.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Appends the entries of `key.hash` from `key.version` up, until `out` has `limit`.
    ///
    /// # Errors
    /// As [`RunStore::read`](super::RunStore::read); [`IndexError::Missing`], [`IndexError::Corrupt`].
    pub(super) fn scan(
        &self,
        store: &dyn RunStore,
        counters: &BloomCounters,
        key: Key,
        limit: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), IndexError> {
        if key.version > self.meta.version_max {
            return Ok(());
        }
        self.search(key.hash, counters, || {
            let mut met = false;
            let start = first_part(self.directory.len(), |chunk| self.directory[chunk], key);
            for chunk in start..self.directory.len() {
                if self.directory[chunk].hash > key.hash || out.len() >= limit {
                    break;
                }
                met |= self.chunk(store, chunk)?.scan(key, limit, out)?;
            }
            Ok(met)
        })
    }

    /// As [`scan`](Self::scan), but from `key.version` down.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub(super) fn scan_back(
        &self,
        store: &dyn RunStore,
        counters: &BloomCounters,
        key: Key,
        limit: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), IndexError> {
        self.search(key.hash, counters, || {
            let end = parts_end(self.directory.len(), |chunk| self.directory[chunk], key);
            let mut met = self
                .directory
                .get(end)
                .is_some_and(|first| first.hash == key.hash);
            for chunk in (0..end).rev() {
                met |= self.chunk(store, chunk)?.scan_back(key, limit, out)?;
                if self.directory[chunk].hash < key.hash || out.len() >= limit {
                    break;
                }
            }
            Ok(met)
        })
    }
}

/// Calls `item` until the payloads of all chunks of a kind are used up.
fn read_all(
    store: &dyn RunStore,
    meta: &RunMeta,
    kind: ChunkKind,
    chunks: u32,
    mut item: impl FnMut(&mut Reader<'_>) -> Option<()>,
) -> Result<(), IndexError> {
    for chunk in 0..chunks {
        let key = ChunkKey {
            run: meta.chunks.run,
            kind,
            chunk,
        };
        let value = chunk::read_live(store, key)?;
        let mut reader = Reader::new(chunk::payload(key, &value)?);
        while !reader.rest().is_empty() {
            let problem = "its length is not a multiple of its items'";
            item(&mut reader).ok_or(IndexError::Corrupt { key, problem })?;
        }
    }
    Ok(())
}
