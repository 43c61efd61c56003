//! Reads values out of payloads.
//!
//! Hostile bytes: depth is bounded as everywhere; a count is trusted for as many items as are reserved
//! at once, and each item takes at least a byte, so that memory is a fixed multiple of the payload.

use super::{Fields, Value};
use crate::codec::cursor::Cursor;
use crate::codec::error::{DecodeError, Fault};
use crate::codec::format::{
    BYTES, DEPTH_MAX, F32, F64, FALSE, FIX_INT_MAX, FIX_RECORD, FIX_RECORD_LAST, FIX_STR,
    FIX_STR_LAST, Kind, MAP, NEGATIVE, NIL, RECORD, SEQ, SOME, STR, TRUE, UINT,
};
use crate::codec::shapes::{Shape, Shapes};

type Outcome<T> = Result<T, Fault<DecodeError>>;

/// Items reserved at once: 128 levels of a hostile payload then reserve less than a mebibyte.
const RESERVED_MAX: usize = 128;

/// Reads the value that all of `bytes` make up. Names of records and fields may come to `names_max` bytes,
/// counted at each use: what a reader has to copy if it does not share them.
pub(super) fn whole(shapes: &Shapes, bytes: &[u8], names_max: usize) -> Result<Value, DecodeError> {
    let mut reader = Reader {
        cursor: Cursor::new(bytes),
        shapes: shapes.all(),
        depth: 0,
        names_max,
        names: 0,
    };
    let value = reader.value().map_err(|fault| *fault.0)?;
    if reader.cursor.left() > 0 {
        return Err(DecodeError::TrailingBytes {
            offset: reader.cursor.at(),
        });
    }
    Ok(value)
}

struct Reader<'a, 'de> {
    cursor: Cursor<'de>,
    shapes: &'a [Shape],
    depth: u32,
    names_max: usize,
    /// Bytes of names so far.
    names: usize,
}

impl Reader<'_, '_> {
    fn value(&mut self) -> Outcome<Value> {
        Ok(match self.cursor.tag()? {
            tag @ 0..=FIX_INT_MAX => Value::Unsigned(u128::from(tag)),
            tag @ FIX_STR..=FIX_STR_LAST => self.text(usize::from(tag - FIX_STR))?,
            tag @ (FIX_RECORD..=FIX_RECORD_LAST | RECORD) => self.record(tag)?,
            NIL => Value::Nil,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            UINT => Value::Unsigned(self.cursor.varint_wide()?),
            NEGATIVE => {
                let offset = self.cursor.at();
                let complement = i128::try_from(self.cursor.varint_wide()?)
                    .map_err(|_| Fault::from(DecodeError::NumberTooLarge { offset }))?;
                Value::Signed(!complement)
            }
            F32 => Value::Float(f64::from(self.cursor.f32()?)),
            F64 => Value::Float(self.cursor.f64()?),
            STR => {
                let length = self.cursor.count()?;
                self.text(length)?
            }
            BYTES => {
                let length = self.cursor.count()?;
                Value::Bytes(self.cursor.take(length)?.to_vec())
            }
            SEQ => {
                let count = self.cursor.count()?;
                Value::Seq(self.items(count)?)
            }
            MAP => {
                let count = self.cursor.count()?;
                self.deeper(|reader| {
                    let mut entries = Vec::with_capacity(count.min(RESERVED_MAX));
                    for _ in 0..count {
                        entries.push((reader.value()?, reader.value()?));
                    }
                    Ok(Value::Map(entries))
                })?
            }
            SOME => Value::Some(Box::new(self.deeper(Self::value)?)),
            tag => return Err(self.cursor.unknown_tag(tag)),
        })
    }

    fn text(&mut self, length: usize) -> Outcome<Value> {
        Ok(Value::Text(self.cursor.text(length)?.to_owned()))
    }

    fn items(&mut self, count: usize) -> Outcome<Vec<Value>> {
        self.deeper(|reader| {
            let mut items = Vec::with_capacity(count.min(RESERVED_MAX));
            for _ in 0..count {
                items.push(reader.value()?);
            }
            Ok(items)
        })
    }

    fn record(&mut self, tag: u8) -> Outcome<Value> {
        let (_, shape) = self.cursor.shape(tag, self.shapes)?;
        self.charge(&shape.variant)?;
        let variant = (shape.kind != Kind::Struct).then(|| shape.variant.clone());
        let fields = match shape.kind {
            Kind::UnitVariant => Fields::Unit,
            Kind::NewtypeVariant => Fields::Newtype(self.deeper(Self::value)?),
            Kind::TupleVariant => Fields::Positional(self.items(shape.count)?),
            Kind::Struct | Kind::StructVariant => self.deeper(|reader| {
                let mut fields = Vec::with_capacity(shape.count.min(RESERVED_MAX));
                for name in &shape.fields {
                    reader.charge(name)?;
                    fields.push((name.clone(), reader.value()?));
                }
                Ok(Fields::Named(fields))
            })?,
        };
        Ok(Value::record(shape.type_name.clone(), variant, fields))
    }

    fn charge(&mut self, name: &str) -> Outcome<()> {
        self.names = self.names.saturating_add(name.len());
        if self.names > self.names_max {
            return Err(DecodeError::TooLarge {
                offset: self.cursor.at(),
                max: self.names_max,
            }
            .into());
        }
        Ok(())
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth == DEPTH_MAX {
            return Err(DecodeError::TooDeep {
                offset: self.cursor.at(),
                max: DEPTH_MAX,
            }
            .into());
        }
        self.depth += 1;
        let outcome = inner(self);
        self.depth -= 1;
        outcome
    }
}
