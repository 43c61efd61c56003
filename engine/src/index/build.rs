//! Writes one run, slice by slice: data chunks while merging, then the filter, then the directory.

use super::bloom::Bloom;
use super::chunk::{self, ChunkKey, ChunkKind, HEADER_BYTES, IndexWrite, RunStore};
use super::encode::{ChunkEncoder, Encoded};
use super::error::IndexError;
use super::key::Key;
use super::manifest::{RunChunks, RunMeta};
use super::merge::Merger;
use super::run::{DIRECTORY_KEY_BYTES, Run};

/// What a delete is counted as, against a budget in bytes: its key and its part of the free list.
const DELETE_BYTES: usize = 64;

/// The writes of one call, against their budget.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) writes: Vec<IndexWrite>,
    pub(super) bytes: usize,
    budget_bytes: usize,
}

impl Slice {
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self {
            writes: Vec::new(),
            bytes: 0,
            budget_bytes,
        }
    }

    pub(super) fn put(&mut self, key: ChunkKey, value: Vec<u8>) {
        self.bytes += value.len();
        self.writes.push(IndexWrite::Put { key, value });
    }

    pub(super) fn delete(&mut self, key: ChunkKey) {
        self.bytes += DELETE_BYTES;
        self.writes.push(IndexWrite::Delete { key });
    }

    /// Whether the budget is used up; never before the first write, so that each call gets on.
    pub(super) fn is_full(&self) -> bool {
        !self.writes.is_empty() && self.bytes >= self.budget_bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Data,
    Bloom,
    Directory,
    Done,
}

/// A run on its way into the store.
#[derive(Debug)]
pub(super) struct Build {
    merger: Merger,
    encoder: ChunkEncoder,
    chunk_bytes_max: usize,
    meta: RunMeta,
    directory: Vec<Key>,
    bloom: Bloom,
    hash: Option<u64>,
    phase: Phase,
    /// Items of the phase's list that have been written.
    written: usize,
}

impl Build {
    /// `hashes_max` bounds the distinct hashes to come, `offset_min` every offset from below.
    pub(super) fn new(
        (run, level): (u64, u8),
        merger: Merger,
        hashes_max: u64,
        offset_min: u64,
        chunk_bytes_max: usize,
    ) -> Self {
        let meta = RunMeta {
            chunks: RunChunks::none(run),
            level,
            entries: 0,
            hashes: 0,
            bytes: 0,
            offset_min,
            version_max: 0,
        };
        Self {
            merger,
            encoder: ChunkEncoder::new(offset_min, chunk_bytes_max),
            chunk_bytes_max,
            meta,
            directory: Vec::new(),
            bloom: Bloom::for_hashes(hashes_max),
            hash: None,
            phase: Phase::Data,
            written: 0,
        }
    }

    /// The chunks that have been handed out so far.
    pub(super) fn chunks(&self) -> RunChunks {
        self.meta.chunks
    }

    /// Works until the slice is full or all is written; answers whether all is.
    ///
    /// # Errors
    /// As [`RunStore::read`](super::RunStore::read); [`IndexError::Missing`], [`IndexError::Corrupt`]. The build cannot go
    /// on after one.
    pub(super) fn fill(
        &mut self,
        store: &dyn RunStore,
        slice: &mut Slice,
    ) -> Result<bool, IndexError> {
        while !slice.is_full() {
            match self.phase {
                Phase::Data => self.next_entry(store, slice)?,
                Phase::Bloom => self.next_bloom_chunk(slice),
                Phase::Directory => self.next_directory_chunk(slice),
                Phase::Done => return Ok(true),
            }
        }
        Ok(self.phase == Phase::Done)
    }

    /// The finished run.
    pub(super) fn into_run(self) -> Run {
        debug_assert_eq!(self.phase, Phase::Done, "all of it was handed out");
        Run::new(self.meta, self.directory, self.bloom)
    }

    fn next_entry(&mut self, store: &dyn RunStore, slice: &mut Slice) -> Result<(), IndexError> {
        let Some(entry) = self.merger.next(store)? else {
            for encoded in self.encoder.finish().into_iter().flatten() {
                self.put_data(encoded, slice);
            }
            self.bloom.shrink_to(self.meta.hashes);
            self.phase = Phase::Bloom;
            return Ok(());
        };
        self.meta.entries += 1;
        self.meta.version_max = self.meta.version_max.max(entry.version);
        if self.hash != Some(entry.hash) {
            self.hash = Some(entry.hash);
            self.meta.hashes += 1;
            self.bloom.insert(entry.hash);
        }
        if let Some(encoded) = self.encoder.push(entry) {
            self.put_data(encoded, slice);
        }
        Ok(())
    }

    fn put_data(&mut self, encoded: Encoded, slice: &mut Slice) {
        let key = self.key(ChunkKind::Data, self.meta.chunks.data);
        self.directory.push(encoded.first);
        self.meta.chunks.data += 1;
        self.put(slice, key, encoded.into_value(key));
    }

    fn next_bloom_chunk(&mut self, slice: &mut Slice) {
        let words = self.items_per_chunk(size_of::<u64>());
        let rest = &self.bloom.words()[self.written..];
        if rest.is_empty() {
            (self.phase, self.written) = (Phase::Directory, 0);
            return;
        }
        let key = self.key(ChunkKind::Bloom, self.meta.chunks.bloom);
        let part = &rest[..words.min(rest.len())];
        let mut value = chunk::start(key, size_of_val(part));
        part.iter()
            .for_each(|word| value.extend_from_slice(&word.to_le_bytes()));
        self.written += part.len();
        self.meta.chunks.bloom += 1;
        self.put(slice, key, chunk::seal(value));
    }

    fn next_directory_chunk(&mut self, slice: &mut Slice) {
        let keys = self.items_per_chunk(DIRECTORY_KEY_BYTES);
        let rest = &self.directory[self.written..];
        if rest.is_empty() {
            self.phase = Phase::Done;
            return;
        }
        let key = self.key(ChunkKind::Directory, self.meta.chunks.directory);
        let part = &rest[..keys.min(rest.len())];
        let mut value = chunk::start(key, part.len() * DIRECTORY_KEY_BYTES);
        for first in part {
            value.extend_from_slice(&first.hash.to_le_bytes());
            value.extend_from_slice(&first.version.to_le_bytes());
        }
        self.written += part.len();
        self.meta.chunks.directory += 1;
        self.put(slice, key, chunk::seal(value));
    }

    fn items_per_chunk(&self, item_bytes: usize) -> usize {
        (self.chunk_bytes_max - HEADER_BYTES) / item_bytes
    }

    fn key(&self, kind: ChunkKind, chunk: u32) -> ChunkKey {
        ChunkKey {
            run: self.meta.chunks.run,
            kind,
            chunk,
        }
    }

    fn put(&mut self, slice: &mut Slice, key: ChunkKey, value: Vec<u8>) {
        self.meta.bytes += value.len() as u64;
        slice.put(key, value);
    }
}
