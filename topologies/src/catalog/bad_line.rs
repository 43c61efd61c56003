//! What can be wrong with a table, a header, a row or a field; see [`table`](super::table).

use std::io;
use std::sync::Arc;

/// Longest piece of a field that an error repeats. Characters.
const SHOWN_CHARS_MAX: usize = 40;

/// One field of one line that cannot be used. The rows around it are not touched by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}, {field}: {reason}")]
pub struct BadLine {
    /// Name of the file, as it was opened.
    pub file: Arc<str>,
    /// Line in the file, from 1; the header is line 1.
    pub line: u64,
    /// Name of the column.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: BadField,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadField {
    /// The row ends before this column.
    #[error("the column is missing")]
    Missing,
    /// The row goes on behind this, the last column.
    #[error("the row has {found} columns, {expected} expected")]
    TooManyColumns {
        /// Columns of the header.
        expected: usize,
        /// Columns of the row.
        found: usize,
    },
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Nothing is there, but something must be.
    #[error("empty")]
    Empty,
    /// Longer than any id may be.
    #[error("longer than {bytes_max} bytes")]
    TooLong {
        /// Longest allowed.
        bytes_max: usize,
    },
    /// A character that no id may hold: a control character, or `@`, which names a partition key.
    #[error("{found:?} may not be part of an id")]
    Character {
        /// The character.
        found: char,
    },
    /// An id that begins like those which the importer makes itself.
    #[error("the prefix {prefix:?} is reserved")]
    Reserved {
        /// How no id of the file may begin.
        prefix: &'static str,
    },
    /// Not a number of the kind expected.
    #[error("{found:?} is not a number")]
    NotANumber {
        /// The start of what was there.
        found: String,
    },
    /// A number larger, or with more decimals, than is sensible.
    #[error("{found:?} is out of range")]
    OutOfRange {
        /// The start of what was there.
        found: String,
    },
    /// Not a moment in the file's format.
    #[error("{found:?} is not a date")]
    NotADate {
        /// The start of what was there.
        found: String,
    },
    /// None of the words that the column may hold.
    #[error("{found:?} is not a known word")]
    UnknownWord {
        /// The start of what was there.
        found: String,
    },
}

/// One column of a header that is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongColumn {
    /// Place in the row, from 1.
    pub place: usize,
    /// The name expected; `None` when the header has a column too many.
    pub expected: Option<&'static str>,
    /// The start of the name found, unreadable bytes replaced; `None` when the header is too short.
    pub found: Option<String>,
}

impl std::fmt::Display for WrongColumn {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "column {}: ", self.place)?;
        match (self.expected, &self.found) {
            (Some(expected), Some(found)) => write!(out, "{found:?} instead of {expected}"),
            (Some(expected), None) => write!(out, "{expected} is missing"),
            (None, Some(found)) => write!(out, "{found:?} is not expected"),
            (None, None) => Ok(()),
        }
    }
}

/// Why a file gives no rows, or no more. [`Bad`](Self::Bad) alone lets the reading go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file cannot be opened.
    #[error("cannot open {file}: {source}")]
    Open {
        /// Name of the file.
        file: Arc<str>,
        /// What the system said.
        source: io::Error,
    },
    /// Reading or decompressing failed; rows before stand, nothing follows.
    #[error("cannot read {file} after line {line}: {source}")]
    Read {
        /// Name of the file.
        file: Arc<str>,
        /// Last line read.
        line: u64,
        /// What the system or the decoder said.
        source: io::Error,
    },
    /// The header is not the format's; no row was read.
    #[error("{file} has another header: {}", join(.columns))]
    Header {
        /// Name of the file.
        file: Arc<str>,
        /// Every column that differs, in order.
        columns: Vec<WrongColumn>,
    },
    /// One row cannot be used; the next one can be asked for.
    #[error(transparent)]
    Bad(#[from] BadLine),
}

fn join(columns: &[WrongColumn]) -> String {
    columns
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The start of a text, short enough for an error.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
