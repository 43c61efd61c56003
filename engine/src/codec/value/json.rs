//! Values as JSON, and events from JSON.
//!
//! JSON shows enums as serde does by default: `"Closed"`, `{"Deposited": {"amount": 7}}`. What JSON
//! cannot hold is shown as text: numbers past 64 bits in decimal, bytes in hexadecimal, `NaN` and the
//! infinities by name. A map becomes an object if its keys are plain and differ, else a list of pairs.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value as Json};

use super::json_text::{self, wide_integers};
use super::{Fields, Record, Value, read};
use crate::codec::error::{DecodeError, EncodeError};
use crate::codec::shapes::Shapes;
use crate::log::frame::Encoding;

/// Bytes of names in one payload shown as JSON, which holds a copy at each use. Real payloads have
/// kilobytes; without a limit one of 64 MiB could ask for 64 GiB.
pub(super) const NAMES_BYTES_MAX: usize = 64 << 20;

/// The payload of a record as JSON, without the program that wrote it.
///
/// `dictionary` is that of the record's frame, empty if it has none. Fields stand under their names;
/// enum variants are tagged from outside, as serde does by default. Cost: parses the dictionary each time.
///
/// # Errors
/// - [`DecodeError::Opaque`]: only the writer can read the payload.
/// - [`DecodeError::TooLarge`]: a few bytes stand for so many names that JSON would fill the memory.
/// - any other: payload or dictionary are damaged.
pub fn payload_to_json(
    encoding: Encoding,
    dictionary: &[u8],
    payload: &[u8],
) -> Result<Json, DecodeError> {
    match encoding {
        Encoding::Binary => {
            let shapes = Shapes::parse_or_empty(dictionary)?;
            Ok(read::whole(&shapes, payload, NAMES_BYTES_MAX)?.to_json())
        }
        Encoding::Json => {
            let wide = wide_integers(payload);
            if wide.is_empty() {
                return from_text(payload);
            }
            Ok(json_text::parse(payload, &wide, json_text::Wide::shown)?.to_json())
        }
        Encoding::Opaque => Err(DecodeError::Opaque),
    }
}

fn from_text<T: DeserializeOwned>(text: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(text).map_err(|error| DecodeError::json(&error))
}

/// Parses a JSON payload with integers of up to 128 bits; at most 128 levels deep.
///
/// # Errors
/// [`DecodeError::NumberTooLarge`] for an integer past that, [`DecodeError::Json`].
pub(in crate::codec) fn parse_json(payload: &[u8]) -> Result<Value, DecodeError> {
    let wide = wide_integers(payload);
    if wide.is_empty() {
        return from_text::<Json>(payload).map(Value::from);
    }
    json_text::parse(payload, &wide, json_text::Wide::exact)
}

/// Reads a value that came from JSON into a type, as JSON.
pub(in crate::codec) fn typed_from_json<T: DeserializeOwned>(
    value: &Value,
) -> Result<T, DecodeError> {
    if json_text::is_wide(value) {
        let mut text = String::new();
        json_text::write(value, &mut text);
        return from_text(text.as_bytes());
    }
    serde_json::from_value(value.to_json()).map_err(|error| DecodeError::json(&error))
}

/// An event from JSON, as a record: its name tells the variant of an enum from a struct.
pub(in crate::codec) fn event_from_json(json: Value, event_type: &str) -> Value {
    let variant = Some(Arc::from(event_type));
    match json {
        Value::Text(name) if name == event_type => {
            Value::record(Arc::default(), variant, Fields::Unit)
        }
        Value::Map(entries) => match <[_; 1]>::try_from(entries) {
            Ok([(Value::Text(name), content)]) if name == event_type => {
                let fields = match content {
                    Value::Map(entries) => named(entries),
                    other => Fields::Newtype(other),
                };
                Value::record(Arc::default(), variant, fields)
            }
            Ok(entry) => Value::record(event_type.into(), None, named(entry.into())),
            Err(entries) => Value::record(event_type.into(), None, named(entries)),
        },
        other => other,
    }
}

/// The content of an event that is written as JSON: an object is a struct.
pub(in crate::codec) fn content_as_json<T: Serialize>(content: &T) -> Result<Value, EncodeError> {
    let refused = |message: String| EncodeError::Json { message };
    let json = match serde_json::to_value(content) {
        Ok(json) => Value::from(json),
        // It may hold integers past 64 bits, which only the text can.
        Err(_) => {
            let text = serde_json::to_vec(content).map_err(|error| refused(error.to_string()))?;
            parse_json(&text).map_err(|error| refused(error.to_string()))?
        }
    };
    Ok(match json {
        Value::Map(entries) => Value::record(Arc::default(), None, named(entries)),
        other => other,
    })
}

/// The entries of an object, as fields.
fn named(entries: Vec<(Value, Value)>) -> Fields {
    let entries = entries.into_iter();
    Fields::Named(
        entries
            .filter_map(|(name, value)| match name {
                Value::Text(name) => Some((name.into(), value)),
                _ => None,
            })
            .collect(),
    )
}

impl From<Json> for Value {
    /// An object becomes a map: JSON does not tell a struct from it. A `serde_json::Value` holds no integer past
    /// 64 bits: one that was parsed from such a text is a float by now.
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => Self::from(value),
                (None, Some(value)) => Self::from(value),
                (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::Seq(items.into_iter().map(Self::from).collect()),
            Json::Object(entries) => Self::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (Self::Text(key), Self::from(value)))
                    .collect(),
            ),
        }
    }
}

impl Value {
    /// The value as JSON, for people and other programs.
    ///
    /// Fields stand under their names; enum variants are tagged from outside, as serde does by default.
    /// Numbers past 64 bits and `NaN` or infinities are shown as text, bytes in hexadecimal, a map with keys
    /// that are no text, number or bare variant as a list of pairs. Cost: a copy of each name at each use.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Nil => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Unsigned(value) => match u64::try_from(*value) {
                Ok(small) => Json::from(small),
                Err(_) => Json::String(value.to_string()),
            },
            Self::Signed(value) => match i64::try_from(*value) {
                Ok(small) => Json::from(small),
                Err(_) => Json::String(value.to_string()),
            },
            Self::Float(value) => Number::from_f64(*value)
                .map_or_else(|| Json::String(value.to_string()), Json::Number),
            Self::Text(text) => Json::String(text.clone()),
            Self::Bytes(bytes) => Json::String(hexadecimal(bytes)),
            Self::Seq(items) => list(items),
            Self::Map(entries) => map_to_json(entries),
            Self::Some(inner) => inner.to_json(),
            Self::Record(record) => record_to_json(record),
        }
    }

    /// The value as a key of an object, if it is plain.
    fn to_key(&self) -> Option<String> {
        Some(match self {
            Self::Text(text) => text.clone(),
            Self::Bool(value) => value.to_string(),
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Bytes(bytes) => hexadecimal(bytes),
            Self::Record(record) if record.fields == Fields::Unit => {
                record.variant.as_deref()?.to_owned()
            }
            _ => return None,
        })
    }
}

fn record_to_json(record: &Record) -> Json {
    let content = match (&record.fields, &record.variant) {
        (Fields::Unit, Some(variant)) => return Json::String(variant.to_string()),
        (Fields::Unit, None) => Json::Null,
        (Fields::Newtype(inner), _) => inner.to_json(),
        (Fields::Positional(items), _) => list(items),
        (Fields::Named(fields), _) => Json::Object(
            fields
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_json()))
                .collect(),
        ),
    };
    match &record.variant {
        Some(variant) => Json::Object(Map::from_iter([(variant.to_string(), content)])),
        None => content,
    }
}

/// The keys of a map that becomes an object: they are plain and differ.
pub(super) fn plain_keys(entries: &[(Value, Value)]) -> Option<Vec<String>> {
    let keys = entries.iter().map(|(key, _)| key.to_key());
    let keys: Vec<String> = keys.collect::<Option<_>>()?;
    let distinct: BTreeSet<&String> = keys.iter().collect();
    (distinct.len() == keys.len()).then_some(keys)
}

fn map_to_json(entries: &[(Value, Value)]) -> Json {
    let object: Option<Map<String, Json>> = entries
        .iter()
        .map(|(key, value)| Some((key.to_key()?, value.to_json())))
        .collect();
    match object {
        Some(object) if object.len() == entries.len() => Json::Object(object),
        _ => Json::Array(
            entries
                .iter()
                .map(|(key, value)| Json::Array(vec![key.to_json(), value.to_json()]))
                .collect(),
        ),
    }
}

fn list(items: &[Value]) -> Json {
    Json::Array(items.iter().map(Value::to_json).collect())
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
