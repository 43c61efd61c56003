//! JSON text with integers past 64 bits.
//!
//! Place: payload text -> [`parse`] -> `Value` -> [`write`] -> text -> type. `serde_json` reads such an integer as a
//! float unless the type asks for 128 bits, and a [`Value`] asks for nothing. Its feature `arbitrary_precision` would
//! do, but changes numbers for the whole program, its users' code included. So the integers are looked up
//! in the text, by how many numbers come before them; a text without any takes the ordinary way.
//! Invariants: `serde_json` visits numbers in the order of the text, one visit each. Cost: one pass over the text;
//! the rest only where there is such an integer.

use std::cell::Cell;
use std::fmt;

use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::json::plain_keys;
use super::{Fields, Value};
use crate::codec::error::DecodeError;

/// Digits that always fit into 64 bits.
const SAFE_DIGITS: usize = 18;

/// An integer past 64 bits.
#[derive(Debug)]
pub(super) struct Wide<'t> {
    /// Numbers before it.
    nth: usize,
    offset: usize,
    text: &'t str,
}

impl Wide<'_> {
    /// The number; an error past 128 bits.
    pub(super) fn exact(&self) -> Result<Value, DecodeError> {
        let text = self.text;
        let unsigned = text.parse().map(Value::Unsigned);
        unsigned
            .or_else(|_| text.parse().map(Value::Signed))
            .map_err(|_| DecodeError::NumberTooLarge {
                offset: self.offset,
            })
    }

    /// The number, to be shown: as text.
    pub(super) fn shown(&self) -> Result<Value, DecodeError> {
        Ok(Value::Text(self.text.to_owned()))
    }
}

/// The integers past 64 bits in a JSON text. For a text that is no JSON, whatever looks like them.
pub(super) fn wide_integers(text: &[u8]) -> Vec<Wide<'_>> {
    let (mut found, mut nth, mut at) = (Vec::new(), 0, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at + 1),
            b'-' | b'0'..=b'9' => {
                let start = at;
                let in_number =
                    |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                at += text[start..].iter().take_while(in_number).count();
                if let Some(text) = as_wide(&text[start..at]) {
                    let offset = start;
                    found.push(Wide { nth, offset, text });
                }
                nth += 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// The first byte behind a string that began before `at`.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    loop {
        match text.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') => return at + 1,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
}

fn as_wide(number: &[u8]) -> Option<&str> {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    if digits.len() <= SAFE_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(number).ok()?;
    (text.parse::<u64>().is_err() && text.parse::<i64>().is_err()).then_some(text)
}

/// Parses a text with these integers in it, each of them as `number` says; at most 128 levels deep.
pub(super) fn parse<'t>(
    text: &[u8],
    wide: &[Wide<'t>],
    number: impl Fn(&Wide<'t>) -> Result<Value, DecodeError>,
) -> Result<Value, DecodeError> {
    let mut values = HashMap::with_capacity(wide.len());
    for wide in wide {
        values.insert(wide.nth, number(wide)?);
    }
    let numbers = Cell::new(0);
    let any = Any {
        numbers: &numbers,
        wide: &values,
    };
    let mut json = serde_json::Deserializer::from_slice(text);
    any.deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value))
        .map_err(|error| DecodeError::json(&error))
}

/// Reads whatever comes.
#[derive(Clone, Copy)]
struct Any<'w> {
    /// Numbers so far.
    numbers: &'w Cell<usize>,
    wide: &'w HashMap<usize, Value>,
}

impl Any<'_> {
    fn number(self, narrow: impl Into<Value>) -> Value {
        let nth = self.numbers.replace(self.numbers.get() + 1);
        self.wide
            .get(&nth)
            .cloned()
            .unwrap_or_else(|| narrow.into())
    }
}

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(self.number(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(self.number(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(self.number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Seq(items))
    }

    /// The last value of a key that comes twice counts, in the place of the first.
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Value, Value)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some(key) = from.next_key::<String>()? {
            let value = from.next_value_seed(self)?;
            match places.get(&key) {
                Some(&place) => entries[place].1 = value,
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push((Value::Text(key), value));
                }
            }
        }
        Ok(Value::Map(entries))
    }
}

/// Whether an integer of the value does not fit into a `serde_json::Value`.
pub(super) fn is_wide(value: &Value) -> bool {
    match value {
        Value::Unsigned(value) => u64::try_from(*value).is_err(),
        Value::Signed(value) => i64::try_from(*value).is_err() && u64::try_from(*value).is_err(),
        Value::Seq(items) => items.iter().any(is_wide),
        Value::Map(entries) => entries.iter().any(|(_, value)| is_wide(value)),
        Value::Some(inner) => is_wide(inner),
        Value::Record(record) => match &record.fields {
            Fields::Unit => false,
            Fields::Newtype(inner) => is_wide(inner),
            Fields::Positional(items) => items.iter().any(is_wide),
            Fields::Named(fields) => fields.iter().any(|(_, value)| is_wide(value)),
        },
        Value::Nil | Value::Bool(_) | Value::Float(_) | Value::Text(_) | Value::Bytes(_) => false,
    }
}

/// Appends the value as JSON, as [`Value::to_json`] shapes it, but with all integers as numbers.
pub(super) fn write(value: &Value, out: &mut String) {
    match value {
        Value::Unsigned(value) => out.push_str(&value.to_string()),
        Value::Signed(value) => out.push_str(&value.to_string()),
        Value::Seq(items) => write_list(items, out),
        Value::Map(entries) => match plain_keys(entries) {
            Some(keys) => {
                let values = entries.iter().map(|(_, value)| value);
                joined("{}", keys.iter().zip(values), out, write_entry);
            }
            None => joined("[]", entries, out, |(key, value), out| {
                joined("[]", [key, value], out, write);
            }),
        },
        Value::Some(inner) => write(inner, out),
        Value::Record(record) if record.fields != Fields::Unit => match &record.variant {
            Some(variant) => joined("{}", [variant], out, |variant, out| {
                write_text(variant, out);
                out.push(':');
                write_fields(&record.fields, out);
            }),
            None => write_fields(&record.fields, out),
        },
        narrow => out.push_str(&narrow.to_json().to_string()),
    }
}

fn write_fields(fields: &Fields, out: &mut String) {
    match fields {
        Fields::Unit => out.push_str("null"),
        Fields::Newtype(inner) => write(inner, out),
        Fields::Positional(items) => write_list(items, out),
        Fields::Named(fields) => {
            let fields = fields.iter().map(|(name, value)| (name, value));
            joined("{}", fields, out, write_entry);
        }
    }
}

fn write_list(items: &[Value], out: &mut String) {
    joined("[]", items, out, write);
}

fn write_entry((key, value): (impl AsRef<str>, &Value), out: &mut String) {
    write_text(key.as_ref(), out);
    out.push(':');
    write(value, out);
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn joined<T>(
    brackets: &str,
    items: impl IntoIterator<Item = T>,
    out: &mut String,
    write: impl Fn(T, &mut String),
) {
    let (open, close) = brackets.split_at(1);
    out.push_str(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push_str(close);
}
