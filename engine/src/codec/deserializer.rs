//! The serde deserializer behind [`Decoder`](super::Decoder): values as their tags say. `typed` has what types ask for.

mod typed;

use serde::de::{Deserialize, Visitor};

use super::access::{Entries, Items, Named, Positional, Single};
use super::cursor::Cursor;
use super::decoder::{Plans, ReaderFields};
use super::error::{DecodeError, Fault};
use super::format::{
    BYTES, DEPTH_MAX, F32, F64, FALSE, FIX_INT_MAX, FIX_RECORD, FIX_RECORD_LAST, FIX_STR,
    FIX_STR_LAST, Kind, MAP, NEGATIVE, NIL, RECORD, SEQ, SOME, STR, TRUE, UINT,
};
use super::shapes::Shape;

pub(super) type Outcome<T> = Result<T, Fault<DecodeError>>;

/// One value on its way out of a payload.
pub(super) struct De<'a, 'de> {
    pub(super) cursor: Cursor<'de>,
    pub(super) shapes: &'a [Shape],
    plans: &'a mut Plans,
    depth: u32,
    /// Second try: nothing is read by position.
    by_name_only: bool,
    /// Whether a struct was read by position: if so, failure calls for a second try.
    pub(super) used_position: bool,
}

impl<'a, 'de> De<'a, 'de> {
    pub(super) fn new(
        bytes: &'de [u8],
        shapes: &'a [Shape],
        plans: &'a mut Plans,
        by_name_only: bool,
    ) -> Self {
        Self {
            cursor: Cursor::new(bytes),
            shapes,
            plans,
            depth: 0,
            by_name_only,
            used_position: false,
        }
    }

    /// The value that all of the bytes make up.
    #[inline]
    pub(super) fn whole<T: Deserialize<'de>>(&mut self) -> Outcome<T> {
        let value = T::deserialize(&mut *self)?;
        if self.cursor.left() > 0 {
            return Err(DecodeError::TrailingBytes {
                offset: self.cursor.at(),
            }
            .into());
        }
        Ok(value)
    }

    /// Runs `inner` one level deeper.
    #[inline]
    pub(super) fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
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

    /// The next tag, still unread, past any marks of `Some`.
    #[inline]
    fn peek(&mut self) -> Outcome<u8> {
        loop {
            let tag = self.cursor.peek()?;
            if tag != SOME {
                return Ok(tag);
            }
            self.cursor.pass();
        }
    }

    /// Reads the fields of a record into a struct or struct variant.
    #[inline]
    pub(super) fn fields<V: Visitor<'de>>(
        &mut self,
        id: usize,
        shape: &'a Shape,
        reader: ReaderFields,
        visitor: V,
    ) -> Outcome<V::Value> {
        if shape.kind != Kind::TupleVariant && !self.plans.by_position(id, &shape.fields, reader) {
            return self.named(shape, visitor);
        }
        if self.by_name_only && shape.kind != Kind::TupleVariant {
            self.plans.suspect(reader);
            return self.named(shape, visitor);
        }
        self.used_position = true;
        self.positional(shape.count, visitor)
    }

    /// Reads `count` values as a sequence.
    #[inline]
    pub(super) fn positional<V: Visitor<'de>>(
        &mut self,
        count: usize,
        visitor: V,
    ) -> Outcome<V::Value> {
        self.deeper(|de| {
            let mut access = Positional { de, left: count };
            let value = visitor.visit_seq(&mut access)?;
            match access.left {
                0 => Ok(value),
                left => Err(surplus(left)),
            }
        })
    }

    /// Reads the fields of a record as a map.
    pub(super) fn named<V: Visitor<'de>>(
        &mut self,
        shape: &'a Shape,
        visitor: V,
    ) -> Outcome<V::Value> {
        self.deeper(|de| {
            let mut access = Named {
                de,
                names: shape.fields.iter(),
            };
            let value = visitor.visit_map(&mut access)?;
            match access.names.len() {
                0 => Ok(value),
                left => Err(surplus(left)),
            }
        })
    }

    fn map<V: Visitor<'de>>(&mut self, visitor: V) -> Outcome<V::Value> {
        let count = self.cursor.count()?;
        self.deeper(|de| {
            let mut access = Entries { de, left: count };
            let value = visitor.visit_map(&mut access)?;
            match access.left {
                0 => Ok(value),
                left => Err(surplus(left)),
            }
        })
    }

    /// A record of a variant, read by something that asked for no enum: as JSON would show it.
    fn variant_as_any<V: Visitor<'de>>(
        &mut self,
        shape: &'a Shape,
        visitor: V,
    ) -> Outcome<V::Value> {
        if shape.kind == Kind::UnitVariant {
            return visitor.visit_str(&shape.variant);
        }
        self.deeper(|de| {
            let mut access = Single {
                de,
                shape,
                state: Items::Key,
            };
            let value = visitor.visit_map(&mut access)?;
            match access.state {
                Items::Done => Ok(value),
                _ => Err(surplus(1)),
            }
        })
    }

    fn any<V: Visitor<'de>>(&mut self, visitor: V) -> Outcome<V::Value> {
        match self.cursor.tag()? {
            tag @ 0..=FIX_INT_MAX => visitor.visit_u64(u64::from(tag)),
            tag @ FIX_STR..=FIX_STR_LAST => {
                visitor.visit_borrowed_str(self.cursor.text(usize::from(tag - FIX_STR))?)
            }
            tag @ (FIX_RECORD..=FIX_RECORD_LAST | RECORD) => {
                let (_, shape) = self.cursor.shape(tag, self.shapes)?;
                if shape.kind == Kind::Struct {
                    self.named(shape, visitor)
                } else {
                    self.variant_as_any(shape, visitor)
                }
            }
            NIL => visitor.visit_unit(),
            FALSE => visitor.visit_bool(false),
            TRUE => visitor.visit_bool(true),
            UINT => self.unsigned(visitor),
            NEGATIVE => self.negative(visitor),
            F32 => visitor.visit_f32(self.cursor.f32()?),
            F64 => visitor.visit_f64(self.cursor.f64()?),
            STR => {
                let length = self.cursor.count()?;
                visitor.visit_borrowed_str(self.cursor.text(length)?)
            }
            BYTES => {
                let length = self.cursor.count()?;
                visitor.visit_borrowed_bytes(self.cursor.take(length)?)
            }
            SEQ => {
                let count = self.cursor.count()?;
                self.positional(count, visitor)
            }
            MAP => self.map(visitor),
            SOME => self.deeper(|de| visitor.visit_some(de)),
            tag => Err(self.cursor.unknown_tag(tag)),
        }
    }

    #[inline]
    fn unsigned<V: Visitor<'de>>(&mut self, visitor: V) -> Outcome<V::Value> {
        let ahead = self.cursor.clone();
        match self.cursor.varint() {
            Ok(value) => visitor.visit_u64(value),
            Err(_) => {
                self.cursor = ahead;
                visitor.visit_u128(self.cursor.varint_wide()?)
            }
        }
    }

    fn negative<V: Visitor<'de>>(&mut self, visitor: V) -> Outcome<V::Value> {
        let offset = self.cursor.at();
        let complement = i128::try_from(self.cursor.varint_wide()?)
            .map_err(|_| Fault::from(DecodeError::NumberTooLarge { offset }))?;
        let value = !complement;
        match i64::try_from(value) {
            Ok(small) => visitor.visit_i64(small),
            Err(_) => visitor.visit_i128(value),
        }
    }

    /// A number or anything else that the visitor may take, past any marks of `Some`.
    #[inline]
    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Outcome<V::Value> {
        let tag = self.peek()?;
        if tag <= FIX_INT_MAX {
            self.cursor.pass();
            return visitor.visit_u64(u64::from(tag));
        }
        if tag == UINT {
            self.cursor.pass();
            return self.unsigned(visitor);
        }
        self.any(visitor)
    }

    #[inline]
    fn string<V: Visitor<'de>>(&mut self, visitor: V) -> Outcome<V::Value> {
        let tag = self.peek()?;
        if (FIX_STR..=FIX_STR_LAST).contains(&tag) {
            self.cursor.pass();
            return visitor.visit_borrowed_str(self.cursor.text(usize::from(tag - FIX_STR))?);
        }
        self.any(visitor)
    }

    #[inline]
    fn passing_some<V: Visitor<'de>>(&mut self, visitor: V) -> Outcome<V::Value> {
        self.peek()?;
        self.any(visitor)
    }
}

/// A visitor did not take all values it was offered.
#[cold]
pub(super) fn surplus(left: usize) -> Fault<DecodeError> {
    serde::de::Error::custom(format_args!("{left} more values than the type takes"))
}
