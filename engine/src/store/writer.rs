//! Writing: one thread, one transaction at a time, stopped for good by the first failure.
//!
//! Invariants: (1) at most one [`Writer`] per environment; (2) a transaction that failed in any way but a
//! refused argument stores nothing and stops the writer; (3) after that every call answers
//! [`StoreError::Stopped`] with the first cause. After a failed fsync the kernel may call lost pages
//! clean, so no retry in this process could prove anything.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use heed::{PutFlags, RwTxn};

use super::StoreError;
use super::environment::{Environment, Kind, Shared, Table};
use super::preallocation::Preallocation;
use super::reader::{self, Entries, Entry, Pages, check_key};
use super::simulated::{File, Image};

/// Bytes kept allocated beyond what a commit is expected to use: tree pages above the leaves, free lists.
const MARGIN_BYTES: u64 = 1 << 20;

/// The write side of an environment, owned by one thread.
#[derive(Debug)]
pub struct Writer {
    environment: Environment,
    state: State,
}

#[derive(Debug)]
struct State {
    stopped: Option<Arc<StoreError>>,
    allocation: Option<Preallocation>,
}

impl State {
    fn check(&self) -> Result<(), StoreError> {
        match &self.stopped {
            Some(cause) => Err(StoreError::Stopped {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Remembers the first fatal error; gives the error back.
    fn stop(&mut self, error: StoreError) -> StoreError {
        if error.is_fatal() && self.stopped.is_none() {
            self.stopped = Some(Arc::new(error.clone()));
        }
        error
    }

    /// Makes room in the file for a commit of about `bytes`.
    fn allocate(&mut self, shared: &Shared, bytes: u64) -> Result<(), StoreError> {
        let allocation = match &mut self.allocation {
            Some(allocation) => allocation,
            None => {
                let limit = shared.options.map_size() as u64;
                let step = shared.options.preallocate_step_bytes;
                let made = Preallocation::new(&shared.file, &shared.path, step, limit)?;
                self.allocation.insert(made)
            }
        };
        allocation.reach(
            &shared.file,
            &shared.path,
            shared.used_bytes() + bytes + MARGIN_BYTES,
        )
    }
}

impl Writer {
    pub(super) fn new(environment: Environment) -> Self {
        Self {
            environment,
            state: State {
                stopped: None,
                allocation: None,
            },
        }
    }

    /// Starts a transaction; dropping it undoes it.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] after a failure; [`StoreError::Lmdb`], [`StoreError::Io`].
    pub fn begin(&mut self) -> Result<WriteTxn<'_>, StoreError> {
        self.state.check()?;
        let txn = match &self.environment.kind {
            Kind::Lmdb(shared) => {
                let begun = shared.env.write_txn();
                let txn = begun.map_err(|e| {
                    self.state
                        .stop(shared.error(e, "starting a transaction in"))
                })?;
                Txn::Lmdb(txn, shared)
            }
            Kind::Simulated(file) => Txn::Simulated((*file.image()).clone(), file),
        };
        Ok(WriteTxn {
            txn,
            state: &mut self.state,
            bytes: 0,
        })
    }

    /// Makes every commit so far durable, also under `NoMetaSync`. Cost: one fdatasync.
    ///
    /// # Errors
    /// [`StoreError::Io`], and the writer stops; [`StoreError::Stopped`] after an earlier failure.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.state.check()?;
        self.environment.sync().map_err(|e| self.state.stop(e))
    }

    /// The environment that this writer writes.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The failure that stopped this writer, if any.
    #[must_use]
    pub fn stopped(&self) -> Option<&StoreError> {
        self.state.stopped.as_deref()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A stopped writer keeps its place: nobody writes to this environment again in this process.
        if self.state.stopped.is_none() {
            self.environment
                .writer_taken()
                .store(false, Ordering::Release);
        }
    }
}

/// One transaction: all of it is stored by [`commit`](Self::commit), or nothing.
///
/// Keep it below about 131,000 touched pages: above, LMDB spills them to the file early.
pub struct WriteTxn<'w> {
    txn: Txn<'w>,
    state: &'w mut State,
    /// About how far the file may grow by this transaction.
    bytes: u64,
}

enum Txn<'w> {
    Lmdb(RwTxn<'w>, &'w Shared),
    Simulated(Image, &'w File),
}

impl std::fmt::Debug for WriteTxn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteTxn")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl WriteTxn<'_> {
    /// Stores `value` under `key`, in place of an earlier one.
    ///
    /// # Errors
    /// - [`StoreError::KeyLength`]: nothing stored, the transaction goes on.
    /// - [`StoreError::MapFull`], [`StoreError::Damaged`], [`StoreError::Lmdb`]: the writer stops.
    /// - [`StoreError::Stopped`] after those.
    ///
    /// # Panics
    /// When `table` is of another environment; so do all other operations.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.check(key)?;
        match &mut self.txn {
            Txn::Lmdb(txn, shared) => {
                // Worst case: a leaf page of its own is copied.
                self.bytes += footprint(shared, key, value) + shared.page_bytes;
                let put = table.lmdb().put(txn, key, value);
                put.map_err(|e| self.state.stop(shared.error(e, "writing")))
            }
            Txn::Simulated(image, _) => {
                self.bytes += (key.len() + value.len()) as u64;
                image.put(table.simulated(), key, value);
                Ok(())
            }
        }
    }

    /// Stores an entry above all others of the table: fills pages completely and skips the search.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`StoreError::KeyOrder`] when `key` is not above the last one: nothing
    /// stored, the transaction goes on.
    ///
    /// # Panics
    /// As [`put`](Self::put).
    pub fn put_append(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.check(key)?;
        match &mut self.txn {
            Txn::Lmdb(txn, shared) => {
                self.bytes += footprint(shared, key, value);
                let put = table
                    .lmdb()
                    .put_with_flags(txn, PutFlags::APPEND, key, value);
                put.map_err(|e| self.state.stop(shared.error(e, "appending")))
            }
            Txn::Simulated(image, _) => {
                let table = table.simulated();
                if image.last(table).is_some_and(|(last, _)| last >= key) {
                    return Err(StoreError::KeyOrder);
                }
                self.bytes += (key.len() + value.len()) as u64;
                image.put(table, key, value);
                Ok(())
            }
        }
    }

    /// Removes the entry under `key`; `false` when there was none.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Panics
    /// As [`put`](Self::put).
    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.check(key)?;
        match &mut self.txn {
            Txn::Lmdb(txn, shared) => {
                self.bytes += shared.page_bytes;
                let deleted = table.lmdb().delete(txn, key);
                deleted.map_err(|e| self.state.stop(shared.error(e, "deleting")))
            }
            Txn::Simulated(image, _) => Ok(image.delete(table.simulated(), key)),
        }
    }

    /// The value under `key` as this transaction sees it.
    ///
    /// # Errors
    /// As [`Reader::get`](super::Reader::get).
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        reader::get(self.pages(), table, key)
    }

    /// The entry with the highest key as this transaction sees it.
    ///
    /// # Errors
    /// As [`Reader::last`](super::Reader::last).
    pub fn last(&self, table: Table) -> Result<Option<Entry<'_>>, StoreError> {
        reader::last(self.pages(), table)
    }

    /// Number of entries as this transaction sees it.
    ///
    /// # Errors
    /// As [`Reader::len`](super::Reader::len).
    pub fn len(&self, table: Table) -> Result<u64, StoreError> {
        reader::len(self.pages(), table)
    }

    /// Whether the table has no entry, as this transaction sees it.
    ///
    /// # Errors
    /// As [`Reader::len`](super::Reader::len).
    pub fn is_empty(&self, table: Table) -> Result<bool, StoreError> {
        Ok(self.len(table)? == 0)
    }

    /// Entries between the bounds, ascending, as this transaction sees them.
    ///
    /// # Errors
    /// As [`Reader::range`](super::Reader::range).
    pub fn range(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Entries<'_>, StoreError> {
        reader::range(self.pages(), table, from, to)
    }

    /// About how many bytes the file may grow by this transaction: a bound for callers that split work.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Stores the transaction; durable on return as the environment's `durability` says.
    ///
    /// # Errors
    /// Any error stops the writer. [`StoreError::DiskFull`] and [`StoreError::MapFull`]: nothing was
    /// stored. [`StoreError::Io`]: unknown until the file is opened again, it may hold the transaction.
    pub fn commit(self) -> Result<(), StoreError> {
        let Self {
            txn, state, bytes, ..
        } = self;
        state.check()?;
        match txn {
            Txn::Lmdb(txn, shared) => {
                state.allocate(shared, bytes).map_err(|e| state.stop(e))?;
                txn.commit()
                    .map_err(|e| state.stop(shared.error(e, "committing to")))
            }
            Txn::Simulated(image, file) => file.commit(image).map_err(|e| state.stop(e)),
        }
    }

    fn pages(&self) -> Pages<'_> {
        match &self.txn {
            Txn::Lmdb(txn, shared) => Pages::Lmdb(txn, shared),
            Txn::Simulated(image, _) => Pages::Simulated(image),
        }
    }

    fn check(&self, key: &[u8]) -> Result<(), StoreError> {
        self.state.check()?;
        check_key(key)
    }
}

/// Bytes that an entry may take in the file.
fn footprint(shared: &Shared, key: &[u8], value: &[u8]) -> u64 {
    let bytes = (key.len() + value.len()) as u64 + 16;
    let page = shared.page_bytes;
    if bytes > page / 2 {
        bytes.next_multiple_of(page) + page
    } else {
        bytes
    }
}
