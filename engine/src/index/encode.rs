//! Writes data chunks; their layout is in the head of [`block`](super::block).

use super::IndexEntry;
use super::block::{BLOCK_HEAD_BYTES, PREFIX_BYTES};
use super::chunk::{self, ChunkKey, HEADER_BYTES};
use super::key::Key;
use super::wire::{put_varint, zigzag};

/// No entry takes more: hash, count, version, offset.
const ENTRY_BYTES_MAX: usize = 33;
/// A lookup decodes one block, a microsecond of work at this size.
const BLOCK_ENTRIES_MAX: usize = 256;

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
