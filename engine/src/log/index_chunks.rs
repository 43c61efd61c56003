//! Where the stream indexes lie: one database of the log's environment, a partition's chunks under its
//! number.
//!
//! Place: between [`StreamIndex`], which knows no database, and the log's store. The log's writer stores
//! slices of index upkeep in the transactions that store frames, so the hot path pays no commit for it.
//! Failure: an index that is damaged is emptied and fed again from the frames when the log is next opened for writing,
//! whoever met the damage (see [`Damage`]); nothing is lost but time. Until then streams whose chunk it is cannot be read.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use super::index_damage::Damage;
use super::indexes::{OwnIndex, failed};
use super::{EmbeddedReader, LogError, LogReader};
use crate::event::{Offset, PartitionId, stream_hash};
use crate::index::{
    self, ChunkKey, IndexConfig, IndexEntry, IndexError, IndexWrite, RunStore, StreamIndex, emptied,
};
use crate::store::{Environment, StoreError, Table, WriteTxn, Writer};

/// Name of the database.
pub(super) const INDEX: &str = "index";
/// Bytes of frames that are read at a time to feed an index.
const FEED_BYTES: usize = 4 << 20;
/// Bytes of one slice of upkeep while an index is fed.
const SLICE_BYTES: usize = 1 << 20;
/// Chunks deleted per transaction when an index is made anew.
const DELETED_MAX: usize = 1_024;

/// Chunks of one partition's index.
struct IndexChunks {
    environment: Environment,
    table: Table,
    partition: PartitionId,
}

fn key(partition: PartitionId, chunk: ChunkKey) -> [u8; 2 + ChunkKey::BYTES] {
    let mut bytes = [0; 2 + ChunkKey::BYTES];
    bytes[..2].copy_from_slice(&partition.0.to_be_bytes());
    bytes[2..].copy_from_slice(&chunk.to_bytes());
    bytes
}

impl RunStore for IndexChunks {
    fn read(&self, chunk: ChunkKey) -> Result<Option<Vec<u8>>, IndexError> {
        let failed = |error| not_read(chunk, error);
        let key = key(self.partition, chunk);
        self.environment
            .read(|reader| Ok(reader.get(self.table, &key)?.map(<[u8]>::to_vec)))
            .and_then(|found| found)
            .map_err(failed)
    }
}

/// A chunk could not be read: for now, or for good where the log's own pages are damaged, which no index made anew mends.
fn not_read(key: ChunkKey, error: StoreError) -> IndexError {
    let kind = if error.is_damage() {
        io::ErrorKind::InvalidData
    } else {
        io::ErrorKind::Other
    };
    let source = io::Error::new(kind, error);
    IndexError::Store { key, source }
}

/// Limits of the index.
pub(super) fn config() -> IndexConfig {
    #[cfg_attr(
        not(feature = "failpoints"),
        expect(unused_mut, reason = "nothing is changed")
    )]
    let mut config = IndexConfig::default();
    // A test comes to the steps of a flush with what a test appends.
    #[cfg(feature = "failpoints")]
    {
        config.tail_entries_max = 16;
    }
    config
}

/// Opens the index of a partition as it was stored.
fn open(
    environment: &Environment,
    table: Table,
    partition: PartitionId,
    config: IndexConfig,
) -> Result<StreamIndex, IndexError> {
    StreamIndex::open(Arc::new(chunks(environment, table, partition)), config)
}

fn chunks(environment: &Environment, table: Table, partition: PartitionId) -> IndexChunks {
    IndexChunks {
        environment: environment.clone(),
        table,
        partition,
    }
}

/// Opens all indexes of a log that is written here and feeds them up to its head. One that is damaged, or was found to be
/// since it was last opened, is made anew.
pub(super) fn open_all(
    reader: &EmbeddedReader,
    environment: &Environment,
    table: Table,
    writer: &mut Writer,
    config: &IndexConfig,
) -> Result<Vec<OwnIndex>, LogError> {
    let partitions = (0..reader.partitions()).map(PartitionId);
    let mut at = |partition| -> Result<OwnIndex, LogError> {
        let damage = Damage::of(environment, partition);
        if !damage.is_noted() {
            match open_fed(reader, environment, table, partition, writer, config) {
                Ok(index) => return Ok(OwnIndex { index, damage }),
                // Noted, so that all chunks go also if this process ends while it deletes them.
                Err(LogError::Index { cause, .. }) if cause.is_damage() => damage.note(&cause),
                Err(error) => return Err(error),
            }
        }
        tracing::warn!(%partition, "stream index is made anew from the log");
        empty(environment, table, partition, writer)?;
        damage.forget();
        let index = open_fed(reader, environment, table, partition, writer, config)?;
        Ok(OwnIndex { index, damage })
    };
    partitions.map(&mut at).collect()
}

fn open_fed(
    reader: &EmbeddedReader,
    environment: &Environment,
    table: Table,
    partition: PartitionId,
    writer: &mut Writer,
    config: &IndexConfig,
) -> Result<StreamIndex, LogError> {
    let index = open(environment, table, partition, config.clone())
        .map_err(|cause| failed(partition, cause))?;
    feed(&index, reader, partition, |writes| {
        let mut txn = writer.begin()?;
        store(&mut txn, table, partition, writes)?;
        txn.commit()
    })?;
    Ok(index)
}

/// Opens the index of a partition beside the process that writes it; what is not flushed yet is fed in memory.
pub(super) fn open_beside(
    reader: &EmbeddedReader,
    environment: &Environment,
    table: Table,
    partition: PartitionId,
) -> Result<StreamIndex, LogError> {
    // The writer may replace runs while they are being opened.
    let mut tries = 0;
    let index = loop {
        match open(environment, table, partition, config()) {
            Err(IndexError::Missing { .. }) if tries < 16 => tries += 1,
            opened => break opened.map_err(|cause| failed(partition, cause))?,
        }
    };
    for_each_frame(&index, reader, partition, |_| Ok(()))?;
    Ok(index)
}

/// Reads the whole index of a partition; gives how many chunks it has.
pub(super) fn verify(
    environment: &Environment,
    table: Table,
    partition: PartitionId,
) -> Result<u64, IndexError> {
    index::verify(&chunks(environment, table, partition))
}

/// Feeds what the log holds and the index does not, flushing as a writer would. As there, pages that are damaged end merging,
/// not more: an index that the running log could bear must not keep it shut.
pub(super) fn feed(
    index: &StreamIndex,
    reader: &EmbeddedReader,
    partition: PartitionId,
    mut commit: impl FnMut(Vec<IndexWrite>) -> Result<(), StoreError>,
) -> Result<(), LogError> {
    for_each_frame(index, reader, partition, |index| {
        loop {
            match index.maintain(SLICE_BYTES) {
                Ok(None) => return Ok(()),
                Ok(Some(writes)) => commit(writes)?,
                Err(cause @ IndexError::Store { .. }) if !cause.is_retryable() => {
                    tracing::error!(%partition, %cause, "pages under the stream index are damaged: it goes on without merging");
                    return Ok(());
                }
                Err(cause) => return Err(failed(partition, cause)),
            }
            index.applied();
        }
    })
}

fn for_each_frame(
    index: &StreamIndex,
    reader: &EmbeddedReader,
    partition: PartitionId,
    mut after_each: impl FnMut(&StreamIndex) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut next = Offset(index.covered_until());
    let mut id = String::new();
    loop {
        let frames = reader.read(partition, next, FEED_BYTES)?;
        let Some(last) = frames.last() else {
            return Ok(());
        };
        next = last.header().end();
        for frame in &frames {
            let entries: Vec<_> = frame
                .records()
                .map(|record| {
                    id.clear();
                    id.push_str(&record.kind.category);
                    id.push('-');
                    id.push_str(record.stream);
                    IndexEntry {
                        hash: stream_hash(&id),
                        version: record.version,
                        offset: record.offset.0,
                    }
                })
                .collect();
            index.push(&entries);
            after_each(index)?;
        }
    }
}

/// Puts the writes of one slice into a transaction.
pub(super) fn store(
    txn: &mut WriteTxn<'_>,
    table: Table,
    partition: PartitionId,
    writes: Vec<IndexWrite>,
) -> Result<(), StoreError> {
    for write in writes {
        match write {
            IndexWrite::Put { key: chunk, value } => {
                txn.put(table, &key(partition, chunk), &value)?;
            }
            IndexWrite::Delete { key: chunk } => {
                txn.delete(table, &key(partition, chunk))?;
            }
        }
    }
    Ok(())
}

/// Empties the index of a partition. A crash on the way leaves chunks that nothing names, until it is emptied again.
fn empty(
    environment: &Environment,
    table: Table,
    partition: PartitionId,
    writer: &mut Writer,
) -> Result<(), LogError> {
    let from = partition.0.to_be_bytes();
    let after = partition.0.checked_add(1).map(u16::to_be_bytes);
    let to = match &after {
        Some(after) => Bound::Excluded(&after[..]),
        None => Bound::Unbounded,
    };
    let from = Bound::Included(&from[..]);
    let last = environment.read(|reader| {
        let last = reader.range_reverse(table, from, to)?.next();
        last.map(|entry| entry.map(|(key, _)| key.to_vec()))
            .transpose()
    })??;
    let last = last.and_then(|key| ChunkKey::from_bytes(key.get(2..)?));
    let chunks = chunks(environment, table, partition);
    let manifest = emptied(&chunks, last.map_or(0, |key| key.run))
        .map_err(|cause| failed(partition, cause))?;
    let mut txn = writer.begin()?;
    store(&mut txn, table, partition, vec![manifest])?;
    txn.commit()?;
    let manifest = key(partition, ChunkKey::MANIFEST);
    loop {
        let keys = environment.read(|reader| {
            reader
                .range(table, from, to)?
                .map(|entry| entry.map(|(key, _)| key.to_vec()))
                .filter(|key| !key.as_ref().is_ok_and(|key| *key == manifest))
                .take(DELETED_MAX)
                .collect::<Result<Vec<_>, _>>()
        })??;
        if keys.is_empty() {
            return Ok(());
        }
        let mut txn = writer.begin()?;
        for key in keys {
            txn.delete(table, &key)?;
        }
        txn.commit()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_page_is_not_read_later_either() {
        let read_later = |error| not_read(ChunkKey::MANIFEST, error).is_retryable();
        assert!(read_later(StoreError::ReadersFull { max_readers: 1 }));
        let file = std::path::PathBuf::from("data.mdb");
        let what = "LMDB says so".to_owned();
        assert!(!read_later(StoreError::Damaged {
            file,
            page: 0,
            what
        }));
    }
}
