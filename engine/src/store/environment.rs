//! An open environment: what its readers and its writer share.
//!
//! Invariants: the file was looked through before it is mapped, see [`opening`]; what LMDB says of it is told in our words,
//! with what was being done.

mod opening;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heed::types::Bytes;
use heed::{Database, Env, MdbError, WithoutTls};

use super::reader::{Reader, Snapshot};
use super::simulated::File;
use super::structure::{self, Report, Scope};
use super::writer::Writer;
use super::{EnvironmentOptions, StoreError, meta};

pub(super) type Bytewise = Database<'static, Bytes, Bytes>;

/// One database of an environment: a copyable handle.
///
/// Use it with its own environment only: reads and writes panic on one of another environment.
#[derive(Clone, Copy)]
pub struct Table {
    handle: Handle,
}

#[derive(Clone, Copy)]
enum Handle {
    Lmdb(Bytewise),
    Simulated(usize),
}

const OTHER: &str = "a table is used with its own environment";

impl Table {
    #[inline]
    pub(super) fn lmdb(&self) -> &Bytewise {
        match &self.handle {
            Handle::Lmdb(database) => database,
            Handle::Simulated(_) => panic!("{OTHER}"),
        }
    }

    pub(super) fn simulated(self) -> usize {
        match self.handle {
            Handle::Simulated(number) => number,
            Handle::Lmdb(_) => panic!("{OTHER}"),
        }
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

/// An open LMDB environment. Clones share it; it closes when the last clone, reader and writer are gone.
#[derive(Clone)]
pub struct Environment {
    pub(super) kind: Kind,
}

#[derive(Clone)]
pub(super) enum Kind {
    Lmdb(Arc<Shared>),
    Simulated(File),
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("file", &self.path())
            .finish_non_exhaustive()
    }
}

pub(super) struct Shared {
    pub env: Env<WithoutTls>,
    /// The data file, for lengths, allocation and plain reads.
    pub file: fs::File,
    pub path: PathBuf,
    pub options: EnvironmentOptions,
    pub page_bytes: u64,
    pub writer_taken: AtomicBool,
    tables: Vec<(String, Bytewise)>,
    /// All databases that the file had, each with its entries, before those that were missing were made.
    found: Vec<(String, u64)>,
}

impl Shared {
    fn clear_stale_readers(&self) -> Result<usize, StoreError> {
        if self.options.read_only {
            return Ok(0);
        }
        let cleared = self.env.clear_stale_readers();
        let cleared = cleared.map_err(|e| self.error(e, "looking for killed readers of"))?;
        if cleared > 0 {
            let file = self.path.display();
            tracing::warn!(%file, cleared, "processes were killed while they read: what they held is free again");
        }
        Ok(cleared)
    }
}

impl Environment {
    pub(super) const fn of_file(file: File) -> Self {
        let kind = Kind::Simulated(file);
        Self { kind }
    }

    /// The database of this name.
    ///
    /// # Errors
    /// [`StoreError::UnknownDatabase`]: not among the names it was opened with, or (read-only) not
    /// created yet.
    pub fn table(&self, name: &str) -> Result<Table, StoreError> {
        let handle = match &self.kind {
            Kind::Lmdb(shared) => {
                let found = shared.tables.iter().find(|(known, _)| known == name);
                found.map(|(_, database)| Handle::Lmdb(*database))
            }
            Kind::Simulated(file) => file.table(name).map(Handle::Simulated),
        };
        let handle = handle.ok_or_else(|| StoreError::UnknownDatabase {
            name: name.to_owned(),
        })?;
        Ok(Table { handle })
    }

    /// Names of all databases that the file had when it was opened, before any was made, each with the number of its entries.
    /// Empty for a new file, and on a simulated disk.
    #[must_use]
    pub fn found(&self) -> &[(String, u64)] {
        match &self.kind {
            Kind::Lmdb(shared) => &shared.found,
            Kind::Simulated(_) => &[],
        }
    }

    /// Runs `with` on one snapshot of all databases and gives back what it returns.
    ///
    /// Keep it short, and never wait inside: pages that the snapshot sees are not reused meanwhile, and
    /// the file grows.
    ///
    /// # Errors
    /// [`StoreError::ReadersFull`]: no reader slot is free. [`StoreError::Lmdb`].
    pub fn read<T>(&self, with: impl FnOnce(&Reader<'_>) -> T) -> Result<T, StoreError> {
        let snapshot = match &self.kind {
            Kind::Lmdb(shared) => {
                let begun = shared.env.read_txn();
                let txn = begun.map_err(|e| shared.error(e, "starting to read"))?;
                Snapshot::Lmdb(txn, shared)
            }
            Kind::Simulated(file) => Snapshot::Simulated(file.image()),
        };
        Ok(with(&Reader { snapshot }))
    }

    /// The one writer of this environment; another can be taken when it is dropped.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; [`StoreError::WriterTaken`] while the first one lives.
    pub fn writer(&self) -> Result<Writer, StoreError> {
        if let Kind::Lmdb(shared) = &self.kind
            && shared.options.read_only
        {
            return Err(StoreError::ReadOnly);
        }
        if self.writer_taken().swap(true, Ordering::AcqRel) {
            return Err(StoreError::WriterTaken);
        }
        Ok(Writer::new(self.clone()))
    }

    pub(super) fn writer_taken(&self) -> &AtomicBool {
        match &self.kind {
            Kind::Lmdb(shared) => &shared.writer_taken,
            Kind::Simulated(file) => &file.writer_taken,
        }
    }

    /// Makes every earlier commit durable, also under [`NoMetaSync`](super::Durability::NoMetaSync). Cost: one fdatasync.
    ///
    /// # Errors
    /// [`StoreError::Io`]: some earlier commits may be lost at a power failure. A later success proves
    /// nothing: stop and open again in a new process.
    pub fn sync(&self) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Lmdb(shared) => {
                let synced = shared.env.force_sync();
                synced.map_err(|e| shared.error(e, "syncing"))
            }
            Kind::Simulated(file) => file.sync(),
        }
    }

    /// Walks the pages of the current snapshot with plain reads; possible beside a writer.
    ///
    /// Cost: [`Scope::Full`] reads every page but values' inner pages, and holds a read transaction.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Truncated`], [`StoreError::Io`],
    /// [`StoreError::ReadersFull`].
    pub fn check(&self, scope: Scope) -> Result<Report, StoreError> {
        match &self.kind {
            Kind::Lmdb(shared) => shared.check(scope),
            Kind::Simulated(_) => Ok(Report::default()),
        }
    }

    /// Bytes of the file that hold pages of the current snapshot or are free for reuse.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Lmdb(shared) => shared.used_bytes(),
            Kind::Simulated(file) => file.bytes(),
        }
    }

    /// Length of the file in bytes, with what is allocated ahead.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the file's length cannot be read.
    pub fn file_bytes(&self) -> Result<u64, StoreError> {
        match &self.kind {
            Kind::Lmdb(shared) => {
                let metadata = shared.file.metadata();
                let metadata = metadata.map_err(|e| StoreError::io(&shared.path, "reading", e))?;
                Ok(metadata.len())
            }
            Kind::Simulated(file) => Ok(file.bytes()),
        }
    }

    /// Gives up the read transactions of processes that were killed in them, and says how many there were, if any: what such a
    /// transaction saw is not reused before, and its slot is taken. Done at each opening by a writer; whoever keeps the
    /// environment open does it now and then. Those of processes that live are left alone. Read-only: nothing, always 0.
    ///
    /// Cost: a look at each slot that was ever used, and at a lock of each other process that has one.
    ///
    /// # Errors
    /// [`StoreError::Lmdb`], [`StoreError::Io`].
    pub fn clear_stale_readers(&self) -> Result<usize, StoreError> {
        match &self.kind {
            Kind::Lmdb(shared) => shared.clear_stale_readers(),
            Kind::Simulated(_) => Ok(0),
        }
    }

    /// The folder of the data file; `None` on a simulated disk.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Lmdb(shared) => shared.path.parent(),
            Kind::Simulated(_) => None,
        }
    }

    /// The data file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.kind {
            Kind::Lmdb(shared) => &shared.path,
            Kind::Simulated(file) => &file.path,
        }
    }
}

impl Shared {
    pub(super) fn used_bytes(&self) -> u64 {
        (self.env.info().last_page_number as u64 + 1) * self.page_bytes
    }

    fn check(&self, scope: Scope) -> Result<Report, StoreError> {
        // The open transaction keeps LMDB from reusing pages of its snapshot; it touches none itself.
        // A writer in another process may replace both meta pages between the two reads: try again.
        for _ in 0..64 {
            let txn = self
                .env
                .read_txn()
                .map_err(|e| self.error(e, "starting to read"))?;
            let metas = meta::read_both(&self.file, &self.path)?;
            let Some(meta) = metas.iter().find(|meta| meta.txnid == txn.id() as u64) else {
                continue;
            };
            meta::check_length(&self.file, &self.path, meta)?;
            return structure::check(&self.file, &self.path, meta, scope, &self.options.databases);
        }
        Err(StoreError::damaged(
            &self.path,
            0,
            "the meta pages do not show the current transaction",
        ))
    }

    /// Our word for heed's error.
    pub(super) fn error(&self, error: heed::Error, doing: &'static str) -> StoreError {
        translate(error, doing, &self.path, &self.options)
    }
}

/// Translates heed's errors; `doing` and `path` say what was tried.
fn translate(
    error: heed::Error,
    doing: &'static str,
    path: &Path,
    options: &EnvironmentOptions,
) -> StoreError {
    let other = |code: String| StoreError::Lmdb {
        file: path.to_path_buf(),
        doing,
        code,
    };
    match error {
        heed::Error::Io(source) if source.kind() == std::io::ErrorKind::StorageFull => {
            StoreError::DiskFull {
                file: path.to_path_buf(),
                needed: 0,
            }
        }
        heed::Error::Io(source) => StoreError::io(path, doing, source),
        heed::Error::Mdb(MdbError::MapFull) => StoreError::MapFull {
            max_bytes: options.map_size() as u64,
        },
        heed::Error::Mdb(MdbError::ReadersFull) => StoreError::ReadersFull {
            max_readers: options.max_readers,
        },
        heed::Error::Mdb(MdbError::KeyExist) => StoreError::KeyOrder,
        heed::Error::Mdb(
            code @ (MdbError::Corrupted
            | MdbError::PageNotFound
            | MdbError::Invalid
            | MdbError::VersionMismatch
            | MdbError::Incompatible),
        ) => StoreError::damaged(path, 0, format!("LMDB, {doing}: {code}")),
        heed::Error::EnvAlreadyOpened => {
            let folder = path.parent().unwrap_or(path).to_path_buf();
            StoreError::AlreadyOpen { folder }
        }
        error => other(error.to_string()),
    }
}
