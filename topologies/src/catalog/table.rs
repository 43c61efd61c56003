//! A delimited text file, plain or zstd, read row by row with errors that name file, line and field.
//!
//! Place: below the importers of `shop` and `bank`. Invariants: (1) a row that cannot be read is
//! answered as a [`BadLine`] and the next row follows; (2) one row is held at a time, and a row longer
//! than [`ROW_BYTES_MAX`] ends the reading, so a stray quote cannot take the file into memory.
//! Failure: nothing panics, whatever the bytes are. Not here: what the fields mean.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder, Terminator};

/// Longest row that is read. Bytes, quotes and line ends included; found rows have at most 200.
pub const ROW_BYTES_MAX: u64 = 1 << 20;

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

/// Fails once a single row has taken more than [`ROW_BYTES_MAX`].
struct Limited {
    inner: Box<dyn Read + Send>,
    since_row: u64,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row > ROW_BYTES_MAX {
            let text = format!("a row is longer than {ROW_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let count = self.inner.read(buffer)?;
        self.since_row += count as u64;
        Ok(count)
    }
}

/// An open file whose header was found right. See the module's head.
pub struct Table {
    file: Arc<str>,
    columns: &'static [&'static str],
    reader: csv::Reader<Limited>,
    record: ByteRecord,
    ended: bool,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Table")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// Opens `path`, through zstd when its name ends in `.zst`, and checks the header.
    ///
    /// # Errors
    /// [`TableError::Open`], [`TableError::Read`] and [`TableError::Header`].
    pub fn open(
        path: &Path,
        delimiter: u8,
        columns: &'static [&'static str],
    ) -> Result<Self, TableError> {
        let file: Arc<str> = path.display().to_string().into();
        let failed = |source| TableError::Open {
            file: file.clone(),
            source,
        };
        let plain = File::open(path).map_err(failed)?;
        let inner: Box<dyn Read + Send> = if path.extension().is_some_and(|end| end == "zst") {
            Box::new(zstd::Decoder::new(plain).map_err(failed)?)
        } else {
            Box::new(plain)
        };
        Self::from_reader(&file, inner, delimiter, columns)
    }

    /// Reads `inner`, which errors will call `file`, and checks the header.
    ///
    /// # Errors
    /// [`TableError::Read`] and [`TableError::Header`].
    pub fn from_reader(
        file: &str,
        inner: Box<dyn Read + Send>,
        delimiter: u8,
        columns: &'static [&'static str],
    ) -> Result<Self, TableError> {
        // Ending rows at `\n` alone keeps line numbers right in files with `\r\n`; see `Row::bytes`.
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .terminator(Terminator::Any(b'\n'))
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(1 << 16)
            .from_reader(Limited {
                inner,
                since_row: 0,
            });
        let file = Arc::from(file);
        let mut table = Self {
            file,
            columns,
            reader,
            record: ByteRecord::new(),
            ended: false,
        };
        let _ = table.advance()?;
        let wrong = table.wrong_columns();
        if wrong.is_empty() {
            return Ok(table);
        }
        Err(TableError::Header {
            file: table.file,
            columns: wrong,
        })
    }

    /// Name of the file, as errors give it.
    #[must_use]
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The next row, `None` at the end.
    ///
    /// # Errors
    /// [`TableError::Read`], after which the table is at its end, and [`TableError::Bad`] for a row with
    /// too many columns.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TableError> {
        if self.ended || !self.advance()? {
            return Ok(None);
        }
        let row = Row { table: self };
        let (expected, found) = (self.columns.len(), self.record.len());
        if found > expected {
            let reason = BadField::TooManyColumns { expected, found };
            return Err(row.bad(expected.saturating_sub(1), reason).into());
        }
        Ok(Some(row))
    }

    /// Reads one record; `false` at the end.
    fn advance(&mut self) -> Result<bool, TableError> {
        let line = self.reader.position().line();
        let more = self
            .reader
            .read_byte_record(&mut self.record)
            .map_err(|error| {
                self.ended = true;
                TableError::Read {
                    file: self.file.clone(),
                    line: line.saturating_sub(1),
                    source: error.into(),
                }
            })?;
        self.ended = !more;
        self.reader.get_mut().since_row = 0;
        Ok(more)
    }

    fn wrong_columns(&self) -> Vec<WrongColumn> {
        let found = |at: usize| {
            let bytes = self.record.get(at)?;
            let last = at + 1 == self.record.len();
            Some(if last {
                bytes.strip_suffix(b"\r").unwrap_or(bytes)
            } else {
                bytes
            })
        };
        (0..self.columns.len().max(self.record.len()))
            .filter(|&at| found(at) != self.columns.get(at).map(|name| name.as_bytes()))
            .map(|at| WrongColumn {
                place: at + 1,
                expected: self.columns.get(at).copied(),
                found: found(at).map(|bytes| shown(&String::from_utf8_lossy(bytes))),
            })
            .collect()
    }
}

/// The start of a text, short enough for an error.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// One row; columns are named by their place from 0.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: &'a Table,
}

impl<'a> Row<'a> {
    /// Line in the file where the row starts, from 1. After empty lines it is the first of them.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.table.record.position().map_or(0, csv::Position::line)
    }

    /// An error about a column.
    #[must_use]
    pub fn bad(&self, column: usize, reason: BadField) -> BadLine {
        let field = self.table.columns.get(column).copied().unwrap_or("row");
        BadLine {
            file: self.table.file.clone(),
            line: self.line(),
            field,
            reason,
        }
    }

    /// The text of a column, possibly empty.
    ///
    /// # Errors
    /// [`BadField::Missing`] and [`BadField::NotUtf8`].
    pub fn text(&self, column: usize) -> Result<&'a str, BadLine> {
        let record = &self.table.record;
        let bytes = record
            .get(column)
            .ok_or_else(|| self.bad(column, BadField::Missing))?;
        let last = column + 1 == record.len();
        let bytes = if last {
            bytes.strip_suffix(b"\r").unwrap_or(bytes)
        } else {
            bytes
        };
        std::str::from_utf8(bytes).map_err(|_| self.bad(column, BadField::NotUtf8))
    }

    /// A column that can be part of a stream id: not empty, at most `bytes_max` bytes, no control
    /// character and no `@`.
    ///
    /// # Errors
    /// As [`text`](Self::text), [`BadField::Empty`], [`BadField::TooLong`] and [`BadField::Character`].
    pub fn id(&self, column: usize, bytes_max: usize) -> Result<&'a str, BadLine> {
        let text = self.text(column)?;
        let reason = if text.is_empty() {
            BadField::Empty
        } else if text.len() > bytes_max {
            BadField::TooLong { bytes_max }
        } else if let Some(found) = text.chars().find(|&c| c == '@' || c.is_control()) {
            BadField::Character { found }
        } else {
            return Ok(text);
        };
        Err(self.bad(column, reason))
    }

    /// A column through `parse`, whose answer `None` means that it is not of the kind that `reason` names.
    ///
    /// # Errors
    /// As [`text`](Self::text), and `reason` with the start of the text.
    pub fn parse<T>(
        &self,
        column: usize,
        parse: impl FnOnce(&str) -> Option<T>,
        reason: impl FnOnce(String) -> BadField,
    ) -> Result<T, BadLine> {
        let text = self.text(column)?;
        parse(text).ok_or_else(|| self.bad(column, reason(shown(text))))
    }

    /// A whole number.
    ///
    /// # Errors
    /// As [`text`](Self::text), and [`BadField::NotANumber`].
    pub fn number<T: std::str::FromStr>(&self, column: usize) -> Result<T, BadLine> {
        self.parse(
            column,
            |text| text.parse().ok(),
            |found| BadField::NotANumber { found },
        )
    }
}
