//! Records that are longer than what is held of one: passed over to the next line end, in bounded memory.
//!
//! The next line end ends them whether it stands in quotes or not: most often the reason for so long a record is a quote
//! that is never closed, which would take the rest of the file with it.

use super::bad_line::BEGINNING_BYTES;
use super::file_mark::keep_last;
use super::pieces::RECORD_BYTES_MAX;

/// A record that is passed over, as far as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TooLong {
    pub(super) bytes: u64,
    pub(super) line_ends: u64,
    /// What it begins with.
    pub(super) beginning: Vec<u8>,
    /// Its last bytes, as far as positions want them.
    pub(super) end: Vec<u8>,
}

impl TooLong {
    /// Begins with what was read of it; it is not over yet.
    pub(super) fn new(read: &[u8]) -> Self {
        let mut record = Self {
            beginning: read[..read.len().min(BEGINNING_BYTES)].to_vec(),
            ..Self::default()
        };
        record.pass(read);
        record
    }

    /// How many of these bytes belong to it, and whether it is over with them.
    pub(super) fn go_on(&mut self, bytes: &[u8]) -> (usize, bool) {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let count = end.map_or(bytes.len(), |end| end + 1);
        self.pass(&bytes[..count]);
        (count, end.is_some())
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.line_ends += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        keep_last(&mut self.end, bytes);
    }

    pub(super) fn reason(&self) -> String {
        let quote = match self.line_ends {
            0 | 1 => "",
            _ => "; it has several lines, so that a quote may not be closed",
        };
        format!(
            "the record has more than {RECORD_BYTES_MAX} bytes, and was passed over to the next line end behind them{quote}"
        )
    }
}
