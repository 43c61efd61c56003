//! What can go wrong in the store, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the store did not do what was asked. Cloneable, since one failed commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds the folder. Nothing was touched: stop that process or use another folder.
    #[error(
        "{} is held by process {by} ({command}), running since {since}: stop it, or use another folder",
        folder.display()
    )]
    Held {
        /// The data folder.
        folder: PathBuf,
        /// Process id of the holder; 0 when the lock file does not say.
        by: u32,
        /// Command line of the holder.
        command: String,
        /// When the holder took the folder, as RFC 3339 in UTC.
        since: String,
    },
    /// The environment is open in this process already. Share that one: it clones cheaply.
    #[error("{} is open in this process already: share that environment", folder.display())]
    AlreadyOpen {
        /// The environment's folder.
        folder: PathBuf,
    },
    /// The file is shorter than its own meta page says. Nothing was touched: restore it from a backup.
    #[error(
        "{} is truncated: {have} bytes, its meta page needs {need}; restore it from a backup",
        file.display()
    )]
    Truncated {
        /// The data file.
        file: PathBuf,
        /// Its length in bytes.
        have: u64,
        /// The length in bytes that its meta page asks for.
        need: u64,
    },
    /// A page of the file contradicts itself or another one. Nothing was changed: restore from a backup.
    #[error("{} is damaged at page {page}: {what}; restore it from a backup", file.display())]
    Damaged {
        /// The data file.
        file: PathBuf,
        /// The page, counted from 0.
        page: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The disk cannot take the next pages. What was acknowledged is kept: free space, start again.
    #[error("no space for {}; free some, then start again", wanted(file, *needed))]
    DiskFull {
        /// The data file.
        file: PathBuf,
        /// Bytes that were asked of the file system; 0 where it was met inside a commit.
        needed: u64,
    },
    /// The reserved address space is used up. Open again with a larger `map_bytes_max`.
    #[error("the map of {max_bytes} bytes is full: open again with a larger map_bytes_max")]
    MapFull {
        /// The environment's `map_bytes_max`.
        max_bytes: u64,
    },
    /// An earlier failure stopped the writer. Nothing of this call was stored: open again in a new process.
    #[error("the writer stopped: {cause}")]
    Stopped {
        /// The first failure.
        cause: Arc<StoreError>,
    },
    /// A file could not be read, written or synced.
    #[error("{doing} {} failed: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The operating system's answer.
        source: Arc<io::Error>,
    },
    /// A key is empty or longer than [`KEY_BYTES_MAX`](super::KEY_BYTES_MAX). Nothing was stored.
    #[error("a key of {length} bytes: 1 to 511 are possible, hash longer ones")]
    KeyLength {
        /// Length of the key in bytes.
        length: usize,
    },
    /// `put_append` got a key that is not above the last one. Nothing was stored.
    #[error("an appended key is not above the last key of the table")]
    KeyOrder,
    /// No database of this name in the environment.
    #[error("no database named {name:?} in this environment")]
    UnknownDatabase {
        /// The name that was asked for.
        name: String,
    },
    /// The environment was opened read-only.
    #[error("the environment was opened read-only")]
    ReadOnly,
    /// A second writer was asked for while the first one lives.
    #[error("the environment has a writer already")]
    WriterTaken,
    /// Every reader slot is in use. Retry, or open with more `max_readers`; slots leak only with threads.
    #[error("all {max_readers} reader slots are in use: shorten reads or raise max_readers")]
    ReadersFull {
        /// The environment's `max_readers`.
        max_readers: u32,
    },
    /// The state writer was shut down before it took the batch.
    #[error("the state writer is closed")]
    Closed,
    /// LMDB gave an answer that none of the above names. For a write, nothing was stored.
    #[error("LMDB, {doing} {}: {code}", file.display())]
    Lmdb {
        /// The environment's folder or data file.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// LMDB's own words.
        code: String,
    },
}

/// What a full disk had no space for.
fn wanted(file: &Path, needed: u64) -> String {
    let file = file.display();
    match needed {
        0 => format!("pages of {file}"),
        needed => format!("{needed} more bytes of {file}"),
    }
}

impl StoreError {
    /// Whether the same call may succeed later on the same environment.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::ReadersFull { .. } | Self::Held { .. } => true,
            Self::AlreadyOpen { .. }
            | Self::Truncated { .. }
            | Self::Damaged { .. }
            | Self::DiskFull { .. }
            | Self::MapFull { .. }
            | Self::Stopped { .. }
            | Self::Io { .. }
            | Self::KeyLength { .. }
            | Self::KeyOrder
            | Self::UnknownDatabase { .. }
            | Self::ReadOnly
            | Self::WriterTaken
            | Self::Closed
            | Self::Lmdb { .. } => false,
        }
    }

    /// Whether the file itself is broken (damaged or truncated), as opposed to the call or the machine.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Truncated { .. } => true,
            Self::Stopped { cause } => cause.is_damage(),
            _ => false,
        }
    }

    pub(crate) fn io(file: &Path, doing: &'static str, source: io::Error) -> Self {
        Self::Io {
            file: file.to_path_buf(),
            doing,
            source: Arc::new(source),
        }
    }

    pub(super) fn damaged(file: &Path, page: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            file: file.to_path_buf(),
            page,
            what: what.into(),
        }
    }

    /// Whether the writer must stop for good: anything but a refused argument.
    pub(super) fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::KeyLength { .. }
                | Self::KeyOrder
                | Self::UnknownDatabase { .. }
                | Self::ReadersFull { .. }
        )
    }
}
