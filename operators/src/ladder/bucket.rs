//! Entries of a range of ranks, in no order: in chunks, of which some may be on disk.

use super::Ranked;
use super::memory::Spilling;

/// Entries of a chunk: a page on disk. Few in tests, so that a handful of entries makes several.
pub(crate) const CHUNK: usize = if cfg!(test) { 16 } else { 512 };
/// A chunk that is not full stays in memory below so many: else pages would be made of next to nothing.
const GIVEN_UP_MIN: usize = if cfg!(test) { 2 } else { 64 };

pub(super) enum Chunk<T> {
    Memory(Vec<T>),
    Disk { page: u32, len: u32 },
}

impl<T> Chunk<T> {
    /// Entries that are on disk.
    pub(super) const fn on_disk(&self) -> usize {
        match self {
            Self::Memory(_) => 0,
            Self::Disk { len, .. } => *len as usize,
        }
    }

    /// Its entries; what was on disk is there no more.
    #[inline]
    pub(super) fn take(self, spilling: Option<&mut Spilling<T>>) -> Vec<T> {
        match (self, spilling) {
            (Self::Memory(entries), _) => entries,
            (Self::Disk { page, len }, Some(spilling)) => spilling.take(page, len),
            (Self::Disk { .. }, None) => unreachable!("without a store nothing is stored"),
        }
    }
}

pub(super) struct Bucket<T> {
    chunks: Vec<Chunk<T>>,
    /// The chunk that is filled.
    filling: Vec<T>,
    len: usize,
    /// Of them those in memory, but for what is filled.
    in_memory: usize,
    /// No entry is below, and none above: exact while nothing was dropped.
    first: u128,
    last: u128,
}

impl<T> Bucket<T> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            filling: Vec::new(),
            len: 0,
            in_memory: 0,
            first: u128::MAX,
            last: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Chunks but for what is filled.
    pub(super) const fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The greatest there is if it is empty.
    #[inline]
    pub(super) const fn first(&self) -> u128 {
        self.first
    }

    /// The lowest there is if it is empty.
    pub(super) const fn last(&self) -> u128 {
        self.last
    }

    #[inline]
    pub(super) fn push(&mut self, rank: u128, entry: T) {
        self.first = self.first.min(rank);
        self.last = self.last.max(rank);
        self.len += 1;
        if self.filling.len() == CHUNK {
            self.close_chunk();
        }
        self.filling.push(entry);
    }

    fn close_chunk(&mut self) {
        let filled = std::mem::take(&mut self.filling);
        self.in_memory += filled.len();
        self.chunks.push(Chunk::Memory(filled));
    }

    /// Adds all that another one has.
    pub(super) fn append(&mut self, mut other: Self) {
        if !other.filling.is_empty() {
            other.close_chunk();
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.len += other.len;
        self.in_memory += other.in_memory;
        self.chunks.append(&mut other.chunks);
    }

    /// All of it, in the order in which it came.
    pub(super) fn into_chunks(self) -> impl Iterator<Item = Chunk<T>> {
        let filling = Some(self.filling).filter(|entries| !entries.is_empty());
        self.chunks
            .into_iter()
            .chain(filling.map(|entries| Chunk::Memory(entries)))
    }

    /// Chooses chunks in memory for about `wanted` entries, the latest first; gives how many are wanted then.
    pub(super) fn choose<'a>(
        &'a mut self,
        wanted: usize,
        chosen: &mut Vec<&'a mut Chunk<T>>,
    ) -> usize {
        if self.in_memory < wanted && self.filling.len() >= GIVEN_UP_MIN {
            self.close_chunk();
        }
        let mut left = wanted;
        for chunk in self.chunks.iter_mut().rev() {
            if left == 0 || self.in_memory == 0 {
                break;
            }
            if let Chunk::Memory(entries) = chunk {
                self.in_memory -= entries.len();
                left = left.saturating_sub(entries.len());
                chosen.push(chunk);
            }
        }
        left
    }

    /// Some that are in memory.
    pub(super) fn some(&self) -> &[T] {
        &self.filling
    }
}

/// What came of dropping entries of some chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retained {
    pub(super) dropped: usize,
    /// The chunk to go on with; `None` when all of the bucket was looked at.
    pub(super) next: Option<usize>,
}

impl<T: Ranked> Bucket<T> {
    /// Drops entries but those that are to be kept, of chunks from that one on, of which `left` are still allowed; what is
    /// filled is the last one. What is on disk is written again, in one transaction, and stays there.
    pub(super) fn retain(
        &mut self,
        from: usize,
        left: &mut usize,
        spilling: Option<&mut Spilling<T>>,
        mut is_kept: impl FnMut(&T) -> bool,
    ) -> Retained {
        let before = self.len;
        let from = from.min(self.chunks.len());
        let to = from.saturating_add(*left).min(self.chunks.len());
        *left -= to - from;
        let piece = &mut self.chunks[from..to];
        for chunk in &mut *piece {
            if let Chunk::Memory(entries) = chunk {
                let len = entries.len();
                entries.retain(&mut is_kept);
                self.in_memory -= len - entries.len();
                self.len -= len - entries.len();
            }
        }
        if let Some(spilling) = spilling {
            self.len -= spilling.retain(piece, &mut is_kept);
        }
        let is_empty =
            |chunk: &Chunk<T>| matches!(chunk, Chunk::Memory(entries) if entries.is_empty());
        let mut next = to;
        if piece.iter().any(is_empty) {
            let behind = self.chunks.split_off(to);
            let piece = self.chunks.split_off(from);
            let filled = piece.into_iter().filter(|chunk| !is_empty(chunk));
            self.chunks.extend(filled);
            next = self.chunks.len();
            self.chunks.extend(behind);
        }
        let mut is_through = next == self.chunks.len();
        if is_through && !self.filling.is_empty() {
            is_through = *left > 0;
            if is_through {
                *left -= 1;
                let len = self.filling.len();
                self.filling.retain(&mut is_kept);
                self.len -= len - self.filling.len();
            }
        }
        let dropped = before - self.len;
        if self.len == 0 {
            *self = Self::new();
            is_through = true;
        }
        Retained {
            dropped,
            next: (!is_through).then_some(next),
        }
    }
}
