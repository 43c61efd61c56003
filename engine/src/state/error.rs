//! What can go wrong with derived state, and what to do about it.

use std::path::PathBuf;
use std::sync::Arc;

use super::layout;
use crate::store::StoreError;

/// Why the state gave no answer or took no write. Cloneable: one failed commit answers many callers.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The store below failed. For a write, nothing of it is visible.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// There is no state in this folder: nothing ran here yet, or it was deleted to be rebuilt.
    #[error("there is no state in {}", folder.display())]
    Missing {
        /// The folder that was to be read.
        folder: PathBuf,
    },
    /// The state was written by another version of this program: run that one, or delete the folder while nothing runs, which
    /// has it rebuilt from the log. Layout 2 is converted when an engine starts.
    #[error("the state has layout {found}, this program knows {known}: {}", way_on(*found))]
    Layout {
        /// Version in the store.
        found: u8,
        /// Version that this program reads and writes.
        known: u8,
    },
    /// A name cannot be stored: choose another one. Nothing was stored.
    #[error("{name:?} is not a name of a projection or table: {what}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The tables of a projection changed under the same version. Nothing was changed.
    #[error(
        "projection {projection} version {version} has the tables {stored:?}, {asked:?} were asked for: raise its version"
    )]
    Tables {
        /// Name of the projection.
        projection: String,
        /// Its version.
        version: u32,
        /// Tables as they are stored.
        stored: Vec<String>,
        /// Tables as they were asked for.
        asked: Vec<String>,
    },
    /// No projection of this name and version is registered.
    #[error("there is no projection {projection} version {version}")]
    UnknownProjection {
        /// Name that was asked for.
        projection: String,
        /// Version that was asked for.
        version: u32,
    },
    /// The table was dropped, or made anew, since it was found: what is left of its rows is being deleted. Open it again.
    #[error(
        "a table of version {version} of projection {projection} was dropped or made anew while it was read: open it again"
    )]
    Dropped {
        /// Name of the projection.
        projection: String,
        /// Its version.
        version: u32,
    },
    /// The version of a projection that is to be dropped answers queries: switch to another one first. Nothing was dropped.
    #[error(
        "version {version} of projection {projection} answers queries: switch to another one first"
    )]
    ActiveVersion {
        /// Name of the projection.
        projection: String,
        /// The version.
        version: u32,
    },
    /// All ids of projections or tables are used up. Delete the folder to rebuild the state.
    #[error("no more ids for projections or tables; delete the folder to rebuild it from the log")]
    IdsUsedUp,
    /// A row's key is too long. Nothing was stored: hash it.
    #[error("a row key of {length} bytes: at most {max} are possible, hash longer ones")]
    RowKey {
        /// Length of the key in bytes.
        length: usize,
        /// Longest possible.
        max: usize,
    },
    /// A value is too large to be stored. Nothing of its batch was.
    #[error("{what} of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A stored value is not what this program writes: reset its projection, or delete the state's folder
    /// while nothing runs; either is rebuilt from the log.
    #[error(
        "an entry of {database} is not readable (expected {what}): reset the projection or delete the state's folder, it is rebuilt from the log"
    )]
    Format {
        /// Database that holds it.
        database: &'static str,
        /// What was expected there.
        what: &'static str,
    },
    /// The queue of the writer is full: wait for it, or hand the pressure on.
    #[error("the state writer's queue is full: {batches} batches, {bytes} bytes on their way")]
    Full {
        /// Batches in the queue.
        batches: usize,
        /// Bytes from submission to answer, those being committed included.
        bytes: u64,
    },
    /// The writer was closed before it took the batch. Nothing was stored.
    #[error("the state writer is closed")]
    Closed,
    /// An earlier commit failed, and after that nothing is written by this process: restart it.
    #[error("the state writer stopped: {cause}; start the process again once that is mended")]
    Stopped {
        /// The first failure.
        cause: Arc<StateError>,
    },
    /// The writer's thread panicked, as in what it called to answer a batch: a bug. What was committed is there.
    #[error("the state writer panicked")]
    Panicked,
    /// The operating system gave no thread for the writer.
    #[error("starting the state writer failed: {source}")]
    Thread {
        /// Its answer.
        source: Arc<std::io::Error>,
    },
}

/// What to do about a layout that is not ours.
fn way_on(found: u8) -> &'static str {
    if found == layout::UNSEALED {
        "start the engine, which converts it"
    } else {
        "run the version of the program that wrote it, or delete the folder while nothing runs to rebuild it from the log"
    }
}

impl StateError {
    /// Whether what is stored is broken, an entry or the file below, as opposed to the call or the machine.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Format { .. } => true,
            Self::Store(cause) => cause.is_damage(),
            _ => false,
        }
    }

    /// Whether the same call may succeed later in this process. No wildcard: each new variant must decide.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(cause) => cause.is_retryable(),
            Self::Full { .. } => true,
            Self::Missing { .. }
            | Self::Layout { .. }
            | Self::Name { .. }
            | Self::Tables { .. }
            | Self::UnknownProjection { .. }
            | Self::Dropped { .. }
            | Self::ActiveVersion { .. }
            | Self::IdsUsedUp
            | Self::RowKey { .. }
            | Self::TooLarge { .. }
            | Self::Format { .. }
            | Self::Closed
            | Self::Panicked
            | Self::Stopped { .. }
            | Self::Thread { .. } => false,
        }
    }
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}
