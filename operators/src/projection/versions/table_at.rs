//! A table as it was: from the versions of its rows, or from a replay.

use std::ops::RangeBounds;
use std::sync::Arc;

use millstream_engine::codec::StandaloneReader;
use millstream_engine::event::{Offset, PartitionId};

use super::changes::{expired, versioned};
use super::reading::{Standing, standing, upto};
use super::rows_at::{row_at, slice_at};
use super::{ChangeCursor, ChangesError, VersionIds};
use crate::projection::page::{Front, Pages, RowSlice, RowSource, SliceOf};
use crate::projection::range::{Gathered, KeyRange, Slice, key_bytes};
use crate::projection::{KeyPrefix, PastTables, QueryError, Row, TableKey, TableReader};

/// What a table of the past was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FoundIn {
    /// Versions of its rows: what this table was.
    Versions,
    /// A replay of the projection's code of today over the log.
    Replay {
        /// Events that it applied.
        events: u64,
    },
}

/// A table as it was at a moment. Cheap to clone.
///
/// From versions each read is one of the store, and nothing is held open; when what it needs is not kept any more,
/// it has no answers ([`QueryError::VersionsGone`]). From a replay it is in memory.
#[derive(Clone, Debug)]
pub struct TableAt<K: TableKey, R: Row> {
    reader: TableReader<K, R>,
    rows: Rows,
}

#[derive(Clone, Debug)]
enum Rows {
    Versions(VersionIds, Arc<[(u16, u64)]>),
    Replay(Arc<PastTables>),
}

/// Why a place cannot be gone back to.
enum NoPlace {
    Gone,
    NotStored,
    Other,
}

impl<K: TableKey, R: Row> TableAt<K, R> {
    /// As it was behind a place in the feed of its changes.
    pub(in crate::projection) fn behind(
        reader: &TableReader<K, R>,
        cursor: &ChangeCursor,
    ) -> Result<Self, ChangesError> {
        let (ids, table) = (versioned(reader)?, reader.table().name());
        let seed = ids.seed(reader.store())?;
        if cursor.seed != seed {
            return Err(ChangesError::Foreign { table });
        }
        let actors = reader.actors();
        let found = reader.store().view(|view| {
            for &actor in &actors {
                match standing(view, ids, actor, cursor.head(actor), seed)? {
                    Standing::Same => {}
                    Standing::Gone => return Ok(Err(NoPlace::Gone)),
                    Standing::Ahead if reader.has_shown(actor, cursor.head(actor)) => {
                        return Ok(Err(NoPlace::NotStored));
                    }
                    Standing::Ahead | Standing::Other => return Ok(Err(NoPlace::Other)),
                }
            }
            Ok(Ok(()))
        })?;
        reader.board().check_there()?;
        match found {
            Ok(()) => {
                let numbers = actors.iter();
                let numbers = numbers.map(|actor| (*actor, cursor.head(*actor).number));
                Ok(Self::of_versions(reader, ids, numbers.collect()))
            }
            Err(NoPlace::Gone) => Err(expired(reader, ids, seed)?),
            Err(NoPlace::NotStored) => Err(ChangesError::NotStored { table }),
            Err(NoPlace::Other) => Err(ChangesError::OtherHistory { table }),
        }
    }

    /// As it was when the projection had seen no event of each partition from such an offset on; `None` when the versions
    /// do not reach back so far. All before these offsets must be stored, and each partition have an actor of its own.
    ///
    /// # Errors
    /// [`ChangesError::NotVersioned`]; as [`TableReader::get`].
    pub fn before(
        reader: &TableReader<K, R>,
        ends: &[(PartitionId, Offset)],
    ) -> Result<Option<Self>, ChangesError> {
        let ids = versioned(reader)?;
        let found = reader.store().view(|view| {
            let mut numbers = Vec::with_capacity(ends.len());
            for (partition, end) in ends {
                match upto(view, ids, partition.0, *end)? {
                    Some(number) => numbers.push((partition.0, number)),
                    None => return Ok(None),
                }
            }
            Ok(Some(numbers))
        })?;
        reader.board().check_there()?;
        Ok(found.map(|numbers| Self::of_versions(reader, ids, numbers)))
    }

    fn of_versions(reader: &TableReader<K, R>, ids: VersionIds, numbers: Vec<(u16, u64)>) -> Self {
        Self {
            reader: reader.clone(),
            rows: Rows::Versions(ids, numbers.into()),
        }
    }

    /// As a replay has it, which knows this table.
    #[must_use]
    pub fn replayed(reader: &TableReader<K, R>, tables: Arc<PastTables>) -> Self {
        Self {
            reader: reader.clone(),
            rows: Rows::Replay(tables),
        }
    }

    /// What it is read from.
    #[must_use]
    pub fn found_in(&self) -> FoundIn {
        match &self.rows {
            Rows::Versions(..) => FoundIn::Versions,
            Rows::Replay(tables) => FoundIn::Replay {
                events: tables.events(),
            },
        }
    }

    /// The row under `key`; `None` when there was none. Cost from versions: three reads of the store.
    ///
    /// # Errors
    /// [`QueryError::VersionsGone`]; as [`TableReader::get`].
    pub fn get(&self, key: &K) -> Result<Option<R>, QueryError> {
        let bytes = key_bytes(key);
        let found = match &self.rows {
            Rows::Replay(tables) => tables.encoded(self.reader.table())?.get(&bytes).cloned(),
            Rows::Versions(ids, numbers) => {
                let found = self
                    .reader
                    .store()
                    .view(|view| row_at(view, *ids, numbers, &bytes))?;
                // Looked at afterwards: of a version that is dropped rows are missing.
                self.reader.board().check_there()?;
                found.ok_or_else(|| self.gone())?
            }
        };
        let row = found.map(|row| StandaloneReader::new().decode(&row));
        Ok(row.transpose()?)
    }

    /// Rows in order of key.
    #[must_use]
    pub fn scan(&self) -> Pages<Self> {
        Pages::new(self.clone(), self.reader.table().name(), KeyRange::ALL)
    }

    /// Rows whose keys are in a range.
    #[must_use]
    pub fn range(&self, range: impl RangeBounds<K>) -> Pages<Self> {
        let range = KeyRange::between(&range, K::write);
        Pages::new(self.clone(), self.reader.table().name(), range)
    }

    /// Rows whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix<P: ?Sized>(&self, prefix: &P) -> Pages<Self>
    where
        K: KeyPrefix<P>,
    {
        let range = KeyRange::of_prefix::<K, P>(prefix);
        Pages::new(self.clone(), self.reader.table().name(), range)
    }

    fn gone(&self) -> QueryError {
        QueryError::VersionsGone {
            table: self.reader.table().name(),
        }
    }

    /// Encoded rows at the front of a range; `None` when some are not kept.
    fn encoded(&self, range: &KeyRange, limit: usize) -> Result<Slice<Vec<u8>>, QueryError> {
        match &self.rows {
            Rows::Replay(tables) => {
                let mut rows = Gathered::new(range, limit);
                rows.add(tables.encoded(self.reader.table())?);
                Ok(rows.into_slice())
            }
            Rows::Versions(ids, numbers) => {
                let found = self
                    .reader
                    .store()
                    .view(|view| slice_at(view, *ids, numbers, range, limit))?;
                self.reader.board().check_there()?;
                found.ok_or_else(|| self.gone())
            }
        }
    }
}

impl<K: TableKey, R: Row> RowSource for TableAt<K, R> {
    type Key = K;
    type Row = R;

    fn slice(&self, front: &Front<'_>) -> Result<SliceOf<Self>, QueryError> {
        let slice = self.encoded(front.range, front.limit)?;
        let (mut decoder, mut found) = (StandaloneReader::new(), Vec::new());
        for (bytes, row) in slice.found {
            if let Some(key) = K::read(&bytes) {
                found.push((bytes, (key, decoder.decode(&row)?)));
            }
        }
        let end = slice.end;
        Ok(RowSlice(Slice { found, end }))
    }
}
