//! Pages of a range, whatever has its rows: a table or an index, as it is now or as a snapshot has it.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::Xxh3;

use super::QueryError;
use super::range::{KeyRange, Slice};
use super::reader::SCAN_ROWS;

/// Has rows in an order.
pub trait RowSource: Clone {
    /// Keys of the rows.
    type Key;
    /// The rows.
    type Row;

    /// Some rows at the front of a range, about `limit`, by what puts them in order.
    #[doc(hidden)]
    fn slice(&self, front: &Front<'_>) -> Result<SliceOf<Self>, QueryError>;
}

/// A key and its row, as a source has them.
pub type RowOf<S> = (<S as RowSource>::Key, <S as RowSource>::Row);

/// The front of a range, of about so many rows.
#[doc(hidden)]
#[derive(Debug)]
pub struct Front<'r> {
    pub(super) range: &'r KeyRange,
    pub(super) limit: usize,
}

/// What a source has of a range.
#[doc(hidden)]
pub type SliceOf<S> = RowSlice<<S as RowSource>::Key, <S as RowSource>::Row>;

/// Rows with what puts them in order.
#[doc(hidden)]
#[derive(Debug)]
pub struct RowSlice<K, R>(pub(super) Slice<(K, R)>);

/// Rows of a range, read page by page.
///
/// A page is a read of its own and holds nothing open: rows that come or go between two pages are in the later one or
/// not, and no row is left out or given twice for it. In the order of an index a row may move, and so be in two pages of
/// a table that changes, or in none; in those of a snapshot it is in one.
#[derive(Clone, Debug)]
pub struct Pages<S> {
    source: S,
    name: String,
    range: KeyRange,
    after: Option<Vec<u8>>,
}

/// Some rows, and where the next ones are.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<K, R> {
    /// Keys and rows, in order.
    pub rows: Vec<(K, R)>,
    /// Where to go on; `None` when that was all.
    pub next: Option<Cursor>,
}

/// Where a page ended. It has a form as text, for whoever asks for the next page from outside, and stays good for as
/// long as the table has such keys: it does not matter what becomes of the row that it was made at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Tells the ranges of all tables apart.
    range: u64,
    key: Vec<u8>,
}

impl<S: RowSource> Pages<S> {
    pub(super) fn new(source: S, name: &str, range: KeyRange) -> Self {
        Self {
            source,
            name: name.to_owned(),
            range,
            after: None,
        }
    }

    /// The same rows with the highest key first, from the first of them on.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.range.is_descending = true;
        self.after = None;
        self
    }

    /// What is left behind an earlier page.
    ///
    /// # Errors
    /// [`QueryError::ForeignCursor`].
    pub fn after(mut self, cursor: &Cursor) -> Result<Self, QueryError> {
        // It comes from outside, and nothing outside of the range may be had with it.
        if cursor.range != self.fingerprint() || !self.range.contains(&cursor.key) {
            return Err(QueryError::ForeignCursor);
        }
        self.after = Some(cursor.key.clone());
        Ok(self)
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3::new();
        hasher.update(format!("{:?}", (&self.name, &self.range)).as_bytes());
        hasher.digest()
    }

    fn rest(&self) -> KeyRange {
        match &self.after {
            Some(key) => self.range.behind(key),
            None => self.range.clone(),
        }
    }

    /// The first `limit` rows, one if it is 0.
    ///
    /// # Errors
    /// As [`TableReader::get`](super::TableReader::get).
    pub fn page(&self, limit: usize) -> Result<Page<S::Key, S::Row>, QueryError> {
        let (mut rows, mut rest) = (Vec::new(), self.rest());
        let (mut last, limit) = (None, limit.max(1));
        while rows.len() < limit {
            let (range, limit) = (&rest, (limit - rows.len()).min(SCAN_ROWS));
            let slice = self.source.slice(&Front { range, limit })?.0;
            let is_whole = slice.found.len() <= limit;
            for (bytes, row) in slice.found.into_iter().take(limit) {
                last = Some(bytes);
                rows.push(row);
            }
            let end = if is_whole { slice.end } else { last.clone() };
            let Some(end) = end else {
                return Ok(Page { rows, next: None });
            };
            rest = rest.behind(&end);
            last = Some(end);
        }
        let range = self.fingerprint();
        let next = last.map(|key| Cursor { range, key });
        Ok(Page { rows, next })
    }

    /// All rows, in order, to `with`.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn for_each(&self, mut with: impl FnMut(S::Key, S::Row)) -> Result<(), QueryError> {
        let mut range = self.rest();
        loop {
            let front = Front {
                range: &range,
                limit: SCAN_ROWS,
            };
            let slice = self.source.slice(&front)?.0;
            for (_, (key, row)) in slice.found {
                with(key, row);
            }
            let Some(end) = slice.end else { return Ok(()) };
            range = range.behind(&end);
        }
    }

    /// All rows, in order.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn all(&self) -> Result<Vec<RowOf<S>>, QueryError> {
        let mut rows = Vec::new();
        self.for_each(|key, row| rows.push((key, row)))?;
        Ok(rows)
    }

    /// Number of rows. Cost: reads them.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn count(&self) -> Result<u64, QueryError> {
        let mut count = 0;
        self.for_each(|_, _| count += 1)?;
        Ok(count)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.range)?;
        self.key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no cursor: give back the one that came with the page before")]
pub struct ParseCursorError {
    text: String,
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (range, key) = text.split_at_checked(16)?;
            let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_hex(text) || key.len() % 2 != 0 {
                return None;
            }
            let pairs = (0..key.len()).step_by(2);
            let key = pairs.map(|at| u8::from_str_radix(&key[at..at + 2], 16));
            Some(Self {
                range: u64::from_str_radix(range, 16).ok()?,
                key: key.collect::<Result<_, _>>().ok()?,
            })
        };
        parsed().ok_or_else(|| ParseCursorError {
            text: text.to_owned(),
        })
    }
}
