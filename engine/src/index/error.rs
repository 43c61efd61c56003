//! Why the stream index could not answer or go on.

use super::chunk::ChunkKey;

/// A failure of the stream index. No variant changes what is stored or what is visible: the index
/// holds nothing that the log does not, so deleting its chunks and feeding it again always heals it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The bytes of a chunk are not what was written. Rebuild the index from the log.
    #[error("{key} is corrupt: {problem}")]
    Corrupt {
        /// The chunk, with the number of its run.
        key: ChunkKey,
        /// What did not hold.
        problem: &'static str,
    },
    /// A run that is in use names a chunk which the store does not have. Rebuild the index.
    #[error("{key} is missing")]
    Missing {
        /// The chunk, with the number of its run.
        key: ChunkKey,
    },
    /// The chunk was written in a format that this release does not know. Use a newer release.
    #[error("{key} has format version {found}, this release reads up to {known}")]
    UnknownFormat {
        /// The chunk, with the number of its run.
        key: ChunkKey,
        /// The version byte found.
        found: u8,
        /// The newest version that can be read.
        known: u8,
    },
    /// The store could not be read. The same call may succeed later.
    #[error("{key} could not be read")]
    Store {
        /// The chunk, with the number of its run.
        key: ChunkKey,
        /// What the store said.
        source: std::io::Error,
    },
    /// Of one stream the index left out events, or gave some twice. Rebuild the index from the log.
    #[error(
        "the index goes on with version {found} of stream {hash:016x}, where {expected} follows"
    )]
    Versions {
        /// Hash of the stream's id.
        hash: u64,
        /// The version that follows the one before.
        expected: u64,
        /// The version of the event that was given.
        found: u64,
    },
    /// A value of the configuration is outside its range.
    #[error("index config: {field} is {value}, allowed are {allowed}")]
    Config {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Its range.
        allowed: &'static str,
    },
    /// The slice handed out last was neither reported as durable nor lost with the process. Call
    /// [`applied`](super::StreamIndex::applied) after its commit; after a failed one, open anew.
    #[error("the last maintenance slice has not been applied")]
    SliceOutstanding,
}

impl IndexError {
    /// Whether the same call may succeed later. No wildcard: each new variant must decide.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.kind() != std::io::ErrorKind::InvalidData,
            Self::Corrupt { .. }
            | Self::Missing { .. }
            | Self::UnknownFormat { .. }
            | Self::Versions { .. }
            | Self::Config { .. }
            | Self::SliceOutstanding => false,
        }
    }

    /// Whether what is stored is at fault, so that the index has to be made anew. No wildcard either.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. }
            | Self::Missing { .. }
            | Self::UnknownFormat { .. }
            | Self::Versions { .. } => true,
            Self::Store { .. } | Self::Config { .. } | Self::SliceOutstanding => false,
        }
    }
}
