//! Opening an environment, and what its users share.
//!
//! Invariants: the file passed [`meta`](super::meta) before LMDB mapped it and
//! [`structure`](super::structure) before LMDB followed a page number in it. A file whose creation was
//! interrupted is recognised by a marker beside it and made anew; nothing had been answered yet.
//! The only module with `unsafe`: heed's `open`.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use heed::types::Bytes;
use heed::{CommitOrAbort, CommitToken, Database, Env, EnvFlags, MdbError, OnCommit, WithoutTls};

use super::folders::{sync_folder, sync_way_to};
use super::preallocation::reserve_lock_file;
use super::reader::{Reader, Snapshot};
use super::simulated::File;
use super::structure::{self, Report, Scope};
use super::writer::Writer;
use super::{Durability, EnvironmentOptions, KEY_BYTES_MAX, StoreError, meta};

const DATA_FILE: &str = "data.mdb";
const LOCK_FILE: &str = "lock.mdb";
const CREATING_FILE: &str = "creating";

/// Held from the look whether an environment is open in this process until it is.
static OPENING: Mutex<()> = Mutex::new(());

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
}

impl Environment {
    /// Opens the environment in `folder`, creating folder, file and databases that are missing (unless
    /// read-only), after checking the file's meta pages, length and structure. What is read from one of
    /// [`Durability::Full`] that may be written is durable: it is synced here.
    ///
    /// The caller holds a [`FolderLock`](super::FolderLock) unless it opens read-only. Cost: reads all
    /// branch pages, the free-page lists and up to `check_bytes_max` of leaf pages.
    ///
    /// # Errors
    /// - [`StoreError::Truncated`], [`StoreError::Damaged`]: the file is not whole; it was not changed.
    /// - [`StoreError::AlreadyOpen`]: open in this process already.
    /// - [`StoreError::DiskFull`]: no space for a new file's first pages.
    /// - [`StoreError::UnknownDatabase`]: a name that is empty, too long or holds a zero byte.
    /// - [`StoreError::Io`], [`StoreError::Lmdb`]: the file, its lock file or the map.
    pub fn open(folder: &Path, mut options: EnvironmentOptions) -> Result<Self, StoreError> {
        check_names(&options)?;
        let path = folder.join(DATA_FILE);
        let is_new = prepare_folder(folder, &path, &options)?;
        if !is_new {
            let file = fs::File::open(&path).map_err(|e| StoreError::io(&path, "opening", e))?;
            options.map_as_the_writer(meta::read_newest(&file, &path)?.map_bytes);
        }
        // Closing any handle of a file ends this process's `fcntl` locks on it, and so those of an environment
        // that is open already: hands off then. heed refuses that one just below. A process without these locks is taken for
        // killed, so no two threads may come here at once.
        let opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        if heed::env_closing_event(folder).is_none() {
            let lock_path = folder.join(LOCK_FILE);
            reserve_lock_file(&lock_path, options.max_readers, options.read_only)?;
        }
        let env = open_heed(folder, &path, &options)?;
        drop(opening);
        let file = if options.read_only {
            fs::File::open(&path)
        } else {
            OpenOptions::new().read(true).write(true).open(&path)
        }
        .map_err(|e| StoreError::io(&path, "opening", e))?;
        let mut shared = Shared {
            env,
            file,
            path,
            options,
            page_bytes: 0,
            writer_taken: AtomicBool::new(false),
            tables: Vec::new(),
        };
        let scope = Scope::Quick {
            leaf_bytes_max: shared.options.check_bytes_max,
        };
        let report = shared.check(scope)?;
        shared.page_bytes = u64::from(report.page_bytes);
        shared.open_databases()?;
        if is_new {
            shared.finish_creation(folder)?;
        } else {
            shared.adopt()?;
        }
        let environment = Self {
            kind: Kind::Lmdb(Arc::new(shared)),
        };
        environment.clear_stale_readers()?;
        Ok(environment)
    }

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

    /// Makes every earlier commit durable, also under [`Durability::NoMetaSync`]. Cost: one fdatasync.
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

    /// Read transactions open at the moment, in all processes; and the limit.
    #[must_use]
    pub fn readers(&self) -> (u32, u32) {
        match &self.kind {
            Kind::Lmdb(shared) => {
                let info = shared.env.info();
                (info.number_of_readers, info.maximum_number_of_readers)
            }
            Kind::Simulated(_) => (0, u32::MAX),
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
        let Kind::Lmdb(shared) = &self.kind else {
            return Ok(0);
        };
        if shared.options.read_only {
            return Ok(0);
        }
        let cleared = shared.env.clear_stale_readers();
        let cleared = cleared.map_err(|e| shared.error(e, "looking for killed readers of"))?;
        if cleared > 0 {
            let file = shared.path.display();
            tracing::warn!(%file, cleared, "processes were killed while they read: what they held is free again");
        }
        Ok(cleared)
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

    fn open_databases(&mut self) -> Result<(), StoreError> {
        let names = &self.options.databases;
        let opened = if self.options.read_only {
            self.env.read_txn().and_then(|txn| {
                self.env.open_databases_and_commit(txn, |opener, txn| {
                    let mut found = Vec::with_capacity(names.len());
                    for name in names {
                        let database = opener.open_database::<Bytes, Bytes>(txn, Some(name))?;
                        found.extend(database.map(|database| (name.clone(), database)));
                    }
                    Ok(CommitOrAbort::<_, ()>::Commit(Opened(found)))
                })
            })
        } else {
            self.env.write_txn().and_then(|txn| {
                self.env.create_databases_and_commit(txn, |opener, txn| {
                    let mut found = Vec::with_capacity(names.len());
                    for name in names {
                        found.push((name.clone(), opener.create_database(txn, Some(name))?));
                    }
                    Ok(CommitOrAbort::<_, ()>::Commit(Opened(found)))
                })
            })
        };
        let opened = opened.map_err(|e| self.error(e, "opening the databases of"))?;
        self.tables = opened.commit().unwrap_or_default();
        Ok(())
    }

    /// Makes durable what is about to be read as stored: a process that was killed may have left its last meta page
    /// in the kernel's memory alone, and whoever reads what it shows takes that for safe.
    fn adopt(&self) -> Result<(), StoreError> {
        if self.options.read_only || self.options.durability != Durability::Full {
            return Ok(());
        }
        self.env.force_sync().map_err(|e| self.error(e, "syncing"))
    }

    /// Makes a new file and the way to it durable, then says so by removing the marker.
    fn finish_creation(&self, folder: &Path) -> Result<(), StoreError> {
        self.file
            .sync_all()
            .map_err(|e| StoreError::io(&self.path, "syncing", e))?;
        sync_folder(folder)?;
        sync_way_to(folder)?;
        let marker = folder.join(CREATING_FILE);
        fs::remove_file(&marker).map_err(|e| StoreError::io(&marker, "removing", e))?;
        sync_folder(folder)
    }

    /// Our word for heed's error.
    pub(super) fn error(&self, error: heed::Error, doing: &'static str) -> StoreError {
        translate(error, doing, &self.path, &self.options)
    }
}

/// Databases on their way out of the transaction that opened them.
struct Opened<'t>(Vec<(String, Database<'t, Bytes, Bytes>)>);

impl OnCommit for Opened<'_> {
    type Committed = Vec<(String, Bytewise)>;

    fn on_commit(self, token: &CommitToken) -> Self::Committed {
        self.0
            .into_iter()
            .map(|(name, database)| (name, database.on_commit(token)))
            .collect()
    }
}

fn check_names(options: &EnvironmentOptions) -> Result<(), StoreError> {
    for name in &options.databases {
        if name.is_empty() || name.len() > KEY_BYTES_MAX || name.contains('\0') {
            return Err(StoreError::UnknownDatabase { name: name.clone() });
        }
    }
    Ok(())
}

/// Makes the folder and decides whether the data file is to be created: yes is `true`.
fn prepare_folder(
    folder: &Path,
    path: &Path,
    options: &EnvironmentOptions,
) -> Result<bool, StoreError> {
    if options.read_only {
        return Ok(false);
    }
    fs::create_dir_all(folder).map_err(|e| StoreError::io(folder, "creating", e))?;
    let marker = folder.join(CREATING_FILE);
    let interrupted = marker.exists();
    if interrupted && path.exists() {
        fs::remove_file(path).map_err(|e| StoreError::io(path, "removing", e))?;
    }
    if path.exists() {
        return Ok(false);
    }
    fs::File::create(&marker)
        .and_then(|file| file.sync_all())
        .map_err(|e| StoreError::io(&marker, "creating", e))?;
    sync_folder(folder)?;
    Ok(true)
}

#[expect(
    unsafe_code,
    reason = "heed marks opening as unsafe: the file must not change underneath"
)]
fn open_heed(
    folder: &Path,
    path: &Path,
    options: &EnvironmentOptions,
) -> Result<Env<WithoutTls>, StoreError> {
    let mut flags = EnvFlags::empty();
    if options.read_only {
        flags |= EnvFlags::READ_ONLY;
    }
    match options.durability {
        Durability::Full => {}
        Durability::NoMetaSync => flags |= EnvFlags::NO_META_SYNC,
        Durability::None => flags |= EnvFlags::NO_SYNC,
    }
    let mut open = heed::EnvOpenOptions::new().read_txn_without_tls();
    open.map_size(options.map_size())
        .max_readers(options.max_readers.max(1));
    open.max_dbs(u32::try_from(options.databases.len().max(1)).unwrap_or(u32::MAX));
    // SAFETY: no flag removes locking or writes through the map; READ_ONLY, NO_META_SYNC and NO_SYNC only
    // change what a commit does.
    unsafe { open.flags(flags) };
    // SAFETY: the map is read-only memory over a file that only LMDB changes: the folder lock keeps other
    // engines away, this module writes to the file beyond its last page only, and a file shorter than
    // its meta page says was refused before. A user who truncates the file meanwhile gets a SIGBUS.
    let opened = unsafe { open.open(folder) };
    opened.map_err(|error| translate(error, "opening", path, options))
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
