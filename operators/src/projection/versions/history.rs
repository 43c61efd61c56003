//! All that is kept of one row.

use std::collections::VecDeque;
use std::ops::Bound;

use millstream_engine::codec::StandaloneReader;

use super::format::{Version, place_bytes, version_of, version_prefix};
use super::{ChangesError, Stamp, VersionIds};
use crate::projection::range::{KeyRange, key_bytes};
use crate::projection::{QueryError, Row, TableKey, TableReader};

/// Versions that one read of the store gives.
const PAGE: usize = 64;

/// A row as one event left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowVersion<R> {
    /// The row; `None`: it was removed.
    pub row: Option<R>,
    /// The event.
    pub stamp: Stamp,
}

/// The versions of a row that are kept, the oldest first. The first one may be older than what the table keeps: as the row
/// was when the changes kept begin.
///
/// Each page of them is a read of its own and holds nothing open.
#[derive(Debug)]
pub struct RowHistory<K: TableKey, R: Row> {
    reader: TableReader<K, R>,
    ids: VersionIds,
    /// What is left of them.
    range: KeyRange,
    ready: VecDeque<Version>,
    is_over: bool,
    decoder: StandaloneReader,
}

impl<K: TableKey, R: Row> RowHistory<K, R> {
    pub(in crate::projection) fn of(
        reader: &TableReader<K, R>,
        key: &K,
    ) -> Result<Self, ChangesError> {
        let ids = super::changes::versioned(reader)?;
        let prefix = version_prefix(&key_bytes(key));
        let mut to = prefix.clone();
        to.extend_from_slice(&place_bytes(u16::MAX, u64::MAX));
        Ok(Self {
            reader: reader.clone(),
            ids,
            range: KeyRange {
                from: Bound::Included(prefix),
                to: Bound::Included(to),
                is_descending: false,
            },
            ready: VecDeque::new(),
            is_over: false,
            decoder: StandaloneReader::new(),
        })
    }

    /// The newest first.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.range.is_descending = true;
        self
    }

    fn fill(&mut self) -> Result<(), QueryError> {
        let (from, to) = self.range.bounds();
        let is_descending = self.range.is_descending;
        let store = self.reader.store();
        let page = store.page(self.ids.versions, from, to, PAGE, is_descending)?;
        // Looked at afterwards: of a version that is dropped rows are missing.
        self.reader.board().check_there()?;
        for (key, value) in &page.rows {
            version_of(key)?;
            self.ready.push_back(Version::decode(value)?);
        }
        match page.end {
            Some(end) => self.range = self.range.behind(&end),
            None => self.is_over = true,
        }
        Ok(())
    }
}

impl<K: TableKey, R: Row> Iterator for RowHistory<K, R> {
    type Item = Result<RowVersion<R>, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && !self.is_over
            && let Err(cause) = self.fill()
        {
            self.is_over = true;
            return Some(Err(cause));
        }
        let Version { stamp, row } = self.ready.pop_front()?;
        let row = row.map(|bytes| self.decoder.decode(&bytes)).transpose();
        let version = row.map(|row| RowVersion { row, stamp });
        Some(version.map_err(QueryError::from))
    }
}
