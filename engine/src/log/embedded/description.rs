//! What a log says of itself: how many partitions it has, and which store it is.
//!
//! Place: opening, for writing or beside the writer -> **`description`**. Invariants: (1) the number of partitions, which decides
//! where each stream is, has no checksum: it is believed only where the databases are those of so many partitions; (2) a
//! creation is taken for interrupted only if nothing at all is stored.
//! Failure: a [`LogError::Description`], before anything is written.

use std::path::Path;

use uuid::Uuid;

use super::{MAP_BYTES_DEFAULT, partition_name};
use crate::event::StoreId;
use crate::log::LogError;
use crate::store::{Environment, EnvironmentOptions, Reader, StoreError, Table, WriteTxn, Writer};

/// Name of the database.
pub(super) const DESCRIPTION: &str = "description";
const PARTITIONS_KEY: &[u8] = b"partitions";
/// Identity of the store, 16 bytes. Logs that were made before there was one get it when they are next opened.
pub(super) const STORE_KEY: &[u8] = b"store";
/// Version of the layout, then the number of partitions, big-endian.
const LAYOUT_VERSION: u8 = 1;

/// What was found in a folder.
struct Found {
    partitions: Option<Vec<u8>>,
    id: Option<StoreId>,
    /// Names of all databases, each with its entries.
    databases: Vec<(String, u64)>,
}

impl Found {
    /// Beside whoever writes it.
    fn read(folder: &Path) -> Result<Self, LogError> {
        let options = EnvironmentOptions {
            databases: vec![DESCRIPTION.to_owned()],
            read_only: true,
            map_bytes_max: MAP_BYTES_DEFAULT,
            ..EnvironmentOptions::default()
        };
        let environment = Environment::open(folder, options)?;
        let description = environment.table(DESCRIPTION)?;
        let (partitions, id) = environment.read(|reader| described(reader, description))??;
        Ok(Self {
            partitions,
            id,
            databases: environment.found().to_vec(),
        })
    }

    /// Whether nothing is stored.
    fn is_nothing(&self) -> bool {
        self.databases.iter().all(|(_, entries)| *entries == 0)
    }

    /// The number of partitions, if there are just as many.
    fn partitions(&self) -> Result<u16, LogError> {
        let said = self.partitions.as_deref().ok_or_else(|| {
            refused("it does not say how many partitions there are: restore a backup, if anything was stored")
        })?;
        let count = described_partitions(said)?;
        let names = self.databases.iter().map(|(name, _)| name.as_str());
        let is_partition = |name: &&str| {
            name.strip_prefix('p')
                .is_some_and(|number| number.parse::<u16>().is_ok())
        };
        let mut found: Vec<_> = names.filter(is_partition).collect();
        let mut wanted: Vec<_> = (0..count).map(partition_name).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        if found == wanted {
            return Ok(count);
        }
        Err(refused(format!(
            "it says {count} partitions, but there are databases of {}: restore a backup",
            found.len()
        )))
    }
}

fn refused(what: impl Into<String>) -> LogError {
    let what = what.into();
    LogError::Description { what }
}

/// Partitions of the log in `folder`; `None` when there is none yet. What is left of a creation that was interrupted is made anew
/// by the opening that follows, with as many as are wanted then.
pub(super) fn partitions_in(folder: &Path) -> Result<Option<u16>, LogError> {
    if !Environment::is_in(folder) {
        return Ok(None);
    }
    let found = Found::read(folder)?;
    if found.is_nothing() {
        Environment::discard(folder)?;
        return Ok(None);
    }
    found.partitions().map(Some)
}

/// What the description of the log in `folder` says, beside whoever writes it.
pub(super) fn described_in(folder: &Path) -> Result<(u16, Option<StoreId>), LogError> {
    let found = Found::read(folder)?;
    Ok((found.partitions()?, found.id))
}

/// What the description says of the partitions, and the store's identity.
pub(super) fn described(
    reader: &Reader<'_>,
    description: Table,
) -> Result<(Option<Vec<u8>>, Option<StoreId>), LogError> {
    let partitions = reader.get(description, PARTITIONS_KEY)?.map(<[u8]>::to_vec);
    let id = match reader.get(description, STORE_KEY)? {
        Some(bytes) => Some(Uuid::from_slice(bytes).map_err(|_| LogError::Description {
            what: format!("the store's id has {} bytes, not 16", bytes.len()),
        })?),
        None => None,
    };
    Ok((partitions, id.map(StoreId)))
}

/// Gives the store an identity.
pub(super) fn named(writer: &mut Writer, description: Table) -> Result<StoreId, LogError> {
    let id = Uuid::now_v7();
    let mut txn = writer.begin()?;
    txn.put(description, STORE_KEY, id.as_bytes())?;
    txn.commit()?;
    Ok(StoreId(id))
}

/// Says how many partitions there are.
pub(super) fn put_partitions(
    txn: &mut WriteTxn<'_>,
    description: Table,
    partitions: u16,
) -> Result<(), StoreError> {
    let [high, low] = partitions.to_be_bytes();
    txn.put(description, PARTITIONS_KEY, &[LAYOUT_VERSION, high, low])
}

/// The number of partitions in what is stored of it.
pub(super) fn described_partitions(bytes: &[u8]) -> Result<u16, LogError> {
    match *bytes {
        [LAYOUT_VERSION, high, low] => Ok(u16::from_be_bytes([high, low])),
        _ => Err(refused(format!(
            "{bytes:?} is not layout version {LAYOUT_VERSION}: use the release that wrote it, or restore a backup"
        ))),
    }
}
