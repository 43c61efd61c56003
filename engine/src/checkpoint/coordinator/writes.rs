//! Rows on their way to the storage, and which parts are stored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use super::super::manifest::PartId;
use super::super::part_bytes::RowsOnDisk;
use super::super::storage::{CHUNK_BYTES, manifest_key, part_key};
use super::super::{CheckpointStorage, Epoch, Manifest, Part, Rows, StorageWrite, StoredCallback};
use crate::mailbox::Mailbox;

/// Bytes of one transaction, about.
const TRANSACTION_BYTES: usize = 4 << 20;

/// Transactions that were handed over and not answered.
#[derive(Debug)]
struct Outcomes {
    in_flight: AtomicUsize,
    failure: Mutex<Option<String>>,
    mailbox: Arc<Mailbox>,
}

impl Outcomes {
    /// Keeps the first cause.
    fn fail(&self, cause: String) {
        let failure = self.failure.lock();
        let mut failure = failure.unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(cause);
    }
}

/// What is to be written.
#[derive(Debug)]
enum Waiting {
    /// In one transaction.
    Rows(Vec<StorageWrite>),
    /// Rows of a part that lie on disk, in as many transactions as they need.
    OnDisk(PartId, RowsOnDisk),
}

#[derive(Debug)]
pub(super) struct Writes {
    waiting: VecDeque<Waiting>,
    /// Of the last of them, as far as it may still grow.
    last_bytes: usize,
    wants_sync: bool,
    outcomes: Arc<Outcomes>,
    /// Woken when a storage that had no room may have some.
    room: Waker,
    /// Parts that are stored, with the number of their rows.
    stored: BTreeMap<PartId, u32>,
    /// Up to it parts may belong to a checkpoint that cannot be read: they stay.
    unreadable: Option<Epoch>,
}

impl Writes {
    /// With the parts that `retained` name.
    pub(super) fn new(
        mailbox: Arc<Mailbox>,
        retained: &[Manifest],
        unreadable: Option<Epoch>,
    ) -> Self {
        Self {
            waiting: VecDeque::new(),
            last_bytes: 0,
            wants_sync: false,
            room: mailbox.waker(),
            outcomes: Arc::new(Outcomes {
                in_flight: AtomicUsize::new(0),
                failure: Mutex::new(None),
                mailbox,
            }),
            stored: retained.iter().flat_map(Manifest::named).collect(),
            unreadable,
        }
    }

    /// Whether everything was stored.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty()
            && !self.wants_sync
            && self.outcomes.in_flight.load(Ordering::Acquire) == 0
    }

    pub(super) fn failure(&self) -> Option<String> {
        let failure = self.outcomes.failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds parts; gives their bytes.
    pub(super) fn add(
        &mut self,
        (stage, partition): (u32, usize),
        epoch: Epoch,
        parts: &[Part],
    ) -> u64 {
        let mut bytes = 0;
        for (slot, part) in parts.iter().enumerate() {
            let Some(part) = &part.bytes else {
                continue;
            };
            bytes += part.len();
            let id = (epoch, stage, partition, slot);
            if let Some(rows) = part.rows_on_disk() {
                self.last_bytes = TRANSACTION_BYTES;
                self.waiting.push_back(Waiting::OnDisk(id, rows));
            }
            for (chunk, row) in part.rows_in_memory() {
                self.push(put(id, chunk, row.to_vec()));
            }
            self.stored.insert(id, part.rows());
        }
        bytes
    }

    /// In a transaction of its own, behind everything that it names.
    pub(super) fn put_manifest(&mut self, epoch: Epoch, bytes: Vec<u8>) {
        self.last_bytes = TRANSACTION_BYTES;
        self.waiting.push_back(Waiting::Rows(vec![StorageWrite {
            rows: Rows::Manifests,
            key: manifest_key(epoch),
            value: Some(bytes),
        }]));
    }

    pub(super) fn want_sync(&mut self) {
        self.wants_sync = true;
    }

    pub(super) fn delete_manifest(&mut self, epoch: Epoch) {
        self.push(StorageWrite {
            rows: Rows::Manifests,
            key: manifest_key(epoch),
            value: None,
        });
    }

    /// Deletes the parts up to `epoch` that no checkpoint names any more.
    pub(super) fn delete_unnamed(&mut self, retained: &[Manifest], epoch: Epoch) {
        let named: BTreeSet<PartId> = retained
            .iter()
            .flat_map(Manifest::named)
            .map(|(part, _)| part)
            .collect();
        let gone: Vec<_> = self
            .stored
            .iter()
            .filter(|(part, _)| Some(part.0) > self.unreadable && part.0 <= epoch)
            .filter(|(part, _)| !named.contains(part))
            .map(|(&part, &chunks)| (part, chunks))
            .collect();
        for (part, chunks) in gone {
            self.stored.remove(&part);
            let (epoch, stage, partition, slot) = part;
            for chunk in 0..chunks {
                self.push(StorageWrite {
                    rows: Rows::Parts,
                    key: part_key(epoch, stage, partition, slot, chunk),
                    value: None,
                });
            }
        }
    }

    /// Adds to the last transaction, or begins one.
    fn push(&mut self, write: StorageWrite) {
        let bytes = write.value.as_ref().map_or(64, Vec::len);
        match self.waiting.back_mut() {
            Some(Waiting::Rows(last)) if self.last_bytes < TRANSACTION_BYTES => {
                self.last_bytes += bytes;
                last.push(write);
            }
            _ => {
                self.last_bytes = bytes;
                self.waiting.push_back(Waiting::Rows(vec![write]));
            }
        }
    }

    /// Hands over what waits, as far as there is room: the mailbox is woken when there may be more.
    pub(super) fn offer(&mut self, storage: &dyn CheckpointStorage) {
        while let Some(writes) = self.next() {
            if let Err(writes) = storage.write(writes, self.callback(), &self.room) {
                self.outcomes.in_flight.fetch_sub(1, Ordering::AcqRel);
                self.waiting.push_front(Waiting::Rows(writes));
                return;
            }
        }
        if self.wants_sync {
            if storage.sync(self.callback(), &self.room) {
                self.wants_sync = false;
            } else {
                self.outcomes.in_flight.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// The next transaction.
    fn next(&mut self) -> Option<Vec<StorageWrite>> {
        let (id, mut rows) = match self.waiting.pop_front()? {
            Waiting::Rows(writes) => return Some(writes),
            Waiting::OnDisk(id, rows) => (id, rows),
        };
        let mut writes = Vec::new();
        for row in rows.by_ref().take(TRANSACTION_BYTES / CHUNK_BYTES) {
            match row {
                Ok((chunk, row)) => writes.push(put(id, chunk, row)),
                Err(error) => self.outcomes.fail(error.to_string()),
            }
        }
        if !rows.is_done() {
            self.waiting.push_front(Waiting::OnDisk(id, rows));
        }
        Some(writes)
    }

    /// Counts one that is handed over.
    fn callback(&self) -> StoredCallback {
        self.outcomes.in_flight.fetch_add(1, Ordering::AcqRel);
        let outcomes = Arc::clone(&self.outcomes);
        Arc::new(move |outcome| {
            if let Err(cause) = outcome {
                outcomes.fail(cause);
            }
            outcomes.in_flight.fetch_sub(1, Ordering::AcqRel);
            outcomes.mailbox.wake();
        })
    }
}

/// Writes a row of a part.
fn put((epoch, stage, partition, slot): PartId, chunk: u32, row: Vec<u8>) -> StorageWrite {
    StorageWrite {
        rows: Rows::Parts,
        key: part_key(epoch, stage, partition, slot, chunk),
        value: Some(row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{InMemory, InState, Saving};
    use crate::mailbox::{MailboxLimits, Wake};
    use crate::spill::{MemoryBudget, SpillStore};
    use crate::state::{StateBatch, StateOptions, StateStore, stepped};
    use crate::time::SystemClock;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Story: while the state's writer had no room the coordinator asked every two milliseconds.
    #[test]
    fn room_in_the_state_wakes_the_coordinator() {
        let folder = tempfile::tempdir().unwrap();
        let options = StateOptions {
            queue_batches: 1,
            map_bytes_max: 64 << 20,
            ..StateOptions::default()
        };
        let (store, writer) = StateStore::open(folder.path(), options).unwrap();
        let (state, steps) = stepped(writer);
        let storage = InState::open("flow", &store, &state).unwrap();
        let limits = MailboxLimits::default();
        let mailbox = Mailbox::new(limits, Arc::new(SystemClock::new()));
        let woken = Arc::new(Woken::default());
        mailbox.attach(Arc::<Woken>::clone(&woken));
        let turn = || {
            mailbox.begin_turn();
            woken.0.swap(0, Ordering::AcqRel) > 0
        };
        assert!(turn(), "whoever is attached is woken at once");
        let mut writes = Writes::new(Arc::clone(&mailbox), &[], None);
        writes.put_manifest(Epoch(1), vec![7]);
        // A place for each of the two is taken by something else first.
        for wants_sync in [false, true] {
            if wants_sync {
                writes.want_sync();
            }
            state.try_submit(StateBatch::default()).unwrap();
            writes.offer(&storage);
            assert!(!turn() && !writes.is_done(), "there was room");
            assert!(steps.step() && turn(), "not woken when there was room");
            writes.offer(&storage);
            assert!(!writes.is_done());
            assert!(steps.step() && turn(), "not woken at the end");
            assert!(writes.is_done() && writes.failure().is_none());
        }
        let key = manifest_key(Epoch(1));
        assert_eq!(storage.get(Rows::Manifests, &key).unwrap(), Some(vec![7]));
    }

    /// Rows that lie on disk, those in memory behind them, and a part that follows, each under its own key.
    #[test]
    fn parts_on_disk_are_stored_whole() {
        let folder = tempfile::tempdir().unwrap();
        let budget = Arc::new(MemoryBudget::new(1 << 20));
        let spill = Arc::new(SpillStore::create(folder.path(), budget).unwrap());
        let values: Vec<u64> = (0..1_300_000).map(|n| u64::MAX - n).collect();
        let mut saving = Saving::new(Epoch(3)).through(Some(spill));
        saving.whole("large", &values).unwrap();
        saving.whole("small", &7_u8).unwrap();
        let parts = saving.into_parts();
        let large = parts[0].bytes.as_ref().unwrap();
        assert!(large.rows_on_disk().is_some());

        let limits = MailboxLimits::default();
        let mailbox = Mailbox::new(limits, Arc::new(SystemClock::new()));
        let mut writes = Writes::new(mailbox, &[], None);
        let bytes = writes.add((1, 2), Epoch(3), &parts);
        assert!(!writes.is_done());
        let storage = InMemory::default();
        writes.offer(&storage);
        assert!(writes.is_done() && writes.failure().is_none());

        let stored = |slot, rows| {
            let row = |chunk| {
                let key = part_key(Epoch(3), 1, 2, slot, chunk);
                storage.get(Rows::Parts, &key).unwrap().unwrap()
            };
            (0..rows).flat_map(row).collect::<Vec<u8>>()
        };
        let (large, small) = (stored(0, large.rows()), stored(1, 1));
        assert_eq!(bytes, (large.len() + small.len()) as u64);
        assert_eq!(rmp_serde::from_slice::<Vec<u64>>(&large).unwrap(), values);
        assert_eq!(rmp_serde::from_slice::<u8>(&small).unwrap(), 7);
    }
}
