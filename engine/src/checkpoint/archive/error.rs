//! Why a checkpoint does not become a file, or a file no checkpoint.

use std::path::PathBuf;

use super::FORMAT;
use crate::checkpoint::CheckpointError;

/// A checkpoint cannot be written to a file, or read from one. Nothing is left behind but a file without its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It is something else.
    #[error("{} is no exported checkpoint", path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program wrote it: use that one.
    #[error("{} has format {found}, this program knows {FORMAT}: use the version that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u8,
    },
    /// It ends too early: copy it again.
    #[error("{} is cut off after {bytes} bytes: copy it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How much there is.
        bytes: u64,
    },
    /// It was changed: copy it again.
    #[error("{} is damaged: {what}; copy it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// There is something already: choose another name.
    #[error("{} is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What the file system says.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        cause: String,
    },
    /// The checkpoint cannot be read, or stored.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}
