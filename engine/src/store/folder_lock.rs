//! One process per data folder: an operating system lock on `engine.lock`.
//!
//! Invariants: the lock goes with the open file, so it ends with the process, also by `kill -9`; the
//! text in the file only says who holds it and is never trusted for more.
//! Not here: locks on network file systems, which may be local to each machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::StoreError;

const FILE_NAME: &str = "engine.lock";

/// The right to change a data folder, until dropped.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
    folder: PathBuf,
}

impl FolderLock {
    /// Takes the folder for this process, without waiting; the folder is created if missing.
    ///
    /// # Errors
    /// - [`StoreError::Held`]: another process (or this one, elsewhere) has it; says who.
    /// - [`StoreError::Io`]: the folder or the lock file cannot be made, locked or written.
    pub fn acquire(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(|e| StoreError::io(folder, "creating", e))?;
        let path = folder.join(FILE_NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| StoreError::io(&path, "opening", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(folder, &mut file)),
            Err(TryLockError::Error(e)) => return Err(StoreError::io(&path, "locking", e)),
        }
        describe(&mut file).map_err(|e| StoreError::io(&path, "writing", e))?;
        Ok(Self {
            file,
            folder: folder.to_path_buf(),
        })
    }

    /// Whether somebody has the folder, this process too. Whoever tries to take it at the same moment may fail.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the lock file cannot be opened or locked.
    pub fn is_held(folder: &Path) -> Result<bool, StoreError> {
        let path = folder.join(FILE_NAME);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(|e| StoreError::io(&path, "opening", e))?,
        };
        match file.try_lock_shared() {
            Ok(()) => {
                // Not by closing alone: a process that is just being started may have the open file as well.
                let _ = file.unlock();
                Ok(false)
            }
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(StoreError::io(&path, "locking", e)),
        }
    }

    /// The locked folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Emptied first, so that the next holder is never taken for this one. Closing would unlock too.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

/// Writes pid, start and command line, one a line.
fn describe(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    // The file's own time is the moment of this write: no clock is read here.
    let since = jiff::Timestamp::try_from(file.metadata()?.modified()?)
        .map(|time| time.to_string())
        .unwrap_or_default();
    let command: Vec<String> = std::env::args_os()
        .map(|part| part.to_string_lossy().replace('\n', " "))
        .collect();
    write!(file, "{since}\n{}\n", command.join(" "))?;
    file.flush()
}

fn held(folder: &Path, file: &mut File) -> StoreError {
    let mut text = String::new();
    // An unreadable text only makes the message poorer.
    let _ = file.take(64 << 10).read_to_string(&mut text);
    let mut lines = text.lines();
    let by = lines.next().and_then(|line| line.parse().ok()).unwrap_or(0);
    let since = lines.next().unwrap_or("an unknown time").to_owned();
    let command = lines.next().unwrap_or("unknown command").to_owned();
    StoreError::Held {
        folder: folder.to_path_buf(),
        by,
        command,
        since,
    }
}
