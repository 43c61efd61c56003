//! What a visitor sees of values with parts: their items, entries, fields and variants.

use std::sync::Arc;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::deserializer::{De, Outcome};
use super::error::{DecodeError, Fault};
use super::format::Kind;
use super::shapes::Shape;

/// The next `left` values, one after the other.
pub(super) struct Positional<'b, 'a, 'de> {
    pub(super) de: &'b mut De<'a, 'de>,
    pub(super) left: usize,
}

impl<'de> SeqAccess<'de> for Positional<'_, '_, 'de> {
    type Error = Fault<DecodeError>;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Outcome<Option<T::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.de).map(Some)
    }

    /// Never more than the bytes left, so that a reader may trust it.
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The fields of a record, under the names of its shape.
pub(super) struct Named<'b, 'a, 'de> {
    pub(super) de: &'b mut De<'a, 'de>,
    pub(super) names: std::slice::Iter<'a, Arc<str>>,
}

impl<'de> MapAccess<'de> for Named<'_, '_, 'de> {
    type Error = Fault<DecodeError>;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Outcome<Option<K::Value>> {
        self.names
            .next()
            .map(|name| De::name(name, seed))
            .transpose()
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Outcome<T::Value> {
        seed.deserialize(&mut *self.de)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.names.len().min(self.de.cursor.left()))
    }
}

/// The entries of a map.
pub(super) struct Entries<'b, 'a, 'de> {
    pub(super) de: &'b mut De<'a, 'de>,
    pub(super) left: usize,
}

impl<'de> MapAccess<'de> for Entries<'_, '_, 'de> {
    type Error = Fault<DecodeError>;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Outcome<Option<K::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.de).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Outcome<T::Value> {
        seed.deserialize(&mut *self.de)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// How far a [`Single`] entry has been read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    Key,
    Value,
    Done,
}

/// A variant with content as a map of one entry: the variant's name and what it holds.
pub(super) struct Single<'b, 'a, 'de> {
    pub(super) de: &'b mut De<'a, 'de>,
    pub(super) shape: &'a Shape,
    pub(super) state: Items,
}

impl<'de> MapAccess<'de> for Single<'_, '_, 'de> {
    type Error = Fault<DecodeError>;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Outcome<Option<K::Value>> {
        if self.state != Items::Key {
            return Ok(None);
        }
        self.state = Items::Value;
        De::name(&self.shape.variant, seed).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Outcome<T::Value> {
        self.state = Items::Done;
        seed.deserialize(Content {
            de: self.de,
            id: None,
            shape: self.shape,
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(usize::from(self.state == Items::Key))
    }
}

/// What a variant holds, as a value of its own.
struct Content<'b, 'a, 'de> {
    de: &'b mut De<'a, 'de>,
    /// Number of the shape, if it may be read by position.
    id: Option<usize>,
    shape: &'a Shape,
}

impl<'de> Deserializer<'de> for Content<'_, '_, 'de> {
    type Error = Fault<DecodeError>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        match self.shape.kind {
            Kind::Struct | Kind::StructVariant => self.de.named(self.shape, visitor),
            Kind::TupleVariant => self.de.positional(self.shape.count, visitor),
            Kind::NewtypeVariant => self.de.deserialize_any(visitor),
            Kind::UnitVariant => visitor.visit_unit(),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        match (self.shape.kind, self.id) {
            (Kind::StructVariant, Some(id)) => self.de.fields(id, self.shape, fields, visitor),
            (Kind::NewtypeVariant, _) => self.de.deserialize_struct(name, fields, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        match self.shape.kind {
            Kind::NewtypeVariant => self.de.deserialize_option(visitor),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Outcome<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        match self.shape.kind {
            Kind::NewtypeVariant => self.de.deserialize_enum(name, variants, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        self.de.cursor.skip(self.shape.count, self.de.shapes)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier
    }
}

/// A record of a variant, read as an enum.
pub(super) struct VariantOf<'b, 'a, 'de> {
    pub(super) de: &'b mut De<'a, 'de>,
    pub(super) id: usize,
    pub(super) shape: &'a Shape,
}

impl<'de> EnumAccess<'de> for VariantOf<'_, '_, 'de> {
    type Error = Fault<DecodeError>;
    type Variant = Self;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Outcome<(T::Value, Self)> {
        Ok((De::name(&self.shape.variant, seed)?, self))
    }
}

impl<'de> VariantAccess<'de> for VariantOf<'_, '_, 'de> {
    type Error = Fault<DecodeError>;

    fn unit_variant(self) -> Outcome<()> {
        match self.shape.kind {
            Kind::UnitVariant => Ok(()),
            // All fields were removed since.
            Kind::StructVariant => self.de.cursor.skip(self.shape.count, self.de.shapes),
            Kind::NewtypeVariant => self.de.deeper(|de| serde::Deserialize::deserialize(de)),
            _ => Err(Error::invalid_type(
                Unexpected::TupleVariant,
                &"unit variant",
            )),
        }
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Outcome<T::Value> {
        match self.shape.kind {
            Kind::NewtypeVariant => self.de.deeper(|de| seed.deserialize(de)),
            Kind::UnitVariant => Err(Error::invalid_type(
                Unexpected::UnitVariant,
                &"newtype variant",
            )),
            _ => seed.deserialize(Content {
                de: self.de,
                id: Some(self.id),
                shape: self.shape,
            }),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Outcome<V::Value> {
        match self.shape.kind {
            Kind::TupleVariant => self.de.positional(self.shape.count, visitor),
            Kind::NewtypeVariant => self.de.deeper(|de| de.deserialize_seq(visitor)),
            Kind::UnitVariant => Err(Error::invalid_type(
                Unexpected::UnitVariant,
                &"tuple variant",
            )),
            _ => Err(Error::invalid_type(
                Unexpected::StructVariant,
                &"tuple variant",
            )),
        }
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        match self.shape.kind {
            Kind::NewtypeVariant => self
                .de
                .deeper(|de| de.deserialize_struct("", fields, visitor)),
            // A unit variant has got fields since: all have their default, or are missing.
            Kind::UnitVariant => self.de.named(self.shape, visitor),
            _ => self.de.fields(self.id, self.shape, fields, visitor),
        }
    }
}

/// An enum written as a map of one entry.
pub(super) struct Tagged<'b, 'a, 'de> {
    pub(super) de: &'b mut De<'a, 'de>,
}

impl<'de> EnumAccess<'de> for Tagged<'_, '_, 'de> {
    type Error = Fault<DecodeError>;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Outcome<(T::Value, Self)> {
        Ok((seed.deserialize(&mut *self.de)?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_, '_, 'de> {
    type Error = Fault<DecodeError>;

    fn unit_variant(self) -> Outcome<()> {
        self.de.deeper(|de| serde::Deserialize::deserialize(de))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Outcome<T::Value> {
        self.de.deeper(|de| seed.deserialize(de))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Outcome<V::Value> {
        self.de.deeper(|de| de.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        self.de
            .deeper(|de| de.deserialize_struct("", fields, visitor))
    }
}

/// A name of the dictionary, asked for by whatever identifies fields, variants or keys.
pub(super) struct Name<'n>(pub(super) &'n str);

impl<'de> Deserializer<'de> for Name<'_> {
    type Error = Fault<DecodeError>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Outcome<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        visitor.visit_enum(serde::de::value::StrDeserializer::new(self.0))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
