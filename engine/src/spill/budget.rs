//! How much memory state may take, and who takes how much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Memory for the state of all operators that share it, in bytes, by their own estimate.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
    written: AtomicU64,
    read: AtomicU64,
    disk_bytes_max: AtomicU64,
}

impl MemoryBudget {
    /// As many bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            disk_bytes_max: AtomicU64::new(u64::MAX),
        }
    }

    /// Bytes on disk that the pages of one dataflow may take. Default: as many as there are.
    #[must_use]
    pub fn disk_bytes_max(&self) -> u64 {
        self.disk_bytes_max.load(Ordering::Relaxed)
    }

    /// Sets it, from the next pages on. State that finds no room fails its dataflow, which begins again from its last
    /// checkpoint with nothing on disk; the log, which may be on the same disk, keeps the rest of it.
    pub fn set_disk_bytes_max(&self, bytes: u64) {
        self.disk_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that may be used.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are used. Above the limit for moments: who is asked to give some up does so at the end of its turn.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Pages that went to disk and came back, since it was made.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.written), load(&self.read))
    }

    pub(super) fn count_written(&self, pages: usize) {
        self.written.fetch_add(pages as u64, Ordering::Relaxed);
    }

    pub(super) fn count_read(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }
}

/// What one holder of state uses; given back when dropped.
#[derive(Debug)]
pub struct MemoryShare {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryShare {
    /// Uses nothing yet.
    #[must_use]
    pub const fn new(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Says how many bytes it uses now.
    #[inline]
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            self.budget.used.fetch_add(more, Ordering::Relaxed);
        } else if bytes < self.bytes {
            let less = self.bytes - bytes;
            self.budget.used.fetch_sub(less, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// What it said last.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bytes it should use at most: all holders give up the same share of what they have when there is too
    /// little. `None` while there is enough.
    #[must_use]
    pub fn wanted(&self) -> Option<usize> {
        let (used, limit) = (self.budget.used(), self.budget.limit);
        if used <= limit {
            return None;
        }
        let share = self.bytes as u128 * limit as u128 / used as u128;
        // A sixteenth less, so that the next turn need not give some up again.
        let share = share - share / 16;
        Some(usize::try_from(share).unwrap_or(usize::MAX))
    }

    /// What all share.
    #[must_use]
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_give_up_the_same_share() {
        let budget = Arc::new(MemoryBudget::new(800));
        let mut small = MemoryShare::new(Arc::clone(&budget));
        let mut large = MemoryShare::new(Arc::clone(&budget));
        small.set(160);
        large.set(640);
        assert_eq!((small.wanted(), large.wanted()), (None, None));
        assert_eq!(budget.left(), 0);
        large.set(1_440);
        assert_eq!((small.wanted(), large.wanted()), (Some(75), Some(675)));
        small.set(75);
        large.set(675);
        assert_eq!((budget.used(), large.wanted()), (750, None));
        drop(large);
        assert_eq!(budget.used(), 75);
    }
}
