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
use super::key::{Key, first_part, parts_end};
use super::wire::{Reader, unzigzag};

/// Bytes of a block's entry in the list before the body.
pub(super) const BLOCK_HEAD_BYTES: usize = 22;
/// Bytes before that list.
pub(super) const PREFIX_BYTES: usize = 12;

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
