//! JSON Lines: one JSON value per line. Empty lines are passed over, and so is a byte order mark at the beginning.

use serde::de::DeserializeOwned;

use super::bad_line::shown;
use super::line_format::{FilePosition, LineFormat, Parsed};

/// What some programs begin a file of UTF-8 with. It is no part of JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One JSON value per line.
#[derive(Clone, Debug, Default)]
pub struct JsonLinesFormat {
    bytes: Vec<u8>,
    taken: usize,
    lines: u64,
}

/// Reads once more to find the field; only where reading failed.
#[cold]
fn blame<T: DeserializeOwned>(line: &[u8]) -> (Option<String>, String, String) {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let (field, reason) = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => (None, "there is something behind the value".to_owned()),
        Err(error) => {
            let path = error.path().to_string();
            // "." is the whole value.
            ((path != ".").then_some(path), error.inner().to_string())
        }
    };
    (field, reason, shown(line))
}

impl LineFormat for JsonLinesFormat {
    fn quoted_fields(&self) -> Option<u8> {
        None
    }

    fn has_header(&self) -> bool {
        false
    }

    fn begin_file(&mut self) {}

    fn begin_piece(&mut self, bytes: Vec<u8>, is_beginning: bool) {
        let has_mark = is_beginning && bytes.starts_with(BYTE_ORDER_MARK);
        self.bytes = bytes;
        self.taken = if has_mark { BYTE_ORDER_MARK.len() } else { 0 };
        self.lines = 0;
    }

    fn next<T: DeserializeOwned>(&mut self) -> Option<Parsed<T>> {
        while self.taken < self.bytes.len() {
            let begin = self.taken();
            let rest = &self.bytes[self.taken..];
            let end = rest.iter().position(|&byte| byte == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            self.taken += end.map_or(rest.len(), |end| end + 1);
            self.lines += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let outcome = serde_json::from_slice(line).map_err(|_| blame::<T>(line));
            return Some(Parsed { begin, outcome });
        }
        None
    }

    fn taken(&self) -> FilePosition {
        FilePosition {
            offset: self.taken as u64,
            line: self.lines,
        }
    }

    fn taken_bytes(&self) -> &[u8] {
        &self.bytes[..self.taken]
    }
}
