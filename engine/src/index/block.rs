//! Data chunks: sorted entries in blocks, written by difference and grouped by hash.
//!
//! Payload: base offset (8 bytes), number of blocks (4), then per block its first hash (8), first
//! version (8), end within the body (4) and number of entries (2), then the body. A block is a
//! sequence of groups, one per hash: difference to the hash before, `count * 2 + dense`, first
//! version, first offset less the base; then for each further entry the difference of versions (left
//! out when dense: each is one more than the last) and of offsets (signed). All are varints. So an
//! event of a stream with many costs one to two bytes, the only one of its stream about twelve.

use super::IndexEntry;
use super::chunk::{self, ChunkKey, HEADER_BYTES};
use super::error::IndexError;
use super::wire::{Reader, put_varint, unzigzag, zigzag};

const BLOCK_HEAD_BYTES: usize = 22;
/// Bytes before the block heads.
const PREFIX_BYTES: usize = 12;
/// No entry takes more: hash, count, version, offset.
const ENTRY_BYTES_MAX: usize = 33;
/// A lookup decodes one block, a microsecond of work at this size.
const BLOCK_ENTRIES_MAX: usize = 256;

/// Where an entry sorts, but for its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) hash: u64,
    pub(super) version: u64,
}

impl IndexEntry {
    pub(super) fn key(&self) -> Key {
        Key {
            hash: self.hash,
            version: self.version,
        }
    }
}

/// First of the parts, each known by the key of its first entry, that may hold an entry at `key` or
/// above. Entries with one key may lie on both sides of a border, hence the step back.
pub(super) fn first_part(parts: usize, first: impl Fn(usize) -> Key, key: Key) -> usize {
    partition_point(parts, |part| first(part) < key).saturating_sub(1)
}

/// End, exclusive, of the parts that may hold an entry at `key` or below.
pub(super) fn parts_end(parts: usize, first: impl Fn(usize) -> Key, key: Key) -> usize {
    partition_point(parts, |part| first(part) <= key)
}

fn partition_point(parts: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, parts);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Collects sorted entries into the value of one chunk after the other.
#[derive(Debug)]
pub(super) struct ChunkEncoder {
    base: u64,
    bytes_max: usize,
    block_entries: usize,
    block: Vec<IndexEntry>,
    scratch: Vec<u8>,
    heads: Vec<u8>,
    body: Vec<u8>,
    first: Option<Key>,
}

/// A chunk's payload parts and the key of its first entry.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) first: Key,
    base: u64,
    heads: Vec<u8>,
    body: Vec<u8>,
}

impl Encoded {
    pub(super) fn into_value(self, key: ChunkKey) -> Vec<u8> {
        let mut value = chunk::start(key, PREFIX_BYTES + self.heads.len() + self.body.len());
        value.extend_from_slice(&self.base.to_le_bytes());
        value.extend_from_slice(&((self.heads.len() / BLOCK_HEAD_BYTES) as u32).to_le_bytes());
        value.extend_from_slice(&self.heads);
        value.extend_from_slice(&self.body);
        chunk::seal(value)
    }
}

impl ChunkEncoder {
    /// `base` is at most the least offset to come; values stay within `bytes_max`.
    pub(super) fn new(base: u64, bytes_max: usize) -> Self {
        let room = bytes_max - HEADER_BYTES - PREFIX_BYTES - BLOCK_HEAD_BYTES;
        Self {
            base,
            bytes_max,
            block_entries: (room / ENTRY_BYTES_MAX).clamp(1, BLOCK_ENTRIES_MAX),
            block: Vec::with_capacity(BLOCK_ENTRIES_MAX),
            scratch: Vec::new(),
            heads: Vec::new(),
            body: Vec::new(),
            first: None,
        }
    }

    /// Takes the next entry in order; a chunk when one became full.
    pub(super) fn push(&mut self, entry: IndexEntry) -> Option<Encoded> {
        self.block.push(entry);
        if self.block.len() < self.block_entries {
            None
        } else {
            self.close_block()
        }
    }

    /// The last chunks: none when nothing is left, two when the last block did not fit.
    pub(super) fn finish(&mut self) -> [Option<Encoded>; 2] {
        let full = self.close_block();
        [full, self.close_chunk()]
    }

    fn close_block(&mut self) -> Option<Encoded> {
        let &head = self.block.first()?;
        self.scratch.clear();
        encode_block(&self.block, self.base, &mut self.scratch);
        let bytes = HEADER_BYTES
            + PREFIX_BYTES
            + self.heads.len()
            + BLOCK_HEAD_BYTES
            + self.body.len()
            + self.scratch.len();
        let full = if bytes > self.bytes_max {
            self.close_chunk()
        } else {
            None
        };
        self.first.get_or_insert(head.key());
        self.body.extend_from_slice(&self.scratch);
        self.heads.extend_from_slice(&head.hash.to_le_bytes());
        self.heads.extend_from_slice(&head.version.to_le_bytes());
        self.heads
            .extend_from_slice(&(self.body.len() as u32).to_le_bytes());
        self.heads
            .extend_from_slice(&(self.block.len() as u16).to_le_bytes());
        self.block.clear();
        full
    }

    fn close_chunk(&mut self) -> Option<Encoded> {
        let first = self.first.take()?;
        let (heads, body) = (
            std::mem::take(&mut self.heads),
            std::mem::take(&mut self.body),
        );
        Some(Encoded {
            first,
            base: self.base,
            heads,
            body,
        })
    }
}

fn encode_block(entries: &[IndexEntry], base: u64, out: &mut Vec<u8>) {
    let mut hash = entries.first().map_or(0, |entry| entry.hash);
    for group in entries.chunk_by(|a, b| a.hash == b.hash) {
        let first = group[0];
        let dense = group
            .windows(2)
            .all(|pair| pair[1].version.wrapping_sub(pair[0].version) == 1);
        put_varint(out, first.hash - hash);
        put_varint(out, (group.len() as u64) << 1 | u64::from(dense));
        put_varint(out, first.version);
        put_varint(out, first.offset.wrapping_sub(base));
        for pair in group.windows(2) {
            if !dense {
                put_varint(out, pair[1].version - pair[0].version);
            }
            put_varint(out, zigzag(pair[0].offset, pair[1].offset));
        }
        hash = first.hash;
    }
}

/// Appends the entries of a block; `None` when its bytes make no sense.
fn decode_block(
    bytes: &[u8],
    head: &BlockHead,
    base: u64,
    out: &mut Vec<IndexEntry>,
) -> Option<()> {
    let mut reader = Reader::new(bytes);
    let mut hash = head.first.hash;
    let mut left = u64::from(head.entries);
    while left > 0 {
        hash = hash.checked_add(reader.varint()?)?;
        let code = reader.varint()?;
        let (count, dense) = (code >> 1, code & 1 == 1);
        if count == 0 || count > left {
            return None;
        }
        let mut version = reader.varint()?;
        let mut offset = base.wrapping_add(reader.varint()?);
        out.push(IndexEntry {
            hash,
            version,
            offset,
        });
        for _ in 1..count {
            version = version.checked_add(if dense { 1 } else { reader.varint()? })?;
            offset = unzigzag(offset, reader.varint()?);
            out.push(IndexEntry {
                hash,
                version,
                offset,
            });
        }
        left -= count;
    }
    reader.rest().is_empty().then_some(())
}

#[derive(Debug)]
struct BlockHead {
    first: Key,
    start: usize,
    end: usize,
    entries: u16,
}

/// A data chunk as read: its checksum and its block heads are checked.
#[derive(Debug)]
pub(super) struct DataChunk {
    key: ChunkKey,
    value: Vec<u8>,
    body_at: usize,
    base: u64,
    blocks: Vec<BlockHead>,
}

impl DataChunk {
    /// # Errors
    /// [`IndexError::Corrupt`] or [`IndexError::UnknownFormat`].
    pub(super) fn open(key: ChunkKey, value: Vec<u8>) -> Result<Self, IndexError> {
        let payload = chunk::payload(key, &value)?;
        let heads = read_heads(payload).ok_or(IndexError::Corrupt {
            key,
            problem: "block heads do not fit its length",
        })?;
        let body_at = HEADER_BYTES + PREFIX_BYTES + heads.1.len() * BLOCK_HEAD_BYTES;
        Ok(Self {
            key,
            base: heads.0,
            blocks: heads.1,
            body_at,
            value,
        })
    }

    fn block(&self, block: usize, out: &mut Vec<IndexEntry>) -> Result<(), IndexError> {
        let head = &self.blocks[block];
        out.clear();
        decode_block(
            &self.value[self.body_at + head.start..self.body_at + head.end],
            head,
            self.base,
            out,
        )
        .filter(|()| out.first().is_none_or(|entry| entry.key() == head.first))
        .ok_or(IndexError::Corrupt {
            key: self.key,
            problem: "a block does not decode",
        })
    }

    /// All entries in order.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`].
    pub(super) fn entries(&self) -> Result<Vec<IndexEntry>, IndexError> {
        let mut all = Vec::new();
        let mut block = Vec::new();
        for number in 0..self.blocks.len() {
            self.block(number, &mut block)?;
            all.extend_from_slice(&block);
        }
        Ok(all)
    }

    /// Appends the entries of `key.hash` from `key.version` up, until `out` has `limit`; answers
    /// whether the hash was met at all, at any version.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`].
    pub(super) fn scan(
        &self,
        key: Key,
        limit: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<bool, IndexError> {
        let mut met = false;
        let mut entries = Vec::new();
        let start = first_part(self.blocks.len(), |block| self.blocks[block].first, key);
        for block in start..self.blocks.len() {
            if self.blocks[block].first.hash > key.hash || out.len() >= limit {
                break;
            }
            self.block(block, &mut entries)?;
            for entry in entries.iter().filter(|entry| entry.hash == key.hash) {
                met = true;
                if entry.version >= key.version && out.len() < limit {
                    out.push(*entry);
                }
            }
        }
        Ok(met)
    }

    /// As [`scan`](Self::scan), but from `key.version` down.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`].
    pub(super) fn scan_back(
        &self,
        key: Key,
        limit: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<bool, IndexError> {
        let end = parts_end(self.blocks.len(), |block| self.blocks[block].first, key);
        let mut met = self
            .blocks
            .get(end)
            .is_some_and(|head| head.first.hash == key.hash);
        let mut entries = Vec::new();
        for block in (0..end).rev() {
            self.block(block, &mut entries)?;
            for entry in entries.iter().rev().filter(|entry| entry.hash == key.hash) {
                met = true;
                if entry.version <= key.version && out.len() < limit {
                    out.push(*entry);
                }
            }
            if self.blocks[block].first.hash < key.hash || out.len() >= limit {
                break;
            }
        }
        Ok(met)
    }
}

fn read_heads(payload: &[u8]) -> Option<(u64, Vec<BlockHead>)> {
    let mut reader = Reader::new(payload);
    let base = reader.u64()?;
    let count = reader.u32()? as usize;
    let body_bytes = reader
        .rest()
        .len()
        .checked_sub(count.checked_mul(BLOCK_HEAD_BYTES)?)?;
    let mut blocks = Vec::with_capacity(count);
    let mut start = 0;
    for _ in 0..count {
        let first = Key {
            hash: reader.u64()?,
            version: reader.u64()?,
        };
        let end = reader.u32()? as usize;
        let entries = reader.u16()?;
        if end < start || end > body_bytes || entries == 0 {
            return None;
        }
        blocks.push(BlockHead {
            first,
            start,
            end,
            entries,
        });
        start = end;
    }
    (start == body_bytes).then_some((base, blocks))
}
