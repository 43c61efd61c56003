//! What types ask for: serde's [`Deserializer`], with a short way for what mostly comes.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::{De, Outcome};
use crate::codec::access::{Name, Tagged, VariantOf};
use crate::codec::error::{DecodeError, Fault};
use crate::codec::format::{
    FIX_RECORD, FIX_RECORD_LAST, FIX_STR, FIX_STR_LAST, Kind, MAP, NIL, RECORD, SOME, STR,
};

macro_rules! forward {
    ($to:ident: $($method:ident)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
            self.$to(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for &mut De<'_, 'de> {
    type Error = Fault<DecodeError>;

    fn is_human_readable(&self) -> bool {
        false
    }

    forward!(number: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128);
    forward!(number: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);
    forward!(string: deserialize_str deserialize_string deserialize_char);
    forward!(passing_some: deserialize_bool deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf);
    forward!(passing_some: deserialize_unit deserialize_seq deserialize_map deserialize_identifier);
    forward!(any: deserialize_any);

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        match self.cursor.peek()? {
            NIL => {
                self.cursor.pass();
                visitor.visit_none()
            }
            SOME => {
                self.cursor.pass();
                self.deeper(|de| visitor.visit_some(de))
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Outcome<V::Value> {
        self.passing_some(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Outcome<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Outcome<V::Value> {
        self.passing_some(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Outcome<V::Value> {
        self.passing_some(visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        let tag = self.peek()?;
        if (FIX_RECORD..=FIX_RECORD_LAST).contains(&tag) || tag == RECORD {
            self.cursor.pass();
            let (id, shape) = self.cursor.shape(tag, self.shapes)?;
            return match shape.kind {
                Kind::Struct => self.fields(id, shape, fields, visitor),
                _ => self.variant_as_any(shape, visitor),
            };
        }
        self.any(visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        let tag = self.peek()?;
        if (FIX_RECORD..=FIX_RECORD_LAST).contains(&tag) || tag == RECORD {
            let before = self.cursor.clone();
            self.cursor.pass();
            let (id, shape) = self.cursor.shape(tag, self.shapes)?;
            if shape.kind == Kind::Struct {
                self.cursor = before;
                return self.any(visitor);
            }
            return visitor.visit_enum(VariantOf {
                de: self,
                id,
                shape,
            });
        }
        self.enum_by_name(tag, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        self.cursor.skip(1, self.shapes)?;
        visitor.visit_unit()
    }
}

impl<'de> De<'_, 'de> {
    /// An enum that was written as a string, or as a map of one entry: as JSON shows enums.
    #[cold]
    fn enum_by_name<V: Visitor<'de>>(&mut self, tag: u8, visitor: V) -> Outcome<V::Value> {
        match tag {
            FIX_STR..=FIX_STR_LAST | STR => {
                let name = <&str>::deserialize(&mut *self)?;
                visitor.visit_enum(name.into_deserializer())
            }
            MAP => {
                self.cursor.pass();
                match self.cursor.count()? {
                    1 => visitor.visit_enum(Tagged { de: self }),
                    _ => Err(serde::de::Error::custom(
                        "a map with one entry was expected, the variant of an enum",
                    )),
                }
            }
            _ => self.any(visitor),
        }
    }

    /// Hands a name to whatever identifies fields, variants or keys.
    #[inline]
    pub(in crate::codec) fn name<T: DeserializeSeed<'de>>(
        name: &str,
        seed: T,
    ) -> Outcome<T::Value> {
        seed.deserialize(Name(name))
    }
}
