//! How rows are written into files.

mod names;

use std::io;

use serde::Serialize;

use self::names::{has_names, names_of};

/// How rows are written.
pub trait RowFormat: Clone + Send + 'static {
    /// Of the files' names.
    const EXTENSION: &'static str;
    /// Whether a file that has rows can be gone on with from the end of any chunk, by another one after a restart. If not,
    /// a file is completed at each checkpoint. Default: not.
    const GOES_ON: bool = false;

    /// A file begins.
    fn begin(&mut self);

    /// A file that has rows is gone on with by this row, if it can have it, otherwise it is completed before this row; only
    /// if files [can be](Self::GOES_ON) gone on with. `beginning` is that of the file, up to 64 KiB. Default: it can.
    fn go_on<T: Serialize>(&mut self, beginning: &[u8], row: &T) -> bool {
        let _ = (beginning, row);
        true
    }

    /// Adds a row to the chunk.
    ///
    /// # Errors
    /// Why it cannot be written: the sink fails, and the chunk is not taken any more.
    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), String>;

    /// About how many bytes the chunk has.
    fn chunk_bytes(&self) -> usize;

    /// Takes the chunk.
    ///
    /// # Errors
    /// Why a row of it cannot be written.
    fn take_chunk(&mut self) -> Result<Vec<u8>, String>;
}

/// A JSON value per line.
#[derive(Clone, Debug, Default)]
pub struct JsonRows {
    chunk: Vec<u8>,
}

impl RowFormat for JsonRows {
    const EXTENSION: &'static str = "jsonl";
    const GOES_ON: bool = true;

    fn begin(&mut self) {}

    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), String> {
        let before = self.chunk.len();
        if let Err(error) = serde_json::to_writer(&mut self.chunk, row) {
            self.chunk.truncate(before);
            return Err(error.to_string());
        }
        self.chunk.push(b'\n');
        Ok(())
    }

    fn chunk_bytes(&self) -> usize {
        self.chunk.len()
    }

    fn take_chunk(&mut self) -> Result<Vec<u8>, String> {
        Ok(std::mem::take(&mut self.chunk))
    }
}

/// CSV with a header of the fields' names in every file. Each row has as many fields as the first one of its file, of the same
/// names. After a restart a row without names goes on with a file only if a field of that file's first line begins as a number
/// does; otherwise that line may be a header, and another file begins.
#[derive(Debug, Default)]
pub struct CsvRows {
    writer: Option<csv::Writer<Vec<u8>>>,
    /// Of each row of the present file; 0 before the first one.
    fields: usize,
    /// As the header has them; none where there is none.
    names: Vec<&'static str>,
}

impl Clone for CsvRows {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl CsvRows {
    /// The first row of a chunk: a writer by itself compares only rows of one chunk.
    fn first<T: Serialize>(&mut self, row: &T) -> Result<(), csv::Error> {
        let mut builder = csv::WriterBuilder::new();
        let is_first = self.fields == 0;
        let header = if is_first { header(row)?.0 } else { Vec::new() };
        let row_at = header.len();
        let mut writer = builder.has_headers(false).from_writer(header);
        writer.serialize(row)?;
        writer.flush()?;
        let (_, fields) = record(&writer.get_ref()[row_at..]);
        if self.fields > 0 && fields != self.fields {
            let expected = self.fields;
            let cause = format!("it has {fields} fields, and those before it have {expected}");
            return Err(io::Error::other(cause).into());
        }
        self.fields = fields;
        if is_first && row_at > 0 {
            self.names = names_of(row);
        }
        self.writer = Some(writer);
        Ok(())
    }

    /// What a row is told whose fields have other names than the header.
    #[cold]
    fn other_names<T: Serialize>(&self, row: &T) -> String {
        let (expected, names) = (self.names.join(","), names_of(row).join(","));
        format!("its fields are {names}, and the header of its file has {expected}")
    }
}

/// Names of the row's fields, as the line of a file, nothing if they have none; and how many fields it has.
fn header<T: Serialize>(row: &T) -> Result<(Vec<u8>, usize), csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(row)?;
    let lines = writer.into_inner();
    let mut lines = lines.map_err(csv::IntoInnerError::into_error)?;
    let (bytes, fields) = record(&lines);
    // Otherwise the row is alone.
    let has_header = bytes < lines.len();
    lines.truncate(if has_header { bytes } else { 0 });
    Ok((lines, fields))
}

/// Bytes of the first record, and how many fields it has.
fn record(bytes: &[u8]) -> (usize, usize) {
    let (mut fields, mut is_quoted) = (1, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            // One that is part of a text is there twice.
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => fields += 1,
            b'\n' if !is_quoted => return (at + 1, fields),
            _ => {}
        }
    }
    (bytes.len(), fields)
}

/// Whether a record is told from a header by its fields: no field of a struct has a name that begins with a digit, unless it
/// is renamed so.
fn is_no_header(record: &[u8]) -> bool {
    let (mut is_first_byte, mut is_quoted) = (true, false);
    for byte in record {
        match byte {
            b'0'..=b'9' if is_first_byte => return true,
            // A number may be negative.
            b'-' if is_first_byte => {}
            _ => {
                is_quoted ^= *byte == b'"';
                is_first_byte = *byte == b',' && !is_quoted;
            }
        }
    }
    false
}

impl RowFormat for CsvRows {
    const EXTENSION: &'static str = "csv";
    const GOES_ON: bool = true;

    fn begin(&mut self) {
        self.fields = 0;
        self.names.clear();
    }

    fn go_on<T: Serialize>(&mut self, beginning: &[u8], row: &T) -> bool {
        let (bytes, fields) = record(beginning);
        self.fields = fields;
        match header(row) {
            // Under a header such a row would stand as one of those fields, and later rows would be compared with nothing.
            Ok((names, own)) if names.is_empty() => {
                own == fields && is_no_header(&beginning[..bytes])
            }
            Ok((names, _)) => {
                self.names = names_of(row);
                names == beginning[..bytes]
            }
            // That is told when it is written.
            Err(_) => true,
        }
    }

    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), String> {
        if !self.names.is_empty() && !has_names(row, &self.names) {
            return Err(self.other_names(row));
        }
        let written = match &mut self.writer {
            Some(writer) => writer.serialize(row),
            None => self.first(row),
        };
        if written.is_err() {
            // It has begun a record, which the next row would go on with.
            self.writer = None;
        }
        written.map_err(|error| error.to_string())
    }

    fn chunk_bytes(&self) -> usize {
        let writer = self.writer.as_ref();
        writer.map_or(0, |writer| writer.get_ref().len())
    }

    fn take_chunk(&mut self) -> Result<Vec<u8>, String> {
        match self.writer.take() {
            None => Ok(Vec::new()),
            Some(writer) => writer.into_inner().map_err(|error| error.to_string()),
        }
    }
}
