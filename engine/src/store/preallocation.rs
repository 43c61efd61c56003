//! Growing the data file ahead of its use.
//!
//! Invariants: the file is longer than what the next commit is expected to write, and its length is
//! durable, before LMDB writes there: a file that grows together with `fdatasync` has lost its length on
//! some file systems, and a full disk is met here, before a commit, rather than inside one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;

use super::StoreError;

/// Largest step, in bytes.
const STEP_BYTES_MAX: u64 = 1 << 30;
/// Steps are multiples of this.
const GRAIN_BYTES: u64 = 64 << 10;

/// How far the file is allocated. Owned by the writer.
#[derive(Debug)]
pub(super) struct Preallocation {
    /// Length of the file in bytes.
    allocated: u64,
    step: u64,
    limit: u64,
}

impl Preallocation {
    pub(super) fn new(file: &File, path: &Path, step: u64, limit: u64) -> Result<Self, StoreError> {
        let allocated = file
            .metadata()
            .map_err(|e| StoreError::io(path, "reading", e))?
            .len();
        Ok(Self {
            allocated,
            step: step.min(STEP_BYTES_MAX),
            limit,
        })
    }

    /// Makes the file at least `needed` bytes long, and by a step longer when it must grow at all.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`]: not even `needed` bytes fit. [`StoreError::Io`].
    pub(super) fn reach(
        &mut self,
        file: &File,
        path: &Path,
        needed: u64,
    ) -> Result<(), StoreError> {
        // Beyond the map LMDB itself refuses, with the better error.
        let needed = needed.min(self.limit);
        if self.step == 0 || needed <= self.allocated {
            return Ok(());
        }
        // LMDB may have grown the file itself: never shorten it below what it is now.
        self.allocated = file
            .metadata()
            .map_err(|e| StoreError::io(path, "reading", e))?
            .len();
        if needed <= self.allocated {
            return Ok(());
        }
        let mut step = (self.allocated / 8).clamp(self.step, STEP_BYTES_MAX);
        loop {
            let wanted = (needed + step)
                .next_multiple_of(GRAIN_BYTES)
                .min(self.limit);
            match extend(file, self.allocated, wanted) {
                Ok(()) => {
                    file.sync_all()
                        .map_err(|e| StoreError::io(path, "syncing", e))?;
                    self.allocated = wanted;
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::StorageFull && step > 0 => {
                    // Give back what a failed attempt may have taken, then ask for less.
                    let _ = file.set_len(self.allocated);
                    step = if step <= GRAIN_BYTES { 0 } else { step / 4 };
                }
                Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                    let _ = file.set_len(self.allocated);
                    let needed = needed - self.allocated;
                    return Err(StoreError::DiskFull {
                        file: path.to_path_buf(),
                        needed,
                    });
                }
                Err(e) => return Err(StoreError::io(path, "growing", e)),
            }
        }
    }
}

/// Gives LMDB's lock file real blocks before LMDB maps it.
///
/// LMDB makes it sparse and writes to readers' slots through the map: on a full disk the first reader that
/// needs a new page of it would be a SIGBUS. Its length stays LMDB's own affair, which derives the number of
/// slots from it.
///
/// # Errors
/// [`StoreError::DiskFull`]; [`StoreError::Io`] when the file cannot be made (ignored if `read_only`: LMDB then
/// reads without it).
pub(super) fn reserve_lock_file(
    path: &Path,
    max_readers: u32,
    read_only: bool,
) -> Result<(), StoreError> {
    // A slot is a cache line, the head some hundred bytes.
    let bytes = u64::from(max_readers) * 64 + 4_096;
    let mut open = OpenOptions::new();
    let file = match open
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
    {
        Ok(file) => file,
        Err(_) if read_only => return Ok(()),
        Err(e) => return Err(StoreError::io(path, "opening", e)),
    };
    match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(rustix::io::Errno::NOSPC) => Err(StoreError::DiskFull {
            file: path.to_path_buf(),
            needed: bytes,
        }),
        Err(e) => Err(StoreError::io(path, "reserving", e.into())),
    }
}

/// Lengthens the file with real blocks, where the file system can; by writing zeros where not.
fn extend(file: &File, from: u64, to: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), from, to - from) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, from, to),
        Err(e) => Err(e.into()),
    }
}

/// Writes zeros over `from..to`.
fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0; GRAIN_BYTES as usize];
    let mut at = from;
    while at < to {
        let bytes = (to - at).min(GRAIN_BYTES) as usize;
        file.write_all_at(&zeros[..bytes], at)?;
        at += bytes as u64;
    }
    Ok(())
}
