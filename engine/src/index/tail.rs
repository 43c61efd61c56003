//! The newest entries, in memory: an unsorted head and sorted levels.
//!
//! A full head becomes a sorted level; four levels of one rank become one of the next, so an entry is
//! moved about log4(tail / head) times and a lookup asks at most three levels of each rank. Each part
//! has a bitmap over the range of hashes, so one that lacks the hash mostly costs a single test.
//! Sorting and merging work on copies: [`Tail`] itself changes only by appending to the head and by
//! swapping lists, so the lock around it is held briefly.

use std::sync::Arc;

use super::IndexEntry;
use super::key::Key;

/// Entries of a full head. More: fewer levels; less: less to look through without an order.
pub(super) const HEAD_ENTRIES_MAX: usize = 1_024;
/// Levels of one rank that become one of the next.
const RANK_FANOUT: usize = 4;
/// Bits of the bitmap per entry: about one in nine absent hashes passes.
const FILTER_BITS_PER_ENTRY: usize = 8;

/// One bit per equal share of the hash range. Hashes are uniform, so no mixing: sorted entries set
/// their bits in memory order. Hashes that are not uniform make it useless, not wrong.
#[derive(Debug)]
struct RangeBitmap {
    words: Box<[u64]>,
}

impl RangeBitmap {
    fn for_entries(entries: usize) -> Self {
        Self {
            words: vec![0; (entries * FILTER_BITS_PER_ENTRY).div_ceil(64).max(1)].into(),
        }
    }

    fn position(&self, hash: u64) -> (usize, u64) {
        let bit = ((u128::from(hash) * (self.words.len() as u128 * 64)) >> 64) as usize;
        (bit / 64, 1 << (bit % 64))
    }

    fn insert(&mut self, hash: u64) {
        let (word, bit) = self.position(hash);
        self.words[word] |= bit;
    }

    fn may_contain(&self, hash: u64) -> bool {
        let (word, bit) = self.position(hash);
        self.words[word] & bit != 0
    }
}

/// Sorted entries that never change.
#[derive(Debug)]
pub(super) struct Level {
    rank: u8,
    entries: Vec<IndexEntry>,
    bitmap: RangeBitmap,
}

impl Level {
    /// Sorts `entries`, which may be several sorted lists one after the other.
    pub(super) fn sorted(mut entries: Vec<IndexEntry>, rank: u8) -> Self {
        // The stable sort finds ascending stretches and merges them, which is what ranks above 0 are.
        if rank == 0 {
            entries.sort_unstable()
        } else {
            entries.sort()
        }
        let mut bitmap = RangeBitmap::for_entries(entries.len());
        entries.iter().for_each(|entry| bitmap.insert(entry.hash));
        Self {
            rank,
            entries,
            bitmap,
        }
    }

    pub(super) fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// The entries of `hash`, ascending.
    fn of(&self, hash: u64) -> &[IndexEntry] {
        if !self.bitmap.may_contain(hash) {
            return &[];
        }
        let rest = &self.entries[self.entries.partition_point(|entry| entry.hash < hash)..];
        &rest[..rest.partition_point(|entry| entry.hash == hash)]
    }
}

/// Levels that are to be replaced by one.
#[derive(Debug)]
pub(super) struct Compaction {
    levels: Vec<Arc<Level>>,
}

impl Compaction {
    /// Does the work, without the lock.
    pub(super) fn run(&self) -> Arc<Level> {
        let rank = self.levels.last().map_or(0, |level| level.rank) + 1;
        let lists: Vec<&[IndexEntry]> = self.levels.iter().map(|level| level.entries()).collect();
        Arc::new(Level::sorted(lists.concat(), rank))
    }
}

/// The tail. Age order: `frozen`, then `levels`, both oldest first, then `head`.
#[derive(Debug)]
pub(super) struct Tail {
    head: Vec<IndexEntry>,
    head_bitmap: RangeBitmap,
    levels: Vec<Arc<Level>>,
    frozen: Vec<Arc<Level>>,
}

impl Tail {
    pub(super) fn new() -> Self {
        Self {
            head: Vec::with_capacity(HEAD_ENTRIES_MAX),
            head_bitmap: RangeBitmap::for_entries(HEAD_ENTRIES_MAX),
            levels: Vec::new(),
            frozen: Vec::new(),
        }
    }

    /// Appends as many entries as the head has room for; answers how many.
    pub(super) fn append(&mut self, entries: &[IndexEntry]) -> usize {
        let taken = entries.len().min(HEAD_ENTRIES_MAX - self.head.len());
        for entry in &entries[..taken] {
            self.head_bitmap.insert(entry.hash);
        }
        self.head.extend_from_slice(&entries[..taken]);
        taken
    }

    pub(super) fn head(&self) -> &[IndexEntry] {
        &self.head
    }

    pub(super) fn head_is_full(&self) -> bool {
        self.head.len() >= HEAD_ENTRIES_MAX
    }

    /// Puts `level`, made of the whole head, in the head's place.
    pub(super) fn replace_head(&mut self, level: Arc<Level>) {
        debug_assert_eq!(
            level.entries.len(),
            self.head.len(),
            "the level was made of this head"
        );
        self.head.clear();
        self.head_bitmap.words.fill(0);
        self.levels.push(level);
    }

    /// The newest levels, when so many of one rank are there that they should become one.
    pub(super) fn compaction(&self) -> Option<Compaction> {
        let start = self.levels.len().checked_sub(RANK_FANOUT)?;
        let levels = &self.levels[start..];
        let rank = levels.last()?.rank;
        levels
            .iter()
            .all(|level| level.rank == rank)
            .then(|| Compaction {
                levels: levels.to_vec(),
            })
    }

    /// Puts `level` in the place of the levels that `compaction` was made of.
    pub(super) fn replace(&mut self, compaction: &Compaction, level: Arc<Level>) {
        let start = self.levels.len() - compaction.levels.len();
        self.levels.truncate(start);
        self.levels.push(level);
    }

    /// Sets all levels aside for a flush: they stay readable and no longer change. The head must
    /// have been replaced before.
    pub(super) fn freeze(&mut self) -> Vec<Arc<Level>> {
        debug_assert!(self.head.is_empty(), "the head became a level before");
        self.frozen.append(&mut self.levels);
        self.frozen.clone()
    }

    /// Gives away what was set aside: a run has it now.
    pub(super) fn take_frozen(&mut self) -> Vec<Arc<Level>> {
        std::mem::take(&mut self.frozen)
    }

    /// Entries that are not set aside for a flush.
    pub(super) fn active_entries(&self) -> usize {
        self.head.len()
            + self
                .levels
                .iter()
                .map(|level| level.entries.len())
                .sum::<usize>()
    }

    /// Entries set aside for a flush.
    pub(super) fn frozen_entries(&self) -> usize {
        self.frozen.iter().map(|level| level.entries.len()).sum()
    }

    fn sorted_levels(&self) -> impl DoubleEndedIterator<Item = &Arc<Level>> {
        self.frozen.iter().chain(&self.levels)
    }

    fn head_of(&self, hash: u64) -> Vec<IndexEntry> {
        if !self.head_bitmap.may_contain(hash) {
            return Vec::new();
        }
        let mut found: Vec<_> = self
            .head
            .iter()
            .filter(|entry| entry.hash == hash)
            .copied()
            .collect();
        found.sort_unstable();
        found
    }

    /// Appends up to `limit` entries of `key.hash` from `key.version` up, oldest part first.
    pub(super) fn scan(&self, key: Key, limit: usize, out: &mut Vec<IndexEntry>) {
        let mut take = |entries: &[IndexEntry]| {
            let start = entries.partition_point(|entry| entry.version < key.version);
            let room = limit - out.len();
            out.extend(entries[start..].iter().take(room));
            out.len() < limit
        };
        if self.sorted_levels().all(|level| take(level.of(key.hash))) {
            take(&self.head_of(key.hash));
        }
    }

    /// Appends up to `limit` entries of `key.hash` from `key.version` down, newest part first.
    pub(super) fn scan_back(&self, key: Key, limit: usize, out: &mut Vec<IndexEntry>) {
        let mut take = |entries: &[IndexEntry]| {
            let end = entries.partition_point(|entry| entry.version <= key.version);
            let room = limit - out.len();
            out.extend(entries[..end].iter().rev().take(room));
            out.len() < limit
        };
        if take(&self.head_of(key.hash)) {
            let _ = self
                .sorted_levels()
                .rev()
                .all(|level| take(level.of(key.hash)));
        }
    }
}
