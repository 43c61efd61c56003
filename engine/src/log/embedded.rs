//! The log in LMDB: one database per partition, one value per frame under its first offset.
//!
//! Keys are big-endian offsets, so puts only append. Here: opening, and what both sides know of keys and of the
//! chain; `description` is what the log says of itself, `append` and `read` are the two sides, `upkeep` gives the indexes their turns, `verify` walks everything. Threads: [`EmbeddedStore`] belongs to
//! one, [`EmbeddedReader`] clones cheaply. Failure: see [`GroupWriter`](super::GroupWriter).

mod append;
mod description;
mod read;
#[cfg(test)]
mod tests;
mod upkeep;
mod verify;

use std::path::Path;
use std::sync::Arc;

use super::frame::FrameHeader;
use super::frame_cache::FrameCache;
use super::index_chunks::{self, INDEX};
use super::indexes::{Indexes, OwnIndex};
use super::{Head, LogError, LogReader};
use crate::event::{Offset, PartitionId, StoreId};
use crate::index::IndexConfig;
use crate::store::{Environment, EnvironmentOptions, FolderLock, SimulatedDisk, Table, Writer};

use description::{DESCRIPTION, described, described_partitions, partitions_in};
use upkeep::Upkeep;
pub use verify::Verified;

/// Address space of a log of which nothing else is said, in bytes: for its writer, and for those who read beside one.
pub const MAP_BYTES_DEFAULT: u64 = 1 << 40;

/// A log that was opened.
#[derive(Debug)]
pub struct EmbeddedLog {
    /// Its write side.
    pub store: EmbeddedStore,
    /// Its read side.
    pub reader: EmbeddedReader,
}

/// The write side. Holds the folder's lock: no second process opens the log while it lives.
#[derive(Debug)]
pub struct EmbeddedStore {
    writer: Writer,
    tables: Vec<Table>,
    heads: Vec<Head>,
    index_table: Table,
    indexes: Arc<Vec<OwnIndex>>,
    upkeep: Upkeep,
    _lock: Option<FolderLock>,
}

/// The read side.
#[derive(Clone, Debug)]
pub struct EmbeddedReader {
    pub(super) environment: Environment,
    tables: Vec<Table>,
    indexes: Indexes,
    cache: Arc<FrameCache>,
    id: Option<StoreId>,
}

impl EmbeddedLog {
    /// Opens or creates the log in `folder`. `options.databases` is filled in here.
    ///
    /// # Errors
    /// [`LogError::Partitions`] when it was created with another number, [`LogError::Description`] when what it says of itself does
    /// not fit what is there: it is as it was; [`LogError::Store`] when the folder is held
    /// by another process or the files are damaged; [`LogError::Frame`] when a partition's last frame is.
    pub fn open(
        folder: &Path,
        partitions: u16,
        options: EnvironmentOptions,
    ) -> Result<Self, LogError> {
        Self::open_as_stored(folder, Some(partitions), partitions, options)
    }

    /// The same with `asked` partitions; where nothing is asked, with as many as it was created with, and a new one with
    /// `partitions_new`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_as_stored(
        folder: &Path,
        asked: Option<u16>,
        partitions_new: u16,
        mut options: EnvironmentOptions,
    ) -> Result<Self, LogError> {
        let lock = FolderLock::acquire(folder)?;
        // Before it is opened for writing, which makes the databases of all partitions.
        let stored = partitions_in(folder)?;
        let partitions = asked.or(stored).unwrap_or(partitions_new);
        if partitions == 0 || stored.is_some_and(|stored| stored != partitions) {
            return Err(LogError::Partitions {
                stored: stored.unwrap_or(1),
                asked: partitions,
            });
        }
        options.databases = databases(partitions);
        let environment = Environment::open(folder, options)?;
        Self::of(environment, partitions, Some(lock), &index_chunks::config())
    }

    /// The same on a simulated disk, at least one partition.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_simulated(disk: &SimulatedDisk, partitions: u16) -> Result<Self, LogError> {
        let options = EnvironmentOptions {
            databases: databases(partitions),
            ..EnvironmentOptions::default()
        };
        // What a simulation appends is to come to the index's runs.
        let index = IndexConfig {
            tail_entries_max: 16,
            ..IndexConfig::default()
        };
        let environment = Environment::simulated(disk, &options);
        Self::of(environment, partitions, None, &index)
    }

    fn of(
        environment: Environment,
        partitions: u16,
        lock: Option<FolderLock>,
        index: &IndexConfig,
    ) -> Result<Self, LogError> {
        let description = environment.table(DESCRIPTION)?;
        let (stored, id) = environment.read(|reader| described(reader, description))??;
        let mut writer = environment.writer()?;
        match stored {
            Some(bytes) => {
                let stored = described_partitions(&bytes)?;
                if stored != partitions {
                    return Err(LogError::Partitions {
                        stored,
                        asked: partitions,
                    });
                }
            }
            None => {
                let mut txn = writer.begin()?;
                description::put_partitions(&mut txn, description, partitions)?;
                txn.commit()?;
            }
        }
        let id = match id {
            Some(id) => id,
            None => description::named(&mut writer, description)?,
        };
        let tables: Vec<Table> = (0..partitions)
            .map(|p| environment.table(&partition_name(p)))
            .collect::<Result<_, _>>()?;
        let index_table = environment.table(INDEX)?;
        let mut reader = EmbeddedReader::without_indexes(environment.clone(), tables.clone());
        let indexes =
            index_chunks::open_all(&reader, &environment, index_table, &mut writer, index)?;
        let indexes = Arc::new(indexes);
        reader.indexes = Indexes::Own(Arc::clone(&indexes));
        reader.id = Some(id);
        let heads = (0..partitions)
            .map(|p| reader.head(PartitionId(p)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            store: EmbeddedStore {
                writer,
                tables,
                heads,
                index_table,
                indexes,
                upkeep: Upkeep::new(partitions),
                _lock: lock,
            },
            reader,
        })
    }
}

/// Names of all databases.
fn databases(partitions: u16) -> Vec<String> {
    let of_partitions = (0..partitions).map(partition_name);
    let others = [DESCRIPTION, INDEX].map(str::to_owned);
    of_partitions.chain(others).collect()
}

fn partition_name(partition: u16) -> String {
    format!("p{partition}")
}

fn follows(partition: PartitionId, head: &Head, header: &FrameHeader) -> Result<(), LogError> {
    let fault = |what| LogError::Chain {
        partition,
        expected: head.next,
        found: header.first,
        what,
    };
    if header.partition != partition {
        return Err(fault("it is a frame of another partition"));
    }
    if header.first != head.next {
        return Err(fault("it does not begin where the one before ends"));
    }
    if header.previous != head.hash {
        return Err(fault("it names another frame as the one before"));
    }
    Ok(())
}

pub(super) fn damaged(
    partition: PartitionId,
    offset: Offset,
    cause: super::frame::FrameError,
) -> LogError {
    LogError::Frame {
        partition,
        offset,
        cause,
    }
}

pub(super) fn offset_of(partition: PartitionId, key: &[u8]) -> Result<Offset, LogError> {
    let bytes: [u8; 8] = key.try_into().map_err(|_| LogError::Description {
        what: format!("partition {partition} has a key of {} bytes", key.len()),
    })?;
    Ok(Offset(u64::from_be_bytes(bytes)))
}

/// A frame lies under its own first offset.
fn same_place(partition: PartitionId, key: Offset, header: &FrameHeader) -> Result<(), LogError> {
    if header.first == key && header.partition == partition {
        return Ok(());
    }
    let what = "it lies under another offset or in another partition than it names";
    Err(LogError::Chain {
        partition,
        expected: key,
        found: header.first,
        what,
    })
}
