//! What a format of records does, and places in files of them.

use serde::de::DeserializeOwned;

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct FilePosition {
    /// Byte at which a record begins.
    pub offset: u64,
    /// Its line, from 1.
    pub line: u64,
}

impl Default for FilePosition {
    fn default() -> Self {
        Self { offset: 0, line: 1 }
    }
}

/// What a format makes of one record.
#[derive(Debug)]
pub struct Parsed<T> {
    /// Lines and bytes of the piece before the record.
    pub begin: FilePosition,
    /// The record, or the field to blame, the reason and the record's beginning.
    pub outcome: Result<T, (Option<String>, String, String)>,
}

/// Takes pieces of a file apart.
pub trait LineFormat: Clone + Send + 'static {
    /// What parts fields that may be in double quotes, in which line ends do not end a record; `None` if every line
    /// end ends one.
    fn quoted_fields(&self) -> Option<u8>;
    /// The first record of a file says what the others mean.
    fn has_header(&self) -> bool;
    /// A file begins: forgets what the one before said.
    fn begin_file(&mut self);
    /// Whole records come next; whether they are what the file begins with.
    fn begin_piece(&mut self, bytes: Vec<u8>, is_beginning: bool);
    /// The next record of the piece; positions in it count from its beginning, lines from 0.
    fn next<T: DeserializeOwned>(&mut self) -> Option<Parsed<T>>;
    /// Bytes and lines of the piece that were taken so far.
    fn taken(&self) -> FilePosition;
    /// Those bytes.
    fn taken_bytes(&self) -> &[u8];
}
