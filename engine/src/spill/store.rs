//! Pages on disk.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::MemoryBudget;
use crate::store::{Durability, Environment, EnvironmentOptions, StoreError, Table, Writer};

const PAGES: &str = "pages";
/// Pages that nobody wants any more and that are removed with each write, for each one that is written.
const FORGOTTEN_PER_PAGE: usize = 2;
const CHECKSUM_BYTES: usize = 4;

/// A page cannot be written or read back.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpillError {
    /// The store failed.
    #[error(
        "state that is larger than its memory cannot be kept on disk: {0}. Give it room there, or more memory with \
         TopologyBuilder::state_memory"
    )]
    Store(#[from] StoreError),
    /// The pages of this dataflow take as much of the disk as they may. Nothing was written.
    #[error(
        "state that is larger than its memory finds no room: its pages take {used} bytes on disk, of {max} that they may. \
         Give it more with TopologyBuilder::state_disk, or more memory with TopologyBuilder::state_memory"
    )]
    Room {
        /// Bytes that they take.
        used: u64,
        /// Bytes that they may take.
        max: u64,
    },
    /// A page is not what was written.
    #[error("state on disk is damaged: page {page} of owner {owner} {what}")]
    Damaged {
        /// Whose page.
        owner: u64,
        /// Which.
        page: u32,
        /// What was found.
        what: &'static str,
    },
}

/// Where pages are kept. Its folder goes with it.
pub struct SpillStore {
    budget: Arc<MemoryBudget>,
    environment: Environment,
    pages: Table,
    writing: Mutex<Writing>,
    owners: AtomicU64,
    folder: PathBuf,
}

struct Writing {
    writer: Writer,
    forgotten: Vec<(u64, Range<u32>)>,
}

impl SpillStore {
    /// Makes an empty store in `folder`, whose content is deleted.
    ///
    /// # Errors
    /// [`SpillError::Store`].
    pub fn create(folder: &Path, budget: Arc<MemoryBudget>) -> Result<Self, SpillError> {
        Self::create_with(folder, budget, EnvironmentOptions::default())
    }

    fn create_with(
        folder: &Path,
        budget: Arc<MemoryBudget>,
        options: EnvironmentOptions,
    ) -> Result<Self, SpillError> {
        if folder.exists() {
            let removed = std::fs::remove_dir_all(folder);
            removed.map_err(|error| StoreError::io(folder, "emptying", error))?;
        }
        let options = EnvironmentOptions {
            durability: Durability::None,
            databases: EnvironmentOptions::with_databases(&[PAGES]).databases,
            ..options
        };
        let environment = Environment::open(folder, options)?;
        Ok(Self {
            budget,
            pages: environment.table(PAGES)?,
            writing: Mutex::new(Writing {
                writer: environment.writer()?,
                forgotten: Vec::new(),
            }),
            environment,
            owners: AtomicU64::new(0),
            folder: folder.to_path_buf(),
        })
    }

    /// The memory of those that keep pages here.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// Bytes on disk that hold pages, or held some and are free.
    pub fn used_bytes(&self) -> u64 {
        self.environment.used_bytes()
    }

    /// Whole whatever panicked beside it: a transaction that was not committed is undone.
    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SpillStore {
    fn drop(&mut self) {
        // While it is mapped a file may lose its name; the next start deletes what cannot be deleted now.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One owner of pages, which are its own and go with it: not before, so one that has fewer than it once had keeps the rows
/// of its largest number of them.
pub struct PageOwner {
    store: Arc<SpillStore>,
    number: u64,
    /// Pages that may be stored.
    pages: u32,
}

impl PageOwner {
    /// One that has none yet.
    pub fn new(store: &Arc<SpillStore>) -> Self {
        Self {
            store: Arc::clone(store),
            number: store.owners.fetch_add(1, Ordering::Relaxed),
            pages: 0,
        }
    }

    /// Where they are kept.
    pub const fn store(&self) -> &Arc<SpillStore> {
        &self.store
    }

    fn key(&self, page: u32) -> [u8; 12] {
        key(self.number, page)
    }

    /// Writes pages, in place of what was written of them before: all or none.
    ///
    /// # Errors
    /// [`SpillError::Store`]: none is written, and none will be by anybody. [`SpillError::Room`]: none is written.
    pub fn write<'a>(
        &mut self,
        pages: impl IntoIterator<Item = (u32, &'a [u8])>,
    ) -> Result<(), SpillError> {
        let store = &*self.store;
        let (used, max) = (store.used_bytes(), store.budget.disk_bytes_max());
        if used >= max {
            return Err(SpillError::Room { used, max });
        }
        let mut writing = store.writing();
        let Writing { writer, forgotten } = &mut *writing;
        let mut transaction = writer.begin()?;
        let (mut written, mut row, mut last) = (0, Vec::new(), 0);
        for (page, bytes) in pages {
            row.clear();
            row.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
            row.extend_from_slice(bytes);
            transaction.put(store.pages, &self.key(page), &row)?;
            written += 1;
            last = last.max(page + 1);
        }
        let mut left = (written * FORGOTTEN_PER_PAGE).max(1);
        while left > 0
            && let Some((owner, range)) = forgotten.last_mut()
        {
            match range.next() {
                Some(page) => {
                    transaction.delete(store.pages, &key(*owner, page))?;
                    left -= 1;
                }
                None => drop(forgotten.pop()),
            }
        }
        transaction.commit()?;
        drop(writing);
        store.budget.count_written(written);
        self.pages = self.pages.max(last);
        Ok(())
    }

    /// Shows a page to `with`.
    ///
    /// # Errors
    /// [`SpillError`]: it cannot be read, or is not what was written.
    pub fn read<T>(&self, page: u32, with: impl FnOnce(&[u8]) -> T) -> Result<T, SpillError> {
        let damaged = |what| SpillError::Damaged {
            owner: self.number,
            page,
            what,
        };
        let store = &*self.store;
        store.budget.count_read();
        store.environment.read(|reader| {
            let row = reader.get(store.pages, &self.key(page))?;
            let row = row.ok_or_else(|| damaged("is missing"))?;
            let (checksum, bytes) = row
                .split_at_checked(CHECKSUM_BYTES)
                .ok_or_else(|| damaged("is too short"))?;
            if crc32c::crc32c(bytes).to_le_bytes() != checksum {
                return Err(damaged("has another checksum"));
            }
            Ok(with(bytes))
        })?
    }
}

impl Drop for PageOwner {
    fn drop(&mut self) {
        if self.pages > 0 {
            let pages = 0..self.pages;
            self.store.writing().forgotten.push((self.number, pages));
        }
    }
}

fn key(owner: u64, page: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&owner.to_be_bytes());
    key[8..].copy_from_slice(&page.to_be_bytes());
    key
}

impl fmt::Debug for SpillStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpillStore")
            .field("folder", &self.folder)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PageOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageOwner")
            .field("number", &self.number)
            .field("pages", &self.pages)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &Path) -> Arc<SpillStore> {
        let budget = Arc::new(MemoryBudget::new(1 << 20));
        Arc::new(SpillStore::create(folder, budget).unwrap())
    }

    #[test]
    fn owners_have_pages_of_their_own_until_they_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spill");
        let store = store(&path);
        let (mut one, mut other) = (PageOwner::new(&store), PageOwner::new(&store));
        one.write([(0, &b"one"[..]), (7, b"seven")]).unwrap();
        other.write([(0, &b"other"[..])]).unwrap();
        one.write([(0, &b"one again"[..])]).unwrap();
        assert_eq!(one.read(0, <[u8]>::to_vec).unwrap(), b"one again");
        assert_eq!(one.read(7, <[u8]>::to_vec).unwrap(), b"seven");
        assert_eq!(other.read(0, <[u8]>::to_vec).unwrap(), b"other");
        let missing = one.read(1, <[u8]>::len);
        assert!(matches!(missing, Err(SpillError::Damaged { page: 1, .. })));
        drop(one);
        for page in 1..20 {
            other.write([(page, &b"more"[..])]).unwrap();
        }
        let rows = store.environment.read(|reader| reader.len(store.pages));
        assert_eq!(
            rows.unwrap().unwrap(),
            20,
            "of the one that is gone none is left"
        );
        drop(other);
        drop(store);
        assert!(!path.exists());
    }

    #[test]
    fn what_an_earlier_process_left_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data.mdb"), b"torn").unwrap();
        let store = store(folder.path());
        let mut owner = PageOwner::new(&store);
        owner.write([(3, &b"three"[..])]).unwrap();
        assert_eq!(owner.read(3, <[u8]>::len).unwrap(), 5);
        assert_eq!(store.budget().traffic(), (1, 1));
    }

    /// Goal: where the disk, or the map, is full, the write says so and nothing of it is there; what was written before can
    /// still be read.
    #[test]
    fn a_full_map_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let options = EnvironmentOptions {
            map_bytes_max: 1 << 20,
            preallocate_step_bytes: 0,
            ..EnvironmentOptions::default()
        };
        let budget = Arc::new(MemoryBudget::new(1 << 20));
        let store = SpillStore::create_with(folder.path(), budget, options).unwrap();
        let store = Arc::new(store);
        let (mut owner, page) = (PageOwner::new(&store), vec![7; 100_000]);
        let mut written = 0;
        let error = loop {
            match owner.write([(written, &page[..])]) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!((2..11).contains(&written), "{written}");
        let full = SpillError::Store(StoreError::MapFull { max_bytes: 1 << 20 });
        assert_eq!(error.to_string(), full.to_string());
        assert!(error.to_string().contains("Give it room there"), "{error}");
        for number in 0..written {
            assert_eq!(owner.read(number, <[u8]>::to_vec).unwrap(), page);
        }
        assert!(owner.read(written, <[u8]>::len).is_err());
        assert!(
            owner.write([(0, &b"less"[..])]).is_err(),
            "the writer has stopped"
        );
    }

    #[test]
    fn no_more_of_the_disk_is_taken_than_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.budget().set_disk_bytes_max(200_000);
        let (mut owner, page) = (PageOwner::new(&store), vec![7; 50_000]);
        let (mut written, mut told) = (0, None);
        while told.is_none() && written < 100 {
            match owner.write([(written, &page[..])]) {
                Ok(()) => written += 1,
                Err(error) => told = Some(error),
            }
        }
        let room =
            |told| matches!(told, Some(SpillError::Room { max: 200_000, used }) if used < 400_000);
        assert!(room(told) && written > 1, "{written}");
        store.budget().set_disk_bytes_max(u64::MAX);
        owner.write([(written, &page[..])]).unwrap();
        assert_eq!(owner.read(written, <[u8]>::len).unwrap(), page.len());
    }

    #[test]
    fn a_page_that_is_not_what_was_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let mut owner = PageOwner::new(&store);
        owner.write([(0, &b"page"[..])]).unwrap();
        {
            let mut writing = store.writing();
            let mut transaction = writing.writer.begin().unwrap();
            let row = [0, 0, 0, 0, b'p', b'a', b'g', b'e'];
            transaction.put(store.pages, &owner.key(0), &row).unwrap();
            transaction.commit().unwrap();
        }
        let read = owner.read(0, <[u8]>::len);
        assert!(matches!(read, Err(SpillError::Damaged { .. })), "{read:?}");
    }
}
