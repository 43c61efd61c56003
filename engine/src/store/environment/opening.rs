//! Opening an environment.
//!
//! Invariants: the file passed [`meta`] before LMDB mapped it and
//! [`structure`](crate::store::structure) before LMDB followed a page number in it. A file whose creation was
//! interrupted is recognised by a marker beside it and made anew; nothing had been answered yet.
//! The only module with `unsafe`: heed's `open`.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use heed::types::Bytes;
use heed::{CommitOrAbort, CommitToken, Database, Env, EnvFlags, OnCommit, WithoutTls};

use super::{Bytewise, Environment, Kind, Shared, translate};
use crate::store::folders::{sync_folder, sync_way_to};
use crate::store::preallocation::reserve_lock_file;
use crate::store::structure::Scope;
use crate::store::{Durability, EnvironmentOptions, KEY_BYTES_MAX, StoreError, meta};

const DATA_FILE: &str = "data.mdb";
const LOCK_FILE: &str = "lock.mdb";
const CREATING_FILE: &str = "creating";

/// Held from the look whether an environment is open in this process until it is.
static OPENING: Mutex<()> = Mutex::new(());

impl Environment {
    /// Whether there is one in `folder` whose creation was not interrupted.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join(DATA_FILE).is_file() && !folder.join(CREATING_FILE).exists()
    }

    /// Has what is in `folder` taken for an environment whose creation was interrupted, so that the next opening for writing makes
    /// it anew. The caller holds the folder's lock and knows that nothing is stored there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn discard(folder: &Path) -> Result<(), StoreError> {
        mark_creating(folder)
    }

    /// Opens the environment in `folder`, creating folder, file and databases that are missing (unless
    /// read-only), after checking the file's meta pages, length and structure. What is read from one of
    /// [`Durability::Full`] that may be written is durable: it is synced here.
    ///
    /// The caller holds a [`FolderLock`](crate::store::FolderLock) unless it opens read-only. Cost: reads all
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
        // By the name that heed knows it by.
        let known = folder.canonicalize();
        let known = known.map_err(|e| StoreError::io(folder, "finding", e))?;
        if heed::env_closing_event(&known).is_none() {
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
            found: Vec::new(),
        };
        // Before anything is read: they may have taken all places.
        shared.clear_stale_readers()?;
        let scope = Scope::Quick {
            leaf_bytes_max: shared.options.check_bytes_max,
        };
        let report = shared.check(scope)?;
        shared.page_bytes = u64::from(report.page_bytes);
        shared.found = report.names;
        shared.open_databases()?;
        if is_new {
            shared.finish_creation(folder)?;
        } else {
            shared.adopt()?;
        }
        Ok(Self {
            kind: Kind::Lmdb(Arc::new(shared)),
        })
    }
}

impl Shared {
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
    mark_creating(folder)?;
    Ok(true)
}

fn mark_creating(folder: &Path) -> Result<(), StoreError> {
    let marker = folder.join(CREATING_FILE);
    fs::File::create(&marker)
        .and_then(|file| file.sync_all())
        .map_err(|e| StoreError::io(&marker, "creating", e))?;
    sync_folder(folder)
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
