//! Checkpoints in memory, for tests and simulation: with all that may go wrong in the store of production.
//!
//! That store is the state's environment ([`InState`](super::InState)), so what a failure leaves is what it may leave there:
//! transactions are whole or absent, and none is there without those before it, since each commit forces the data of
//! those before it to the disk. A power failure loses any number of the last ones since the last sync, and nothing else; one
//! that failed is there after the next opening or not. After the first failure nothing is written until the store is
//! opened again, which [`InMemory::crash`] stands for.
//! Failures come when they are ordered, so that a run with the same seed meets the same ones.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

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
    /// A failure to come, and how many operations come before it.
    ordered: Option<(u32, StorageFault)>,
    /// As it is if the transaction that failed is there.
    doubtful: Option<Stored>,
    is_full: bool,
    /// Requests for which there is no place in the queue, one after the other.
    refusals: u32,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageFault {
    /// A transaction, or the next one after a sync, fails.
    Write {
        /// Whether it is there once the store is opened again.
        is_kept: bool,
    },
    /// A sync, or the transaction in its place, fails: nothing is safe that was not before.
    Sync,
    /// The disk is full, until [`InMemory::make_room`].
    Full,
}

const FULL: &str = "no space is left";

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

    /// Has an operation fail, after so many others that do not; in place of an earlier order.
    pub fn fail_after(&self, operations: u32, fault: StorageFault) {
        self.lock().ordered = Some((operations, fault));
    }

    /// Has the next requests find no place in the queue: they are made again later.
    pub fn refuse(&self, requests: u32) {
        self.lock().refusals = requests;
    }

    /// There is room again. What failed for want of it stays failed.
    pub fn make_room(&self) {
        self.lock().is_full = false;
    }

    /// Whether everything fails until it is opened again.
    pub fn has_failed(&self) -> bool {
        self.lock().failing.is_some()
    }

    /// The process is gone: what waits was not done, and nobody is told. With a power failure the last `lost`
    /// transactions since the last sync are gone too, or as many as there were. Failures that were ordered and did not
    /// come are called off; a disk that is full stays so.
    pub fn crash(&self, lost: usize) {
        let mut inner = self.lock();
        inner.failing = None;
        inner.ordered = None;
        inner.refusals = 0;
        if let Some(doubtful) = inner.doubtful.take() {
            let before = std::mem::replace(&mut inner.rows, doubtful);
            inner.unsynced.push(before);
        }
        let waiting = std::mem::take(&mut inner.waiting);
        for _ in 0..lost {
            let Some(before) = inner.unsynced.pop() else {
                break;
            };
            inner.rows = before;
        }
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
        let fault = self.fault();
        let Some(writes) = writes else {
            return match fault {
                None | Some(StorageFault::Full) => {
                    self.unsynced.clear();
                    Ok(())
                }
                Some(StorageFault::Sync | StorageFault::Write { .. }) => {
                    self.stop("the disk does not sync")
                }
            };
        };
        if self.is_full {
            return self.stop(FULL);
        }
        let mut rows = self.rows.clone();
        for StorageWrite {
            rows: of,
            key,
            value,
        } in writes
        {
            match value {
                Some(value) => rows.insert((of, key), value),
                None => rows.remove(&(of, key)),
            };
        }
        if let Some(fault) = fault {
            let is_kept = fault == StorageFault::Write { is_kept: true };
            self.doubtful = is_kept.then_some(rows);
            return self.stop("the disk does not write");
        }
        let before = std::mem::replace(&mut self.rows, rows);
        self.unsynced.push(before);
        Ok(())
    }

    /// The failure that is this operation's.
    fn fault(&mut self) -> Option<StorageFault> {
        match self.ordered.take() {
            Some((0, StorageFault::Full)) => {
                self.is_full = true;
                None
            }
            Some((0, fault)) => Some(fault),
            Some((after, fault)) => {
                self.ordered = Some((after - 1, fault));
                None
            }
            None => None,
        }
    }

    fn stop(&mut self, cause: &str) -> Result<(), String> {
        self.failing = Some(cause.to_owned());
        Err(cause.to_owned())
    }

    /// Whether there is no place in the queue for this request, as there may be for the next.
    fn refuses(&mut self, room: &Waker) -> bool {
        let refuses = self.refusals > 0;
        self.refusals = self.refusals.saturating_sub(1);
        if refuses {
            room.wake_by_ref();
        }
        refuses
    }
}

impl CheckpointStorage for InMemory {
    fn write(
        &self,
        writes: Vec<StorageWrite>,
        done: StoredCallback,
        room: &Waker,
    ) -> Result<(), Vec<StorageWrite>> {
        let mut inner = self.lock();
        if inner.refuses(room) {
            return Err(writes);
        }
        inner.waiting.push((Some(writes), done));
        let is_slow = inner.is_slow;
        drop(inner);
        while !is_slow && self.step() {}
        Ok(())
    }

    fn sync(&self, done: StoredCallback, room: &Waker) -> bool {
        let mut inner = self.lock();
        if inner.refuses(room) {
            return false;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn write(storage: &InMemory, key: u8) -> Result<(), String> {
        let outcome: Arc<Mutex<Option<Result<(), String>>>> = Arc::default();
        let told = Arc::clone(&outcome);
        let row = StorageWrite {
            rows: Rows::Parts,
            key: vec![key],
            value: Some(Vec::new()),
        };
        let taken = storage.write(
            vec![row],
            Arc::new(move |outcome| *told.lock().unwrap() = Some(outcome)),
            Waker::noop(),
        );
        assert!(taken.is_ok());
        outcome.lock().unwrap().take().unwrap()
    }

    fn keys(storage: &InMemory) -> Vec<Vec<u8>> {
        storage
            .keys(Rows::Parts, Bound::Unbounded, usize::MAX)
            .unwrap()
    }

    #[test]
    fn after_a_failure_nothing_is_written_before_it_is_opened_again() {
        for is_kept in [false, true] {
            let storage = InMemory::default();
            storage.fail_after(1, StorageFault::Write { is_kept });
            write(&storage, 1).unwrap();
            assert!(write(&storage, 2).is_err());
            assert!(write(&storage, 3).is_err());
            storage.crash(0);
            assert_eq!(keys(&storage).len(), 1 + usize::from(is_kept));
            write(&storage, 4).unwrap();
        }
    }

    #[test]
    fn a_full_disk_stays_full_until_there_is_room() {
        let storage = InMemory::default();
        storage.fail_after(0, StorageFault::Full);
        assert!(write(&storage, 1).is_err());
        storage.crash(0);
        assert!(write(&storage, 1).is_err());
        storage.make_room();
        storage.crash(0);
        write(&storage, 1).unwrap();
    }

    #[test]
    fn what_was_not_synced_may_go_in_a_later_loss_of_power() {
        let storage = InMemory::default();
        write(&storage, 1).unwrap();
        storage.crash(0);
        write(&storage, 2).unwrap();
        storage.crash(2);
        assert!(keys(&storage).is_empty());
    }
}
