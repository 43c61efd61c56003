//! The log in LMDB: one database per partition, one value per frame under its first offset.
//!
//! Keys are big-endian offsets, so puts only append. Threads: [`EmbeddedStore`] belongs to one,
//! [`EmbeddedReader`] clones cheaply. Failure: see [`GroupWriter`](super::GroupWriter).

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::frame::{Frame, FrameHeader, SealedFrame};
use super::frame_cache::FrameCache;
use super::index_chunks::{self, INDEX};
use super::stream::{Direction, StreamReader};
use super::{Head, LogError, LogReader, LogStore};
use crate::event::{Offset, PartitionId};
use crate::index::{IndexEntry, IndexStats, StreamIndex};
use crate::store::{
    Environment, EnvironmentOptions, FolderLock, StoreError, Table, Writer, structure,
};

const DESCRIPTION: &str = "description";
const PARTITIONS_KEY: &[u8] = b"partitions";
/// Version of the layout, then the number of partitions, big-endian.
const LAYOUT_VERSION: u8 = 1;
/// Bytes of index upkeep that may share a transaction with frames: this, and half of the frames' own.
const UPKEEP_BYTES_MIN: usize = 64 << 10;
/// Bytes of frames kept for reads of single streams, over all partitions.
const CACHE_BYTES: usize = 32 << 20;

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
    indexes: Arc<Vec<StreamIndex>>,
    /// Partition whose index is looked after next.
    upkeep: usize,
    /// Partitions whose index failed: told once, left alone until the log is opened again.
    failed: Vec<bool>,
    _lock: FolderLock,
}

/// The read side.
#[derive(Clone, Debug)]
pub struct EmbeddedReader {
    pub(super) environment: Environment,
    tables: Vec<Table>,
    indexes: Arc<Vec<StreamIndex>>,
    cache: Arc<FrameCache>,
}

/// What [`EmbeddedReader::verify`] walked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Frames whose checksum, hash and place in the chain hold.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
}

impl EmbeddedLog {
    /// Opens or creates the log in `folder`. `options.databases` is filled in here.
    ///
    /// # Errors
    /// [`LogError::Partitions`] when it was created with another number; [`LogError::Store`] when the folder is held by
    /// another process or the files are damaged; [`LogError::Frame`] when a partition's last frame is.
    pub fn open(
        folder: &Path,
        partitions: u16,
        mut options: EnvironmentOptions,
    ) -> Result<Self, LogError> {
        if partitions == 0 {
            return Err(LogError::Partitions {
                stored: 1,
                asked: 0,
            });
        }
        let lock = FolderLock::acquire(folder)?;
        options.databases = (0..partitions).map(partition_name).collect();
        options.databases.push(DESCRIPTION.to_owned());
        options.databases.push(INDEX.to_owned());
        let environment = Environment::open(folder, options)?;
        let description = environment.table(DESCRIPTION)?;
        let stored = environment.read(|reader| {
            reader
                .get(description, PARTITIONS_KEY)
                .map(|v| v.map(<[u8]>::to_vec))
        })??;
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
                let [high, low] = partitions.to_be_bytes();
                txn.put(description, PARTITIONS_KEY, &[LAYOUT_VERSION, high, low])?;
                txn.commit()?;
            }
        }
        let tables: Vec<Table> = (0..partitions)
            .map(|p| environment.table(&partition_name(p)))
            .collect::<Result<_, _>>()?;
        let index_table = environment.table(INDEX)?;
        let mut reader = EmbeddedReader::without_indexes(environment.clone(), tables.clone());
        let indexes = index_chunks::open_all(&reader, &environment, index_table, &mut writer)?;
        reader.indexes = Arc::new(indexes);
        let heads = (0..partitions)
            .map(|p| reader.head(PartitionId(p)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            store: EmbeddedStore {
                writer,
                tables,
                heads,
                index_table,
                indexes: Arc::clone(&reader.indexes),
                upkeep: 0,
                failed: vec![false; usize::from(partitions)],
                _lock: lock,
            },
            reader,
        })
    }
}

fn partition_name(partition: u16) -> String {
    format!("p{partition}")
}

fn described_partitions(bytes: &[u8]) -> Result<u16, LogError> {
    match *bytes {
        [LAYOUT_VERSION, high, low] => Ok(u16::from_be_bytes([high, low])),
        _ => Err(LogError::Description {
            what: format!("{bytes:?} is not layout version {LAYOUT_VERSION}"),
        }),
    }
}

impl LogStore for EmbeddedStore {
    fn append(&mut self, group: &[SealedFrame]) -> Result<(), LogError> {
        let mut heads = self.heads.clone();
        let mut txn = self.writer.begin()?;
        for frame in group {
            let partitions =
                u16::try_from(self.tables.len()).expect("opened with a u16 of partitions");
            let unknown = LogError::UnknownPartition {
                partition: frame.partition,
                partitions,
            };
            let head = heads
                .get_mut(usize::from(frame.partition.0))
                .ok_or(unknown)?;
            let header = FrameHeader::parse(&frame.bytes)
                .map_err(|cause| damaged(frame.partition, frame.first, cause))?;
            follows(frame.partition, head, &header)?;
            txn.put_append(
                self.tables[usize::from(frame.partition.0)],
                &frame.first.0.to_be_bytes(),
                &frame.bytes,
            )?;
            *head = Head {
                next: header.end(),
                hash: header.hash,
            };
        }
        let bytes = group.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        let upkept = upkeep(
            &self.indexes,
            &mut self.upkeep,
            &mut self.failed,
            UPKEEP_BYTES_MIN + bytes / 2,
            |partition, writes| index_chunks::store(&mut txn, self.index_table, partition, writes),
        )?;
        txn.commit()?;
        if let Some(index) = upkept {
            self.indexes[index].applied();
        }
        for frame in group {
            self.indexes[usize::from(frame.partition.0)].push(&frame.entries);
        }
        self.heads = heads;
        Ok(())
    }
}

/// One slice of upkeep for the first index that has something to do, from `next` on around.
///
/// Index failures do not stop the log: the index is made anew at the next opening, and until then
/// what is not flushed stays in memory.
fn upkeep(
    indexes: &[StreamIndex],
    next: &mut usize,
    failed: &mut [bool],
    budget_bytes: usize,
    store: impl FnOnce(PartitionId, Vec<crate::index::IndexWrite>) -> Result<(), StoreError>,
) -> Result<Option<usize>, LogError> {
    for step in 0..indexes.len() {
        let at = (*next + step) % indexes.len();
        if failed[at] {
            continue;
        }
        match indexes[at].maintain(budget_bytes) {
            Ok(None) => {}
            Ok(Some(writes)) => {
                // An index with work left keeps its turn until a whole run is done.
                *next = at;
                let partition =
                    PartitionId(u16::try_from(at).expect("opened with a u16 of partitions"));
                store(partition, writes)?;
                return Ok(Some(at));
            }
            Err(cause) => {
                failed[at] = true;
                tracing::error!(
                    partition = at, %cause,
                    "stream index upkeep failed: it stays in memory until the log is opened again"
                );
            }
        }
    }
    Ok(None)
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

impl EmbeddedReader {
    /// Opens a log for reading alone, also beside the process that writes it. Nothing is created.
    ///
    /// # Errors
    /// [`LogError::Description`] when the folder holds no log; [`LogError::Store`] when it is damaged.
    pub fn open_beside(folder: &Path) -> Result<Self, LogError> {
        let options = |databases| EnvironmentOptions {
            databases,
            read_only: true,
            ..EnvironmentOptions::default()
        };
        let file = folder.join("data.mdb");
        if !file.is_file() {
            return Err(LogError::Description {
                what: format!("there is no {}", file.display()),
            });
        }
        // The number of partitions stands in the log, and databases are opened once: so it is opened twice.
        let environment = Environment::open(folder, options(vec![DESCRIPTION.to_owned()]))?;
        let description = environment.table(DESCRIPTION)?;
        let stored = environment.read(|reader| {
            reader
                .get(description, PARTITIONS_KEY)
                .map(|v| v.map(<[u8]>::to_vec))
        })??;
        drop(environment);
        let partitions = described_partitions(&stored.unwrap_or_default())?;
        let mut names: Vec<_> = (0..partitions).map(partition_name).collect();
        names.push(INDEX.to_owned());
        let environment = Environment::open(folder, options(names))?;
        let tables = (0..partitions)
            .map(|p| environment.table(&partition_name(p)))
            .collect::<Result<_, _>>()?;
        Ok(Self::without_indexes(environment, tables))
    }

    /// Makes single streams readable for a reader that was opened [beside](Self::open_beside) the
    /// writer. Cost: reads what the index does not hold yet. Events written later are not found.
    ///
    /// # Errors
    /// [`LogError::Index`], and as [`LogReader::read`].
    pub fn with_streams(mut self) -> Result<Self, LogError> {
        let table = self.environment.table(INDEX)?;
        let indexes = index_chunks::open_all_beside(&self, &self.environment, table)?;
        self.indexes = Arc::new(indexes);
        Ok(self)
    }

    fn without_indexes(environment: Environment, tables: Vec<Table>) -> Self {
        Self {
            environment,
            tables,
            indexes: Arc::default(),
            cache: Arc::new(FrameCache::new(CACHE_BYTES)),
        }
    }

    /// Figures of a partition's stream index; `None` where there is none.
    #[must_use]
    pub fn index_stats(&self, partition: PartitionId) -> Option<IndexStats> {
        let index = self.indexes.get(usize::from(partition.0))?;
        Some(index.stats())
    }

    /// Bytes of the log's file that hold pages, and its length with what is allocated ahead.
    ///
    /// # Errors
    /// [`LogError::Store`]: the file's length cannot be read.
    pub fn file_bytes(&self) -> Result<(u64, u64), LogError> {
        Ok((
            self.environment.used_bytes(),
            self.environment.file_bytes()?,
        ))
    }

    pub(super) fn table(&self, partition: PartitionId) -> Result<Table, LogError> {
        self.tables
            .get(usize::from(partition.0))
            .copied()
            .ok_or(LogError::UnknownPartition {
                partition,
                partitions: self.partitions(),
            })
    }

    /// Walks everything: the store's pages, each frame's checksum and hash, and the chain of each partition.
    ///
    /// # Errors
    /// The first fault, with its partition and offset.
    pub fn verify(&self) -> Result<Verified, LogError> {
        self.environment.check(structure::Scope::Full)?;
        let mut verified = Verified::default();
        for partition in (0..self.partitions()).map(PartitionId) {
            let mut head = Head::default();
            // One short transaction per frame: a read held for the whole walk would stop page reuse.
            while let Some(header) = self.verified_at(partition, head.next)? {
                follows(partition, &head, &header)?;
                head = Head {
                    next: header.end(),
                    hash: header.hash,
                };
                verified.frames += 1;
                verified.events += u64::from(header.count);
            }
        }
        Ok(verified)
    }

    /// The first frame at or after `from`, checked in full.
    fn verified_at(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Result<Option<FrameHeader>, LogError> {
        let table = self.table(partition)?;
        self.environment.read(|reader| {
            let key = from.0.to_be_bytes();
            let Some(entry) = reader
                .range(table, Bound::Included(&key), Bound::Unbounded)?
                .next()
            else {
                return Ok(None);
            };
            let (key, value) = entry?;
            let offset = offset_of(partition, key)?;
            let frame =
                Frame::parse_verified(value).map_err(|cause| damaged(partition, offset, cause))?;
            same_place(partition, offset, frame.header())?;
            Ok(Some(*frame.header()))
        })?
    }
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

impl StreamReader for EmbeddedReader {
    fn locate(
        &self,
        partition: PartitionId,
        hash: u64,
        from_version: u64,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<IndexEntry>, LogError> {
        let index =
            self.indexes
                .get(usize::from(partition.0))
                .ok_or(LogError::UnknownPartition {
                    partition,
                    partitions: self.indexes.len() as u16,
                })?;
        let found = match direction {
            Direction::Forwards => index.scan(hash, from_version, limit),
            Direction::Backwards => index.scan_back(hash, from_version, limit),
        };
        found.map_err(|cause| index_chunks::failed(partition, cause))
    }
}

impl LogReader for EmbeddedReader {
    fn frame_at(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<Arc<Frame>>, LogError> {
        if let Some(frame) = self.cache.get(partition, offset) {
            return Ok(Some(frame));
        }
        let found = self.read(partition, offset, 1)?.into_iter().next();
        let frame = found.map(Arc::new);
        if let Some(frame) = &frame {
            self.cache.put(partition, Arc::clone(frame));
        }
        Ok(frame)
    }

    fn partitions(&self) -> u16 {
        u16::try_from(self.tables.len()).expect("opened with a u16 of partitions")
    }

    fn head(&self, partition: PartitionId) -> Result<Head, LogError> {
        let table = self.table(partition)?;
        self.environment.read(|reader| {
            let Some((key, value)) = reader.last(table)? else {
                return Ok(Head::default());
            };
            let offset = offset_of(partition, key)?;
            let frame = Frame::parse(value).map_err(|cause| damaged(partition, offset, cause))?;
            same_place(partition, offset, frame.header())?;
            Ok(Head {
                next: frame.header().end(),
                hash: frame.header().hash,
            })
        })?
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, LogError> {
        let table = self.table(partition)?;
        self.environment.read(|reader| {
            let key = from.0.to_be_bytes();
            let upto = Bound::Included(&key[..]);
            let start = match reader.range_reverse(table, Bound::Unbounded, upto)?.next() {
                Some(entry) => entry?.0.to_vec(),
                None => key.to_vec(),
            };
            let (mut frames, mut bytes, mut expected) = (Vec::<Frame>::new(), 0, None);
            for entry in reader.range(table, Bound::Included(&start), Bound::Unbounded)? {
                let (key, value) = entry?;
                let offset = offset_of(partition, key)?;
                if !frames.is_empty() && bytes + value.len() > bytes_max {
                    break;
                }
                let frame =
                    Frame::parse(value).map_err(|cause| damaged(partition, offset, cause))?;
                let header = *frame.header();
                same_place(partition, offset, &header)?;
                if let Some(head) = &expected {
                    follows(partition, head, &header)?;
                }
                expected = Some(Head {
                    next: header.end(),
                    hash: header.hash,
                });
                if header.end() > from {
                    bytes += value.len();
                    frames.push(frame);
                }
            }
            match frames.first().map(|frame| frame.header().first) {
                Some(first) if first > from => {
                    let what = "the frame that holds this offset is missing";
                    Err(LogError::Chain {
                        partition,
                        expected: from,
                        found: first,
                        what,
                    })
                }
                _ => Ok(frames),
            }
        })?
    }
}
