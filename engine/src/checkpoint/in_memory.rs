//! Checkpoints in memory, for tests and simulation: with a crash that loses what a power failure may lose.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{CheckpointError, CheckpointStorage, Rows, StorageWrite, StoredCallback};

/// Values by rows and key.
type Stored = BTreeMap<(Rows, Vec<u8>), Vec<u8>>;

#[derive(Default)]
struct Inner {
    rows: Stored,
    /// As it was after each transaction since the last sync, the oldest first.
    unsynced: Vec<Stored>,
    /// Transactions and syncs that are yet to be done, in their order.
    waiting: Vec<(Option<Vec<StorageWrite>>, StoredCallback)>,
    /// Outcomes come only when [`InMemory::step`] is called.
    is_slow: bool,
    /// Every later write fails.
    failing: Option<String>,
}

/// Rows in memory. Clones share them.
#[derive(Clone, Default)]
pub struct InMemory {
    inner: Arc<Mutex<Inner>>,
}

impl InMemory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has writes wait until [`step`](Self::step), or not. Not while a run is begun, which waits for them.
    pub fn set_slow(&self, is_slow: bool) {
        self.lock().is_slow = is_slow;
    }

    /// Does what waits longest and tells its outcome; whether there was anything.
    pub fn step(&self) -> bool {
        let mut inner = self.lock();
        if inner.waiting.is_empty() {
            return false;
        }
        let (writes, done) = inner.waiting.remove(0);
        let outcome = inner.apply(writes);
        drop(inner);
        done(outcome);
        true
    }

    /// Whether there is anything for [`step`](Self::step) to do.
    pub fn is_waiting(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Fails every later write and sync with this cause.
    pub fn fail(&self, cause: &str) {
        self.lock().failing = Some(cause.to_owned());
    }

    /// The process is gone: what waits was not done, and nobody is told. With a power failure the last `lost`
    /// transactions since the last sync are gone too, or as many as there were.
    pub fn crash(&self, lost: usize) {
        let mut inner = self.lock();
        inner.failing = None;
        let waiting = std::mem::take(&mut inner.waiting);
        for _ in 0..lost {
            let Some(before) = inner.unsynced.pop() else {
                break;
            };
            inner.rows = before;
        }
        inner.unsynced.clear();
        drop(inner);
        drop(waiting);
    }

    /// Transactions that a power failure would lose.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }
}

impl Inner {
    fn apply(&mut self, writes: Option<Vec<StorageWrite>>) -> Result<(), String> {
        if let Some(cause) = &self.failing {
            return Err(cause.clone());
        }
        let Some(writes) = writes else {
            self.unsynced.clear();
            return Ok(());
        };
        self.unsynced.push(self.rows.clone());
        for StorageWrite { rows, key, value } in writes {
            match value {
                Some(value) => self.rows.insert((rows, key), value),
                None => self.rows.remove(&(rows, key)),
            };
        }
        Ok(())
    }
}

impl CheckpointStorage for InMemory {
    fn write(
        &self,
        writes: Vec<StorageWrite>,
        done: StoredCallback,
    ) -> Result<(), Vec<StorageWrite>> {
        let mut inner = self.lock();
        inner.waiting.push((Some(writes), done));
        let is_slow = inner.is_slow;
        drop(inner);
        while !is_slow && self.step() {}
        Ok(())
    }

    fn sync(&self, done: StoredCallback) -> bool {
        let mut inner = self.lock();
        inner.waiting.push((None, done));
        let is_slow = inner.is_slow;
        drop(inner);
        while !is_slow && self.step() {}
        true
    }

    fn get(&self, rows: Rows, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(self.lock().rows.get(&(rows, key.to_vec())).cloned())
    }

    fn keys(
        &self,
        rows: Rows,
        from: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, CheckpointError> {
        let inner = self.lock();
        let of_rows = inner.rows.keys().filter(|(of, _)| *of == rows);
        let keys = of_rows.map(|(_, key)| key).filter(|key| match from {
            Bound::Included(from) => key.as_slice() >= from,
            Bound::Excluded(from) => key.as_slice() > from,
            Bound::Unbounded => true,
        });
        Ok(keys.take(limit).cloned().collect())
    }
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemory")
            .field("rows", &self.lock().rows.len())
            .finish()
    }
}
