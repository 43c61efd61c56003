//! The serde serializer behind [`ShapeWriter`](super::ShapeWriter).

use std::fmt::{self, Display};

use serde::ser::{Serialize, Serializer};

use super::compound::{Fields, Items};
use super::error::{EncodeError, Fault};
use super::format::{
    self, BYTES, DEPTH_MAX, F32, F64, FALSE, FIX_STR, FIX_STR_LAST, Kind, MAP, NEGATIVE, NIL, SEQ,
    SOME, STR, TRUE, UINT,
};
use super::writer::{Head, ShapeWriter};

type Outcome<T = ()> = Result<T, Fault<EncodeError>>;

/// One value on its way into `out`.
pub(super) struct Ser<'a> {
    pub(super) writer: &'a mut ShapeWriter,
    pub(super) out: &'a mut Vec<u8>,
    depth: u32,
    name: Option<&'static str>,
}

impl<'a> Ser<'a> {
    pub(super) fn new(writer: &'a mut ShapeWriter, out: &'a mut Vec<u8>) -> Self {
        Self {
            writer,
            out,
            depth: 0,
            name: None,
        }
    }

    /// Name of the outermost variant or struct.
    pub(super) fn event_type(&self) -> &'static str {
        self.name.unwrap_or("value")
    }

    #[inline]
    fn name(&mut self, name: &'static str) {
        if self.depth == 0 && self.name.is_none() {
            self.name = Some(name);
        }
    }

    #[inline]
    pub(super) fn enter(&mut self) -> Outcome {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(EncodeError::TooDeep { max: DEPTH_MAX }.into());
        }
        Ok(())
    }

    #[inline]
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Starts a record without named fields: its shape is known at once.
    #[inline]
    fn unnamed(&mut self, head: &Head) -> Outcome {
        let known = match self.writer.guess(head) {
            Some(known) => known,
            None => self.writer.intern(head, &[])?,
        };
        let id = self.writer.assign(known);
        format::put_record(self.out, id);
        Ok(())
    }
}

impl<'b, 'a> Serializer for &'b mut Ser<'a> {
    type Ok = ();
    type Error = Fault<EncodeError>;
    type SerializeSeq = Items<'b, 'a>;
    type SerializeTuple = Items<'b, 'a>;
    type SerializeTupleStruct = Items<'b, 'a>;
    type SerializeTupleVariant = Items<'b, 'a>;
    type SerializeMap = Items<'b, 'a>;
    type SerializeStruct = Fields<'b, 'a>;
    type SerializeStructVariant = Fields<'b, 'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, v: bool) -> Outcome {
        self.out.push(if v { TRUE } else { FALSE });
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, v: i8) -> Outcome {
        self.serialize_i64(i64::from(v))
    }

    #[inline]
    fn serialize_i16(self, v: i16) -> Outcome {
        self.serialize_i64(i64::from(v))
    }

    #[inline]
    fn serialize_i32(self, v: i32) -> Outcome {
        self.serialize_i64(i64::from(v))
    }

    #[inline]
    fn serialize_i64(self, v: i64) -> Outcome {
        format::put_signed(self.out, v);
        Ok(())
    }

    fn serialize_i128(self, v: i128) -> Outcome {
        if let Ok(small) = i64::try_from(v) {
            format::put_signed(self.out, small);
        } else if let Ok(positive) = u128::try_from(v) {
            return self.serialize_u128(positive);
        } else {
            self.out.push(NEGATIVE);
            format::put_varint_wide(self.out, !v as u128);
        }
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, v: u8) -> Outcome {
        self.serialize_u64(u64::from(v))
    }

    #[inline]
    fn serialize_u16(self, v: u16) -> Outcome {
        self.serialize_u64(u64::from(v))
    }

    #[inline]
    fn serialize_u32(self, v: u32) -> Outcome {
        self.serialize_u64(u64::from(v))
    }

    #[inline]
    fn serialize_u64(self, v: u64) -> Outcome {
        format::put_unsigned(self.out, v);
        Ok(())
    }

    fn serialize_u128(self, v: u128) -> Outcome {
        if let Ok(small) = u64::try_from(v) {
            format::put_unsigned(self.out, small);
        } else {
            self.out.push(UINT);
            format::put_varint_wide(self.out, v);
        }
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, v: f32) -> Outcome {
        self.out.push(F32);
        self.out.extend_from_slice(&v.to_bits().to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, v: f64) -> Outcome {
        self.out.push(F64);
        self.out.extend_from_slice(&v.to_bits().to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_char(self, v: char) -> Outcome {
        format::put_str(self.out, v.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Outcome {
        format::put_str(self.out, v);
        Ok(())
    }

    /// Writes in place, because decimals, times and the like print themselves.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Outcome {
        let at = self.out.len();
        self.out.push(FIX_STR);
        if fmt::write(&mut Utf8(self.out), format_args!("{value}")).is_err() {
            return Err(EncodeError::Refused {
                message: "Display failed".to_owned(),
            }
            .into());
        }
        let length = self.out.len() - at - 1;
        if length <= usize::from(FIX_STR_LAST - FIX_STR) {
            self.out[at] = FIX_STR + length as u8;
        } else {
            let mut tag = Vec::with_capacity(11);
            format::put_tagged(&mut tag, STR, length as u64);
            format::replace(self.out, at, 1, &tag);
        }
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Outcome {
        format::put_tagged(self.out, BYTES, v.len() as u64);
        self.out.extend_from_slice(v);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Outcome {
        self.out.push(NIL);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Outcome {
        let at = self.out.len();
        value.serialize(&mut *self)?;
        if matches!(self.out.get(at), Some(&(NIL | SOME))) {
            self.out.insert(at, SOME);
            // As deep as the reader will count it.
            let tags = self.out[at..]
                .iter()
                .take_while(|&&tag| tag == SOME)
                .count();
            if self.depth as usize + tags > DEPTH_MAX as usize {
                return Err(EncodeError::TooDeep { max: DEPTH_MAX }.into());
            }
        }
        Ok(())
    }

    #[inline]
    fn serialize_unit(self) -> Outcome {
        self.out.push(NIL);
        Ok(())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Outcome {
        self.name(name);
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Outcome {
        self.name(variant);
        self.unnamed(&Head {
            kind: Kind::UnitVariant,
            name,
            variant,
            len: 0,
        })
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Outcome {
        self.name(name);
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Outcome {
        self.name(variant);
        self.enter()?;
        self.unnamed(&Head {
            kind: Kind::NewtypeVariant,
            name,
            variant,
            len: 1,
        })?;
        value.serialize(&mut *self)?;
        self.leave();
        Ok(())
    }

    fn serialize_seq(self, len: Option<usize>) -> Outcome<Items<'b, 'a>> {
        Items::new(self, SEQ, len)
    }

    fn serialize_tuple(self, len: usize) -> Outcome<Items<'b, 'a>> {
        Items::new(self, SEQ, Some(len))
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Outcome<Items<'b, 'a>> {
        self.name(name);
        Items::new(self, SEQ, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Outcome<Items<'b, 'a>> {
        self.name(variant);
        self.unnamed(&Head {
            kind: Kind::TupleVariant,
            name,
            variant,
            len,
        })?;
        Items::fixed(self, len)
    }

    fn serialize_map(self, len: Option<usize>) -> Outcome<Items<'b, 'a>> {
        Items::new(self, MAP, len)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Outcome<Fields<'b, 'a>> {
        self.name(name);
        Fields::new(
            self,
            Head {
                kind: Kind::Struct,
                name,
                variant: "",
                len,
            },
        )
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Outcome<Fields<'b, 'a>> {
        self.name(variant);
        Fields::new(
            self,
            Head {
                kind: Kind::StructVariant,
                name,
                variant,
                len,
            },
        )
    }
}

/// Lets formatting write into the payload.
struct Utf8<'a>(&'a mut Vec<u8>);

impl fmt::Write for Utf8<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
