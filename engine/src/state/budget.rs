//! How many bytes may be on their way to the writer.
//!
//! The queue bounds the number of batches; this bounds what they hold, from submission to answer. A batch
//! larger than the bound is admitted when nothing else is on its way, so that none waits for ever.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: u64,
    // A mutex and not an atomic: a submitter must be able to wait, and batches are thousands a second.
    taken: Mutex<u64>,
    returned: Condvar,
}

/// Bytes taken, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            taken: Mutex::new(0),
            returned: Condvar::new(),
        })
    }

    /// `None` when there is no room now.
    pub(super) fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        let taken = self.lock();
        self.has_room(*taken, bytes)
            .then(|| self.share(taken, bytes))
    }

    /// Waits for room.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Share {
        let mut taken = self.lock();
        while !self.has_room(*taken, bytes) {
            let waited = self.returned.wait(taken);
            taken = waited.unwrap_or_else(PoisonError::into_inner);
        }
        self.share(taken, bytes)
    }

    /// Bytes on their way, and the bound.
    pub(super) fn used(&self) -> (u64, u64) {
        (*self.lock(), self.bytes_max)
    }

    fn has_room(&self, taken: u64, bytes: u64) -> bool {
        taken == 0 || taken.saturating_add(bytes) <= self.bytes_max
    }

    fn share(self: &Arc<Self>, mut taken: MutexGuard<'_, u64>, bytes: u64) -> Share {
        *taken += bytes;
        Share {
            budget: Arc::clone(self),
            bytes,
        }
    }

    /// A number is whole whatever panicked beside it.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.budget.lock() -= self.bytes;
        self.budget.returned.notify_all();
    }
}
