//! CSV: a header with the names of the columns, then a record per line. Fields in double quotes may hold line ends.

use std::io::Cursor;

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde::de::DeserializeOwned;

use super::bad_line::shown;
use super::line_format::{FilePosition, LineFormat, Parsed};

/// Records under a header.
pub struct CsvFormat {
    delimiter: u8,
    with_header: bool,
    header: Option<ByteRecord>,
    reader: Option<Reader<Cursor<Vec<u8>>>>,
    record: ByteRecord,
}

impl CsvFormat {
    /// Fields are parted by `delimiter`; columns are known by their names in the header, or by their order if
    /// there is none.
    #[must_use]
    pub fn new(delimiter: u8, with_header: bool) -> Self {
        Self {
            delimiter,
            with_header,
            header: None,
            reader: None,
            record: ByteRecord::new(),
        }
    }

    fn outcome<T: DeserializeOwned>(&self) -> Result<T, (Option<String>, String, String)> {
        let text = || shown(&self.record.iter().collect::<Vec<_>>().join(&self.delimiter));
        if let Some(header) = &self.header
            && header.len() != self.record.len()
        {
            let (found, expected) = (self.record.len(), header.len());
            let field = header.get(found).map(name);
            let reason = format!("the record has {found} fields, {expected} expected");
            return Err((field, reason, text()));
        }
        self.record
            .deserialize(self.header.as_ref())
            .map_err(|error| {
                let (field, reason) = self.blame(&error);
                (field, reason, text())
            })
    }

    #[cold]
    fn blame(&self, error: &csv::Error) -> (Option<String>, String) {
        let csv::ErrorKind::Deserialize { err, .. } = error.kind() else {
            return (None, error.to_string());
        };
        let number = err.field().and_then(|field| usize::try_from(field).ok());
        let field = number.map(|number| {
            let named = self.header.as_ref().and_then(|header| header.get(number));
            named.map_or_else(|| (number + 1).to_string(), name)
        });
        (field, err.kind().to_string())
    }
}

fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl LineFormat for CsvFormat {
    fn quoted_fields(&self) -> Option<u8> {
        Some(self.delimiter)
    }

    fn has_header(&self) -> bool {
        self.with_header
    }

    fn begin_file(&mut self) {
        self.header = None;
    }

    fn begin_piece(&mut self, bytes: Vec<u8>, _is_beginning: bool) {
        let reader = ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(false)
            // Lengths are compared with the header: the first record of a piece is as good as any.
            .flexible(true)
            .from_reader(Cursor::new(bytes));
        self.reader = Some(reader);
    }

    fn next<T: DeserializeOwned>(&mut self) -> Option<Parsed<T>> {
        loop {
            let reader = self.reader.as_mut()?;
            match reader.read_byte_record(&mut self.record) {
                Ok(true) => {}
                // A cursor has no errors of its own, and records of any length are taken.
                Ok(false) | Err(_) => return None,
            }
            if self.with_header && self.header.is_none() {
                self.header = Some(self.record.clone());
                continue;
            }
            let position = self.record.position();
            let begin = position.map_or(FilePosition { offset: 0, line: 0 }, place);
            let outcome = self.outcome();
            return Some(Parsed { begin, outcome });
        }
    }

    fn taken(&self) -> FilePosition {
        let reader = self.reader.as_ref();
        reader.map_or(FilePosition { offset: 0, line: 0 }, |reader| {
            place(reader.position())
        })
    }

    fn taken_bytes(&self) -> &[u8] {
        let Some(reader) = &self.reader else {
            return &[];
        };
        let taken = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
        let bytes = reader.get_ref().get_ref();
        &bytes[..taken.min(bytes.len())]
    }
}

fn place(position: &csv::Position) -> FilePosition {
    FilePosition {
        offset: position.byte(),
        line: position.line().saturating_sub(1),
    }
}

impl Clone for CsvFormat {
    fn clone(&self) -> Self {
        Self::new(self.delimiter, self.with_header)
    }
}

impl std::fmt::Debug for CsvFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvFormat")
            .field("delimiter", &char::from(self.delimiter))
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
