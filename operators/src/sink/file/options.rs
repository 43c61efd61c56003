//! Where a file sink's files go, and when they are complete.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where files go and when they are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSinkOptions {
    /// Made if it is not there.
    pub folder: PathBuf,
    /// Beginning of the files' names; other sinks into the folder need another one.
    pub prefix: String,
    /// Rows per file. Default: any number.
    pub rows_max: u64,
    /// Bytes per file, about. Default 128 MiB.
    pub bytes_max: u64,
    /// Age of a file since its first row. Default: any.
    pub age_max: Option<Duration>,
}

impl FileSinkOptions {
    /// Files `prefix-…` in `folder`.
    pub fn new(folder: impl AsRef<Path>, prefix: &str) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
            prefix: prefix.to_owned(),
            rows_max: u64::MAX,
            bytes_max: 128 << 20,
            age_max: None,
        }
    }
}
