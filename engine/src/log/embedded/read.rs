//! The read side: frames by offset, and where the events of a stream are.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::description::described_in;
use super::{
    EmbeddedReader, MAP_BYTES_DEFAULT, damaged, follows, offset_of, partition_name, same_place,
};
use crate::event::{Offset, PartitionId, StoreId};
use crate::index::{IndexEntry, IndexError, IndexStats};
use crate::log::frame::{Frame, FrameError, FrameHeader, FramePart};
use crate::log::frame_cache::FrameCache;
use crate::log::index_chunks::INDEX;
use crate::log::indexes::{BesideIndex, Indexes};
use crate::log::stream::{Direction, StreamReader};
use crate::log::{Head, LogError, LogReader};
use crate::store::{Environment, EnvironmentOptions, Table};

/// Bytes of frames kept for reads of single streams, over all partitions.
const CACHE_BYTES: usize = 32 << 20;
/// Stored bytes that one read looks through, also where little of them is wanted: a reader has more to do than to read.
const STORED_BYTES_MAX: usize = 16 << 20;

impl EmbeddedReader {
    /// Opens a log for reading alone, also beside the process that writes it. Nothing is created.
    ///
    /// # Errors
    /// [`LogError::Description`] when the folder holds no log, or what it says of itself does not fit what is there; [`LogError::Store`] when it is damaged.
    pub fn open_beside(folder: &Path) -> Result<Self, LogError> {
        let file = folder.join("data.mdb");
        if !file.is_file() {
            return Err(LogError::Description {
                what: format!("there is no {}", file.display()),
            });
        }
        // The number of partitions stands in the log, and databases are opened once: so it is opened twice.
        let (partitions, id) = described_in(folder)?;
        let mut names: Vec<_> = (0..partitions).map(partition_name).collect();
        names.push(INDEX.to_owned());
        let options = EnvironmentOptions {
            databases: names,
            read_only: true,
            map_bytes_max: MAP_BYTES_DEFAULT,
            ..EnvironmentOptions::default()
        };
        let environment = Environment::open(folder, options)?;
        let tables = (0..partitions)
            .map(|p| environment.table(&partition_name(p)))
            .collect::<Result<_, _>>()?;
        let mut reader = Self::without_indexes(environment, tables);
        reader.id = id;
        Ok(reader)
    }

    /// Identity of the store; `None` while a log of an older program was not opened for writing by this one.
    #[must_use]
    pub fn store_id(&self) -> Option<StoreId> {
        self.id
    }

    /// Makes single streams readable for a reader that was opened [beside](Self::open_beside) the
    /// writer. Cost: reads what the index does not hold yet, now and then again once the writer has merged what was opened.
    /// Events written later may not be found.
    ///
    /// # Errors
    /// [`LogError::Index`], and as [`LogReader::read`].
    pub fn with_streams(mut self) -> Result<Self, LogError> {
        let table = self.environment.table(INDEX)?;
        self.indexes = Indexes::default();
        let partitions = (0..self.partitions()).map(PartitionId);
        let opened = partitions.map(|partition| BesideIndex::open(&self, table, partition));
        let opened = opened.collect::<Result<_, LogError>>()?;
        self.indexes = Indexes::Beside(Arc::new(opened));
        Ok(self)
    }

    pub(super) fn without_indexes(environment: Environment, tables: Vec<Table>) -> Self {
        Self {
            environment,
            tables,
            indexes: Indexes::default(),
            cache: Arc::new(FrameCache::new(CACHE_BYTES)),
            id: None,
        }
    }

    /// Figures of a partition's stream index; `None` where there is none.
    #[must_use]
    pub fn index_stats(&self, partition: PartitionId) -> Option<IndexStats> {
        self.indexes.stats(partition)
    }

    /// The data file and what LMDB says of it.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
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

    pub(in crate::log) fn table(&self, partition: PartitionId) -> Result<Table, LogError> {
        self.tables
            .get(usize::from(partition.0))
            .copied()
            .ok_or(LogError::UnknownPartition {
                partition,
                partitions: self.partitions(),
            })
    }
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
        self.indexes.ask(partition, |index| match direction {
            Direction::Forwards => index.scan(hash, from_version, limit),
            Direction::Backwards => index.scan_back(hash, from_version, limit),
        })
    }

    fn index_failed(&self, partition: PartitionId, cause: &IndexError) {
        self.indexes.note(partition, cause);
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

    fn frame_head(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<FrameHeader>, LogError> {
        let table = self.table(partition)?;
        self.environment.read(|reader| {
            let key = offset.0.to_be_bytes();
            let upto = Bound::Included(&key[..]);
            let Some(entry) = reader.range_reverse(table, Bound::Unbounded, upto)?.next() else {
                return Ok(None);
            };
            let (key, value) = entry?;
            let first = offset_of(partition, key)?;
            let header =
                FrameHeader::parse(value).map_err(|cause| damaged(partition, first, cause))?;
            same_place(partition, first, &header)?;
            Ok((header.end() > offset).then_some(header))
        })?
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
        self.read_part(partition, from, bytes_max, FramePart::Whole)
    }

    fn read_part(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
        part: FramePart<'_>,
    ) -> Result<Vec<Frame>, LogError> {
        let table = self.table(partition)?;
        self.environment.read(|reader| {
            let key = from.0.to_be_bytes();
            let upto = Bound::Included(&key[..]);
            let start = match reader.range_reverse(table, Bound::Unbounded, upto)?.next() {
                Some(entry) => entry?.0.to_vec(),
                None => key.to_vec(),
            };
            let (mut frames, mut expected) = (Vec::<Frame>::new(), None);
            let (mut bytes, mut passed) = (0, 0);
            for entry in reader.range(table, Bound::Included(&start), Bound::Unbounded)? {
                let (key, value) = entry?;
                let offset = offset_of(partition, key)?;
                if !frames.is_empty() && (bytes >= bytes_max || passed >= STORED_BYTES_MAX) {
                    break;
                }
                passed += value.len();
                let parsed = match frames.is_empty() {
                    true => unpacked_from(value, from, part),
                    false => {
                        let frame = Frame::parse_part(value, part);
                        frame.map(|frame| (*frame.header(), Some(frame)))
                    }
                };
                let (header, frame) = parsed.map_err(|cause| damaged(partition, offset, cause))?;
                same_place(partition, offset, &header)?;
                if let Some(head) = &expected {
                    follows(partition, head, &header)?;
                }
                expected = Some(Head {
                    next: header.end(),
                    hash: header.hash,
                });
                if let Some(frame) = frame {
                    bytes += frame.memory_bytes();
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

/// A frame, unpacked if it has events at or after `from`. One that has none stands before what is wanted, and mostly nothing
/// is behind it yet: whoever waits for more asks often.
fn unpacked_from(
    value: &[u8],
    from: Offset,
    part: FramePart<'_>,
) -> Result<(FrameHeader, Option<Frame>), FrameError> {
    if FrameHeader::parse(value)?.end() <= from {
        return Ok((FrameHeader::parse_checked(value)?, None));
    }
    let frame = Frame::parse_part(value, part)?;
    Ok((*frame.header(), Some(frame)))
}
