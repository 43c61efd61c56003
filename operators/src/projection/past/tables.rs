//! Tables of the past, in memory, and what tells two of them apart.

use std::collections::BTreeMap;

use millstream_engine::codec::StandaloneReader;
use millstream_engine::event::{Offset, PartitionId, Position, Token};

use super::partition::Share;
use crate::past::Cut;
use crate::projection::{QueryError, Row, Table, TableKey};

/// Failed events that are told one by one; the others are counted.
pub(super) const FAILED_MAX: usize = 1_000;

/// All tables of a projection at a moment. Holds them as bytes, in order of their keys.
#[derive(Clone, Debug)]
pub struct PastTables {
    names: Vec<&'static str>,
    rows: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    token: Token,
    events: u64,
    waiting: u64,
    failed: Vec<FailedEvent>,
    failed_count: u64,
}

/// An event that the projection could not apply in a replay. Later events of its stream wait and are in no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedEvent {
    /// Its stream.
    pub stream: String,
    /// Its number there.
    pub version: u64,
    /// Its place in the log.
    pub position: Position,
    /// The error and what caused it, outermost first.
    pub causes: Vec<String>,
}

/// What tells a table of one moment from that of another, each part in order of key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDiff<K, R> {
    /// Rows that were not there before.
    pub added: Vec<(K, R)>,
    /// Rows that are gone.
    pub removed: Vec<(K, R)>,
    /// Rows that are not what they were: key, before, after.
    pub changed: Vec<(K, R, R)>,
}

impl PastTables {
    pub(super) fn new(names: Vec<&'static str>, cuts: &[(PartitionId, Cut)]) -> Self {
        let mut token = Token::default();
        for (partition, cut) in cuts {
            if let Some(offset) = cut.end().0.checked_sub(1).map(Offset) {
                let partition = *partition;
                token.observe(Position { partition, offset });
            }
        }
        Self {
            rows: vec![BTreeMap::new(); names.len()],
            names,
            token,
            events: 0,
            waiting: 0,
            failed: Vec::new(),
            failed_count: 0,
        }
    }

    pub(super) fn add(&mut self, share: Share) {
        for (own, mut rows) in self.rows.iter_mut().zip(share.rows) {
            own.append(&mut rows);
        }
        self.events += share.events;
        self.waiting += share.waiting;
        self.failed_count += share.failed_count;
        self.failed.extend(share.failed);
        self.failed.truncate(FAILED_MAX);
    }

    /// Where the replay ended: all events up to there were looked at.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Events that were applied.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Events that could not be applied, at most 1,000 of [`failed_count`](Self::failed_count).
    #[must_use]
    pub fn failed(&self) -> &[FailedEvent] {
        &self.failed
    }

    /// How many events could not be applied: as many streams are held up.
    #[must_use]
    pub fn failed_count(&self) -> u64 {
        self.failed_count
    }

    /// Events of streams that are held up by one that failed: they are in no row.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Encoded rows by the bytes of their keys.
    pub(in crate::projection) fn encoded<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
    ) -> Result<&BTreeMap<Vec<u8>, Vec<u8>>, QueryError> {
        let name = table.name();
        let at = self.names.iter().position(|own| *own == name);
        at.map(|at| &self.rows[at])
            .ok_or(QueryError::UnknownTable { table: name })
    }

    /// The row under `key`; `None` when there was none.
    ///
    /// # Errors
    /// [`QueryError::UnknownTable`]; [`QueryError::Row`] when the table has other rows.
    pub fn get<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
        key: impl Into<K>,
    ) -> Result<Option<R>, QueryError> {
        let mut bytes = Vec::new();
        key.into().write(&mut bytes);
        let stored = self.encoded(table)?.get(&bytes);
        let row = stored.map(|stored| StandaloneReader::new().decode(stored));
        Ok(row.transpose()?)
    }

    /// All rows, in order of key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn rows<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
    ) -> Result<Vec<(K, R)>, QueryError> {
        let mut reader = StandaloneReader::new();
        let rows = self.encoded(table)?.iter().filter_map(|(key, row)| {
            let key = K::read(key)?;
            Some(reader.decode(row).map(|row| (key, row)))
        });
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What tells these rows of a table from those of `later`, which may be another moment, another code or a fork.
    /// Cost: rows with the same bytes are not read.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn diff<K: TableKey, R: Row + PartialEq>(
        &self,
        later: &Self,
        table: &Table<K, R>,
    ) -> Result<TableDiff<K, R>, QueryError> {
        let (before, after) = (self.encoded(table)?, later.encoded(table)?);
        let mut reader = StandaloneReader::new();
        let mut diff = TableDiff {
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
        };
        for (bytes, row) in before {
            let Some(key) = K::read(bytes) else { continue };
            match after.get(bytes) {
                Some(same) if same == row => {}
                // The same value may have other bytes, such as a map in another order.
                Some(other) => {
                    let (row, other): (R, R) = (reader.decode(row)?, reader.decode(other)?);
                    if row != other {
                        diff.changed.push((key, row, other));
                    }
                }
                None => diff.removed.push((key, reader.decode(row)?)),
            }
        }
        for (bytes, row) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
            if let Some(key) = K::read(bytes) {
                diff.added.push((key, reader.decode(row)?));
            }
        }
        Ok(diff)
    }
}
