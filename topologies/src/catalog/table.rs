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

use super::bad_line::shown;
pub use super::bad_line::{BadField, BadLine, TableError, WrongColumn};

/// Longest row that is read. Bytes, quotes and line ends included; found rows have at most 200.
pub const ROW_BYTES_MAX: u64 = 1 << 20;

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
