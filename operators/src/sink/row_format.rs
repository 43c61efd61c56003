//! How rows are written into files.

use serde::Serialize;

/// How rows are written.
pub trait RowFormat: Clone + Send + 'static {
    /// Of the files' names.
    const EXTENSION: &'static str;
    /// Whether a file that has rows can be gone on with from the end of any chunk, by another one after a restart. If not,
    /// a file is completed at each checkpoint. Default: not.
    const GOES_ON: bool = false;

    /// A file begins.
    fn begin(&mut self);

    /// A file that has rows is gone on with; only if it [can be](Self::GOES_ON).
    fn go_on(&mut self) {}

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

/// CSV with a header of the fields' names in every file.
#[derive(Debug, Default)]
pub struct CsvRows {
    writer: Option<csv::Writer<Vec<u8>>>,
    has_header: bool,
}

impl Clone for CsvRows {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl RowFormat for CsvRows {
    const EXTENSION: &'static str = "csv";
    const GOES_ON: bool = true;

    fn begin(&mut self) {
        self.has_header = false;
    }

    fn go_on(&mut self) {
        self.has_header = true;
    }

    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), String> {
        let has_header = std::mem::replace(&mut self.has_header, true);
        let writer = self.writer.get_or_insert_with(|| {
            let mut builder = csv::WriterBuilder::new();
            builder.has_headers(!has_header).from_writer(Vec::new())
        });
        let written = writer.serialize(row).map_err(|error| error.to_string());
        if written.is_err() {
            // It has begun a record, which the next row would go on with.
            self.writer = None;
        }
        written
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
