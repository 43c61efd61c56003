//! Many values without their types, one after another: rows of a table, payloads of a frame.
//!
//! Place: stored bytes -> **`ValueReader`** -> [`Value`] or JSON, for programs that do not know the types, such as SQL.
//! Cost: a compare of the dictionary while it is the same as the last one, else parsing it.

use serde_json::Value as Json;

use super::json::{NAMES_BYTES_MAX, payload_to_json};
use super::{Value, read};
use crate::codec::error::DecodeError;
use crate::codec::shapes::Shapes;
use crate::codec::standalone;
use crate::log::frame::Encoding;

/// Reads values whose types are not known, and remembers the dictionary of the last one. One owner.
#[derive(Debug, Default)]
pub struct ValueReader {
    shapes: Option<Shapes>,
}

impl ValueReader {
    /// A reader that has seen no dictionary yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A value that stands alone, such as the row of a table, as [`from_slice`](crate::codec::from_slice) reads it.
    ///
    /// # Errors
    /// [`DecodeError`]; the reader stays usable.
    pub fn standalone(&mut self, bytes: &[u8]) -> Result<Value, DecodeError> {
        let (dictionary, at) = standalone::split(bytes)?;
        read::whole(self.shapes(dictionary)?, &bytes[at..], usize::MAX)
            .map_err(|error| error.shifted(|offset| offset + at))
    }

    /// The payload of a record as JSON, as [`payload_to_json`] gives it.
    ///
    /// # Errors
    /// As [`payload_to_json`]; the reader stays usable.
    pub fn payload_to_json(
        &mut self,
        encoding: Encoding,
        dictionary: &[u8],
        payload: &[u8],
    ) -> Result<Json, DecodeError> {
        if encoding != Encoding::Binary {
            return payload_to_json(encoding, dictionary, payload);
        }
        let value = read::whole(self.shapes(dictionary)?, payload, NAMES_BYTES_MAX)?;
        Ok(value.to_json())
    }

    fn shapes(&mut self, dictionary: &[u8]) -> Result<&Shapes, DecodeError> {
        let is_same = |shapes: &Shapes| shapes.dictionary() == dictionary;
        if !self.shapes.as_ref().is_some_and(is_same) {
            self.shapes = None;
        }
        match &mut self.shapes {
            Some(shapes) => Ok(shapes),
            none => Ok(none.insert(Shapes::parse_or_empty(dictionary)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{ShapeWriter, to_vec};
    use serde::Serialize;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        amount: i64,
    }

    #[test]
    fn rows_payloads_and_damage_take_turns() {
        let row = Row {
            name: "ann",
            amount: -7,
        };
        let json = serde_json::json!({ "name": "ann", "amount": -7 });
        let (stored, plain) = (to_vec(&row).unwrap(), to_vec(&5u8).unwrap());
        let (mut writer, mut payload) = (ShapeWriter::new(), Vec::new());
        writer.encode(&row, &mut payload).unwrap();
        let mut dictionary = Vec::new();
        writer.dictionary(&mut dictionary);
        let mut reader = ValueReader::new();
        for _ in 0..2 {
            assert_eq!(reader.standalone(&stored).unwrap().to_json(), json);
            assert_eq!(reader.standalone(&plain).unwrap(), Value::Unsigned(5));
            assert!(reader.standalone(&stored[..3]).is_err());
            let mut payload_of = |encoding| reader.payload_to_json(encoding, &dictionary, &payload);
            assert_eq!(payload_of(Encoding::Binary).unwrap(), json);
            assert!(payload_of(Encoding::Opaque).is_err());
        }
    }
}
