//! A disk for simulations: the file of one environment in memory, which loses what a power failure may lose.
//!
//! Place: in the stead of LMDB below [`Environment`](super::Environment), so that log and state run on it as they are.
//! Which images a failure may leave, as LMDB writes: a commit first syncs its data pages, which syncs the meta page of the
//! commit before as well, and then writes its own meta page. A transaction is therefore there as a whole or not at all, and
//! never without those before it: an image is a prefix of the transactions. With
//! [`Durability::Full`](super::Durability::Full) the meta page is synced too, so each that was committed is in it; with
//! [`Durability::NoMetaSync`](super::Durability::NoMetaSync) the last ones since the last sync may be missing. LMDB itself
//! loses one of them at most; here it is any number, which is all that the state promises. A commit that failed may be
//! in the next image or not, whatever follows. Images of torn pages are not here: see the test of recorded disks,
//! `topologies/tests/promises/power_loss`.
//! Invariants: what readers of a process see is what was committed in it; after a crash its writers fail.
//! Threads: any. Cost: a commit copies the maps of the tables that it changes: for small content alone.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Durability, Environment, EnvironmentOptions, StoreError};

/// One table.
pub(super) type Content = BTreeMap<Arc<[u8]>, Arc<[u8]>>;

/// All tables at one moment.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub(super) tables: Vec<Arc<Content>>,
    pub(super) number: u64,
    bytes: u64,
}

/// What goes wrong on a simulated disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A commit fails. Whether it is there after the next opening is not known to whoever made it.
    Commit {
        /// Whether it is.
        is_kept: bool,
    },
    /// A sync fails: nothing is known to be safe that was not before. On an environment of
    /// [`Durability::Full`](super::Durability::Full) this is a commit's.
    Sync,
}

#[derive(Default)]
struct Inner {
    names: Vec<String>,
    image: Arc<Image>,
    /// As it was before each transaction that a power failure may lose, the oldest first.
    unsynced: Vec<Arc<Image>>,
    /// Of a commit that failed.
    doubtful: Option<Arc<Image>>,
    /// The fault of an operation to come, and how many come before it.
    fault: Option<(u32, DiskFault)>,
    /// The most bytes of keys and values that there is room for.
    room: Option<u64>,
    /// Crashes so far.
    crashes: u64,
    faults_met: u64,
}

/// The disk under one environment. Clones share it.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    inner: Arc<Mutex<Inner>>,
}

impl SimulatedDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a commit or sync fail, after so many others that do not; in place of an earlier order.
    pub fn fail(&self, after: u32, fault: DiskFault) {
        self.lock().fault = Some((after, fault));
    }

    /// Has commits fail for want of room that would make the content larger than this; `None` for room without end.
    pub fn set_room(&self, bytes_max: Option<u64>) {
        self.lock().room = bytes_max;
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().image.bytes
    }

    /// Faults that something has met so far.
    #[must_use]
    pub fn faults_met(&self) -> u64 {
        self.lock().faults_met
    }

    /// Transactions that a power failure may lose.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// The process is gone: its writers fail from now on. With a power failure the last `lost` transactions since the
    /// last sync are gone too, or as many as there were. Faults that were not met are called off.
    pub fn crash(&self, lost: usize) {
        let mut inner = self.lock();
        inner.crashes += 1;
        inner.fault = None;
        if let Some(doubtful) = inner.doubtful.take() {
            let before = std::mem::replace(&mut inner.image, doubtful);
            inner.unsynced.push(before);
        }
        for _ in 0..lost {
            let Some(before) = inner.unsynced.pop() else {
                break;
            };
            inner.image = before;
        }
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("SimulatedDisk")
            .field("transaction", &inner.image.number)
            .field("unsynced", &inner.unsynced.len())
            .finish_non_exhaustive()
    }
}

/// An environment on a simulated disk, as one process has it open.
#[derive(Clone)]
pub(super) struct File {
    disk: SimulatedDisk,
    durability: Durability,
    /// Crashes before it was opened.
    opened: u64,
    /// Where it would lie.
    pub(super) path: PathBuf,
    pub(super) writer_taken: Arc<std::sync::atomic::AtomicBool>,
}

impl Environment {
    /// Opens the environment on a simulated disk, for one process: after a [crash](SimulatedDisk::crash) it is opened
    /// again. As with a file, what is read of one of [`Durability::Full`] is durable: it is synced here.
    #[must_use]
    pub fn simulated(disk: &SimulatedDisk, options: &EnvironmentOptions) -> Self {
        let mut inner = disk.lock();
        let mut image = (*inner.image).clone();
        for name in &options.databases {
            if !inner.names.contains(name) {
                inner.names.push(name.clone());
                image.tables.push(Arc::default());
            }
        }
        // Making tables is not worth a failure of its own.
        for before in &mut inner.unsynced {
            let before = Arc::make_mut(before);
            before.tables.resize_with(image.tables.len(), Arc::default);
        }
        inner.image = Arc::new(image);
        if options.durability == Durability::Full {
            inner.unsynced.clear();
        }
        Self::of_file(File {
            disk: disk.clone(),
            durability: options.durability,
            opened: inner.crashes,
            path: PathBuf::from("simulated"),
            writer_taken: Arc::default(),
        })
    }
}

impl File {
    pub(super) fn image(&self) -> Arc<Image> {
        Arc::clone(&self.disk.lock().image)
    }

    pub(super) fn table(&self, name: &str) -> Option<usize> {
        self.disk
            .lock()
            .names
            .iter()
            .position(|known| known == name)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    fn failed(&self, doing: &'static str) -> StoreError {
        let source = std::io::Error::other("the simulated disk fails");
        StoreError::io(&self.path, doing, source)
    }

    /// Whether this process is there no longer.
    fn is_of_the_dead(&self, inner: &Inner) -> bool {
        inner.crashes != self.opened
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let mut inner = self.disk.lock();
        let fails = inner.meets().is_some();
        if fails || self.is_of_the_dead(&inner) {
            return Err(self.failed("syncing"));
        }
        inner.unsynced.clear();
        Ok(())
    }

    pub(super) fn commit(&self, image: Image) -> Result<(), StoreError> {
        let mut inner = self.disk.lock();
        if self.is_of_the_dead(&inner) {
            return Err(self.failed("committing to"));
        }
        if inner.room.is_some_and(|room| image.bytes > room) {
            inner.faults_met += 1;
            let (file, needed) = (self.path.clone(), image.bytes);
            return Err(StoreError::DiskFull { file, needed });
        }
        let number = inner.image.number + 1;
        let image = Arc::new(Image { number, ..image });
        if let Some(fault) = inner.meets() {
            let is_kept = fault == DiskFault::Commit { is_kept: true };
            inner.doubtful = is_kept.then_some(image);
            return Err(self.failed("committing to"));
        }
        let before = std::mem::replace(&mut inner.image, image);
        match self.durability {
            Durability::Full => inner.unsynced.clear(),
            Durability::NoMetaSync | Durability::None => inner.unsynced.push(before),
        }
        Ok(())
    }
}

impl Inner {
    /// The fault that is this operation's.
    fn meets(&mut self) -> Option<DiskFault> {
        match &mut self.fault {
            None => None,
            Some((0, fault)) => {
                let fault = *fault;
                self.fault = None;
                self.faults_met += 1;
                Some(fault)
            }
            Some((after, _)) => {
                *after -= 1;
                None
            }
        }
    }
}

impl Image {
    pub(super) fn get(&self, table: usize, key: &[u8]) -> Option<&[u8]> {
        self.tables[table].get(key).map(|value| &**value)
    }

    pub(super) fn put(&mut self, table: usize, key: &[u8], value: &[u8]) {
        let content = Arc::make_mut(&mut self.tables[table]);
        let before = content.insert(key.into(), value.into());
        self.bytes += (key.len() + value.len()) as u64;
        self.bytes -= before.map_or(0, |before| (key.len() + before.len()) as u64);
    }

    pub(super) fn delete(&mut self, table: usize, key: &[u8]) -> bool {
        let content = Arc::make_mut(&mut self.tables[table]);
        let before = content.remove(key);
        let bytes = |before: &Arc<[u8]>| (key.len() + before.len()) as u64;
        self.bytes -= before.as_ref().map_or(0, bytes);
        before.is_some()
    }

    pub(super) fn last(&self, table: usize) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.tables[table].last_key_value()?;
        Some((&**key, &**value))
    }

    pub(super) fn range(&self, table: usize, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Range<'_> {
        self.tables[table].range::<[u8], _>(bounds)
    }
}

/// Entries in the order of their keys.
pub(super) type Range<'t> = std::collections::btree_map::Range<'t, Arc<[u8]>, Arc<[u8]>>;
