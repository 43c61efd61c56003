//! Reads values into types, by way of the bytes they would have.
//!
//! A deserializer over [`Value`] would be a second set of rules beside the one over bytes, to be kept
//! the same for ever; writing the value again costs less than it took to make. Shapes are kept
//! from one value to the next, so that records are read by position as in a frame.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use serde::de::DeserializeOwned;

use super::{Fields, Record, Value};
use crate::codec::decoder::{Plans, decode_with};
use crate::codec::error::DecodeError;
use crate::codec::format::{
    self, BYTES, DEPTH_MAX, F64, FALSE, Kind, MAP, NEGATIVE, NIL, SEQ, SOME, TRUE, UINT,
};
use crate::codec::shapes::Shape;

/// Shapes kept: more than a program has, and a bound on what odd events can leave behind.
const SHAPES_MAX: usize = 1_024;

/// Reads any number of values into types.
#[derive(Debug, Default)]
pub(in crate::codec) struct Rewriter {
    shapes: Vec<Shape>,
    numbers: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    plans: Plans,
    bytes: Vec<u8>,
}

impl Rewriter {
    /// Reads `value` into a type.
    pub(in crate::codec) fn typed<T: DeserializeOwned>(
        &mut self,
        value: &Value,
    ) -> Result<T, DecodeError> {
        if self.shapes.len() > SHAPES_MAX {
            self.shapes.clear();
            self.numbers.clear();
            self.plans.resize(0);
        }
        self.bytes.clear();
        self.put(value, 0)?;
        self.plans.resize(self.shapes.len());
        decode_with(&self.shapes, &mut self.plans, &self.bytes)
            .map_err(|error| error.shifted(|_| 0))
    }

    fn put(&mut self, value: &Value, depth: u32) -> Result<(), DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep {
                offset: 0,
                max: DEPTH_MAX,
            });
        }
        let out = &mut self.bytes;
        match value {
            Value::Nil => out.push(NIL),
            Value::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
            Value::Unsigned(value) => put_unsigned(out, *value),
            Value::Signed(value) => match u128::try_from(*value) {
                Ok(value) => put_unsigned(out, value),
                Err(_) => {
                    out.push(NEGATIVE);
                    format::put_varint_wide(out, !*value as u128);
                }
            },
            Value::Float(value) => {
                out.push(F64);
                out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            Value::Text(text) => format::put_str(out, text),
            Value::Bytes(bytes) => {
                format::put_tagged(out, BYTES, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Value::Seq(items) => {
                format::put_tagged(out, SEQ, items.len() as u64);
                self.put_all(items, depth)?;
            }
            Value::Map(entries) => {
                format::put_tagged(out, MAP, entries.len() as u64);
                for (key, value) in entries {
                    self.put(key, depth + 1)?;
                    self.put(value, depth + 1)?;
                }
            }
            Value::Some(inner) => {
                out.push(SOME);
                self.put(inner, depth + 1)?;
            }
            Value::Record(record) => self.put_record(record, depth)?,
        }
        Ok(())
    }

    fn put_all<'v>(
        &mut self,
        items: impl IntoIterator<Item = &'v Value>,
        depth: u32,
    ) -> Result<(), DecodeError> {
        for item in items {
            self.put(item, depth + 1)?;
        }
        Ok(())
    }

    /// A struct without named fields has no shape: it is what it holds.
    fn put_record(&mut self, record: &Record, depth: u32) -> Result<(), DecodeError> {
        let is_variant = record.variant.is_some();
        match &record.fields {
            Fields::Unit if !is_variant => self.bytes.push(NIL),
            Fields::Unit => self.put_shape(Kind::UnitVariant, record, 0),
            Fields::Newtype(inner) => {
                if is_variant {
                    self.put_shape(Kind::NewtypeVariant, record, 1);
                }
                self.put(inner, depth + 1)?;
            }
            Fields::Positional(items) => {
                if is_variant {
                    self.put_shape(Kind::TupleVariant, record, items.len());
                } else {
                    format::put_tagged(&mut self.bytes, SEQ, items.len() as u64);
                }
                self.put_all(items, depth)?;
            }
            Fields::Named(fields) => {
                let kind = if is_variant {
                    Kind::StructVariant
                } else {
                    Kind::Struct
                };
                self.put_shape(kind, record, fields.len());
                self.put_all(fields.iter().map(|(_, value)| value), depth)?;
            }
        }
        Ok(())
    }

    fn put_shape(&mut self, kind: Kind, record: &Record, count: usize) {
        let variant = record.variant.as_deref().unwrap_or("");
        let hash = hash_of(&self.hasher, kind, variant, count, names_of(record));
        let known = self
            .numbers
            .find(hash, |&number| {
                is_of(&self.shapes[number as usize], kind, record, count)
            })
            .copied();
        let number = known.unwrap_or_else(|| {
            let number = self.shapes.len() as u32;
            self.shapes.push(shape_of(kind, record, count));
            let (shapes, hasher) = (&self.shapes, &self.hasher);
            self.numbers.insert_unique(hash, number, |&number| {
                let shape = &shapes[number as usize];
                hash_of(
                    hasher,
                    shape.kind,
                    &shape.variant,
                    shape.count,
                    &shape.fields,
                )
            });
            number
        });
        format::put_record(&mut self.bytes, number);
    }
}

fn hash_of<'n>(
    hasher: &foldhash::fast::RandomState,
    kind: Kind,
    variant: &str,
    count: usize,
    names: impl IntoIterator<Item = &'n Arc<str>>,
) -> u64 {
    let mut state = hasher.build_hasher();
    (kind, variant, count).hash(&mut state);
    for name in names {
        name.hash(&mut state);
    }
    state.finish()
}

fn names_of(record: &Record) -> impl Iterator<Item = &Arc<str>> {
    let fields: &[(Arc<str>, Value)] = match &record.fields {
        Fields::Named(fields) => fields,
        _ => &[],
    };
    fields.iter().map(|(name, _)| name)
}

/// Whether a shape is that of `record`. The name of the type makes no difference to a reader.
fn is_of(shape: &Shape, kind: Kind, record: &Record, count: usize) -> bool {
    shape.kind == kind
        && shape.count == count
        && *shape.variant == *record.variant.as_deref().unwrap_or("")
        && shape.fields.iter().eq(names_of(record))
}

fn shape_of(kind: Kind, record: &Record, count: usize) -> Shape {
    Shape {
        kind,
        type_name: record.type_name.clone(),
        variant: record.variant.clone().unwrap_or_default(),
        count,
        fields: names_of(record).cloned().collect(),
    }
}

fn put_unsigned(out: &mut Vec<u8>, value: u128) {
    match u64::try_from(value) {
        Ok(small) => format::put_unsigned(out, small),
        Err(_) => {
            out.push(UINT);
            format::put_varint_wide(out, value);
        }
    }
}
