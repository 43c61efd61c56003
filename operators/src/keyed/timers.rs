//! Timers of all keys of a partition, in the order of their times.
//!
//! A timer that is taken off stays in the queue until its time or the next sweep; what makes an entry valid is that its
//! key still knows its number. Swept when more than half are invalid, in pieces of a few pages: each timer that is set or
//! taken off pays for four entries, so that no turn has more of a sweep than of what asked for it. The queue has at most
//! about two and a half times the timers set, and some hundred.

use millstream_engine::flow::Fault;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ladder::{CHUNK, Ladder, Ranked, rank};
use crate::table::StateMemory;

/// One entry of the queue.
#[derive(Clone, Debug)]
pub(super) struct Due<K> {
    pub(super) time: i64,
    /// In the order of setting, over all keys.
    pub(super) number: u64,
    pub(super) key: K,
}

impl<K> Ranked for Due<K> {
    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.time, self.number)
    }
}

/// As a tuple, without names: there may be millions of them on disk.
impl<K: Serialize> Serialize for Due<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.time, self.number, &self.key).serialize(serializer)
    }
}

impl<'de, K: Deserialize<'de>> Deserialize<'de> for Due<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (time, number, key) = Deserialize::deserialize(deserializer)?;
        Ok(Self { time, number, key })
    }
}

/// Below this many entries nothing is swept.
const SWEEP_MIN: usize = 64;
/// Chunks of a piece. More: fewer transactions where they are on disk; less: shorter pieces. Each of 512 entries may look
/// for its key on disk.
const PIECE_CHUNKS: usize = 4;
/// Entries of a piece.
const PIECE: usize = PIECE_CHUNKS * CHUNK;
/// Entries that are looked at for each that comes or is valid no longer: while a sweep goes over all of them a quarter as
/// many may come.
const EARNED: usize = 4;

/// The timers of one kind of time.
pub(super) struct Timers<K> {
    queue: Ladder<Due<K>>,
    invalid: usize,
    /// Entries that may be looked at. No more than a piece while nothing is swept.
    earned: usize,
}

impl<K> Timers<K> {
    pub(super) const fn new() -> Self {
        Self {
            queue: Ladder::new(),
            invalid: 0,
            earned: 0,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, due: Due<K>) {
        self.queue.push(due);
        self.earn();
    }

    #[inline(always)]
    const fn earn(&mut self) {
        if self.earned < PIECE || self.queue.is_sweeping() {
            self.earned += EARNED;
        }
    }

    /// The earliest time; of one that was taken off, perhaps.
    #[inline]
    pub(super) fn first(&self) -> Option<i64> {
        self.queue.first()
    }

    /// Takes the earliest one that is at or before `until`.
    #[inline]
    pub(super) fn pop_due(&mut self, until: i64) -> Option<Due<K>> {
        self.queue.pop(until)
    }

    /// One entry is valid no longer.
    pub(super) const fn invalidate(&mut self) {
        self.invalid += 1;
        self.earn();
    }

    /// An entry that was invalid has left.
    pub(super) const fn left_invalid(&mut self) {
        self.invalid = self.invalid.saturating_sub(1);
    }

    /// Whether a piece of a sweep is due.
    #[inline]
    pub(super) const fn wants_sweep(&self) -> bool {
        self.earned >= PIECE && (self.queue.is_sweeping() || self.has_many_invalid())
    }

    const fn has_many_invalid(&self) -> bool {
        self.queue.len() >= SWEEP_MIN && self.invalid > self.queue.len() / 2
    }

    /// Sweeps the pieces that are due.
    pub(super) fn sweep(&mut self, mut is_valid: impl FnMut(&Due<K>) -> bool) {
        while self.wants_sweep() {
            self.earned -= PIECE;
            let swept = self.queue.sweep(PIECE_CHUNKS, &mut is_valid);
            self.invalid = self.invalid.saturating_sub(swept.dropped);
            if swept.is_over {
                self.earned = self.earned.min(PIECE);
            }
        }
    }

    /// Takes off all that somebody else has, before any is invalid.
    pub(super) fn take_off(&mut self, mut is_taken: impl FnMut(&Due<K>) -> bool) {
        self.queue.retain(|due| !is_taken(due));
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.invalid = 0;
    }

    /// They share this memory from now on.
    pub(super) fn share(&mut self, memory: &StateMemory)
    where
        K: Serialize + DeserializeOwned,
    {
        self.queue.share(memory);
    }

    /// Says how large they are, and gives up what is too much.
    ///
    /// # Errors
    /// [`Fault`]: what is too much cannot be kept on disk.
    #[inline]
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        self.queue.settle()
    }

    /// Timers that are set.
    pub(super) const fn len(&self) -> usize {
        self.queue.len().saturating_sub(self.invalid)
    }

    #[cfg(test)]
    pub(super) const fn entries(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests;
