//! A value without its type: what upcasters work on and what `log read` shows.
//!
//! Place: payload bytes -> **`Value`** -> upcasters -> typed event, or JSON. It holds all that the binary
//! form holds: names, order, and which number, text or record stands where. It is read into a type by
//! writing it again (see `rewrite`), so the rules are the codec's own and cannot differ.
//! Invariants: a value that was decoded is at most 128 levels deep; a number that is not negative is
//! `Unsigned`. Cost: an allocation per text, sequence and record; names are shared with the dictionary.

mod edit;
mod json;
mod json_text;
mod overlay;
mod read;
mod reader;
mod rewrite;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use json::payload_to_json;
pub(super) use json::{content_as_json, event_from_json, parse_json, typed_from_json};
pub(super) use overlay::{not_variant, variant_of};
pub use reader::ValueReader;
pub(super) use rewrite::Rewriter;

use super::error::{DecodeError, EncodeError};
use super::shapes::Shapes;
use super::writer::ShapeWriter;

/// A value of any type.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Unit, unit struct, `None`.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// A number from 0 up.
    Unsigned(u128),
    /// A number below 0. Others are taken too.
    Signed(i128),
    /// A number with a fraction, `f32` or `f64`.
    Float(f64),
    /// A string or a char.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A sequence, tuple or tuple struct.
    Seq(Vec<Value>),
    /// A map: its entries, in the order they were written.
    Map(Vec<(Value, Value)>),
    /// `Some` around a `None` or unit. Around anything else `Some` is not written.
    Some(Box<Value>),
    /// A struct or the variant of an enum.
    Record(Box<Record>),
}

/// A struct or the variant of an enum, with its names.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Name of the struct or enum; empty for an enum that came from JSON. Nothing is decided by it.
    pub type_name: Arc<str>,
    /// Name of the variant, for an enum.
    pub variant: Option<Arc<str>>,
    /// What is in it.
    pub fields: Fields,
}

/// What is in a [`Record`].
#[derive(Clone, Debug, PartialEq)]
pub enum Fields {
    /// Nothing: `Closed`.
    Unit,
    /// One value: `Renamed(x)`.
    Newtype(Value),
    /// Values by position: `Moved(x, y)`.
    Positional(Vec<Value>),
    /// Values by name, in the order they were written: `Deposited { amount }`.
    Named(Vec<(Arc<str>, Value)>),
}

impl Value {
    /// Decodes one value, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] naming the byte.
    pub fn decode(shapes: &Shapes, bytes: &[u8]) -> Result<Self, DecodeError> {
        read::whole(shapes, bytes, usize::MAX)
    }

    /// The value as the binary form would hold it.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        let (mut writer, mut bytes) = (ShapeWriter::new(), Vec::new());
        writer.encode(value, &mut bytes)?;
        let mut dictionary = Vec::new();
        writer.dictionary(&mut dictionary);
        // Only a hand-written `Serialize` that breaks serde's rules gives bytes that cannot be read.
        Shapes::parse(&dictionary)
            .and_then(|shapes| Self::decode(&shapes, &bytes))
            .map_err(|error| EncodeError::Refused {
                message: error.to_string(),
            })
    }

    /// Reads the value into a type, as a payload of the binary form would be.
    ///
    /// # Errors
    /// [`DecodeError`], with 0 for the byte.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        Rewriter::default().typed(self)
    }
}
