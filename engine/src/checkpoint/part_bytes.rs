//! Bytes of a part while they are on their way into storage: those of a large state are not in memory.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::CheckpointError;
use super::storage::CHUNK_BYTES;
use crate::spill::{PageOwner, SpillStore};
use crate::stage::still_working;

/// Rows that are kept in memory before they go to disk.
const ROWS_IN_MEMORY: usize = 4;

/// What an operator gave, in rows as they are stored.
#[derive(Clone, Default)]
pub struct PartBytes {
    /// Rows that lie on disk, the first ones, and how many.
    on_disk: Option<(Arc<PageOwner>, u32)>,
    rest: Vec<u8>,
}

impl PartBytes {
    /// Their length.
    pub fn len(&self) -> u64 {
        self.on_disk_rows() as u64 * CHUNK_BYTES as u64 + self.rest.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn on_disk_rows(&self) -> u32 {
        self.on_disk.as_ref().map_or(0, |(_, rows)| *rows)
    }

    /// How many rows they take.
    pub(super) fn rows(&self) -> u32 {
        u32::try_from(self.len().div_ceil(CHUNK_BYTES as u64)).unwrap_or(u32::MAX)
    }

    /// Rows in memory, with their numbers.
    pub(super) fn rows_in_memory(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (self.on_disk_rows()..).zip(self.rest.chunks(CHUNK_BYTES))
    }

    /// The rows on disk alone.
    pub(super) fn rows_on_disk(&self) -> Option<RowsOnDisk> {
        let (owner, rows) = self.on_disk.clone()?;
        Some(RowsOnDisk {
            owner,
            next: 0,
            rows,
        })
    }

    /// All of them.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`]: those on disk cannot be read.
    pub fn to_vec(&self) -> Result<Vec<u8>, CheckpointError> {
        let rows: Result<Vec<_>, _> = self.rows_on_disk().into_iter().flatten().collect();
        let mut bytes: Vec<u8> = rows?.into_iter().flat_map(|(_, row)| row).collect();
        bytes.extend_from_slice(&self.rest);
        Ok(bytes)
    }
}

impl From<Vec<u8>> for PartBytes {
    fn from(rest: Vec<u8>) -> Self {
        Self {
            on_disk: None,
            rest,
        }
    }
}

impl fmt::Debug for PartBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartBytes")
            .field("len", &self.len())
            .field("rows_on_disk", &self.on_disk_rows())
            .finish_non_exhaustive()
    }
}

/// Reads rows that lie on disk, with their numbers.
#[derive(Debug)]
pub(super) struct RowsOnDisk {
    owner: Arc<PageOwner>,
    next: u32,
    rows: u32,
}

impl RowsOnDisk {
    /// Whether all were read.
    pub(super) const fn is_done(&self) -> bool {
        self.next >= self.rows
    }
}

impl Iterator for RowsOnDisk {
    type Item = Result<(u32, Vec<u8>), CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done() {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let row = self.owner.read(number, <[u8]>::to_vec);
        let row = row.map_err(|error| CheckpointError::Storage(error.to_string()));
        Some(row.map(|row| (number, row)))
    }
}

/// Takes the bytes of a part.
pub(super) struct PartWriter<'a> {
    store: Option<&'a Arc<SpillStore>>,
    on_disk: Option<(PageOwner, u32)>,
    rest: Vec<u8>,
    /// When so many are there it says that it goes on.
    told_at: usize,
}

impl<'a> PartWriter<'a> {
    /// What is too much for memory goes to `store`, if there is one.
    pub(super) const fn new(store: Option<&'a Arc<SpillStore>>) -> Self {
        Self {
            store,
            on_disk: None,
            rest: Vec::new(),
            told_at: CHUNK_BYTES,
        }
    }

    /// What was taken.
    pub(super) fn finish(self) -> PartBytes {
        let on_disk = self.on_disk;
        PartBytes {
            on_disk: on_disk.map(|(owner, rows)| (Arc::new(owner), rows)),
            rest: self.rest,
        }
    }

    /// A row more is full: what is too much for memory goes to disk.
    #[cold]
    fn row_is_full(&mut self) -> io::Result<()> {
        // All of a large state is written in one turn.
        still_working();
        self.told_at = self.rest.len() + CHUNK_BYTES;
        match self.store {
            Some(store) if self.rest.len() >= ROWS_IN_MEMORY * CHUNK_BYTES => self.put(store),
            _ => Ok(()),
        }
    }

    /// Puts full rows on disk.
    fn put(&mut self, store: &Arc<SpillStore>) -> io::Result<()> {
        let (owner, rows) = self
            .on_disk
            .get_or_insert_with(|| (PageOwner::new(store), 0));
        let full = self.rest.len() / CHUNK_BYTES;
        let numbered = (*rows..).zip(self.rest.chunks_exact(CHUNK_BYTES));
        owner.write(numbered).map_err(io::Error::other)?;
        *rows += full as u32;
        self.rest.drain(..full * CHUNK_BYTES);
        self.told_at = CHUNK_BYTES;
        Ok(())
    }
}

impl io::Write for PartWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rest.extend_from_slice(bytes);
        if self.rest.len() >= self.told_at {
            self.row_is_full()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::spill::MemoryBudget;

    #[test]
    fn rows_on_disk_and_in_memory_make_the_part() {
        let folder = tempfile::tempdir().unwrap();
        let budget = Arc::new(MemoryBudget::new(1 << 20));
        let store = Arc::new(SpillStore::create(folder.path(), budget).unwrap());
        let bytes: Vec<u8> = (0..CHUNK_BYTES * 9 + 17)
            .map(|at| (at % 251) as u8)
            .collect();
        let mut writer = PartWriter::new(Some(&store));
        bytes
            .chunks(1_000)
            .for_each(|some| writer.write_all(some).unwrap());
        let part = writer.finish();
        assert_eq!((part.len(), part.rows()), (bytes.len() as u64, 10));
        assert!(part.rest.len() < ROWS_IN_MEMORY * CHUNK_BYTES);
        assert_eq!(part.to_vec().unwrap(), bytes);
        let on_disk = part.rows_on_disk().unwrap().map(|row| row.unwrap().0);
        let rows: Vec<u32> = on_disk
            .chain(part.rows_in_memory().map(|row| row.0))
            .collect();
        assert_eq!(rows, (0..10).collect::<Vec<_>>());
    }
}
