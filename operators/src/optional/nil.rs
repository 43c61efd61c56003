//! Values that are written as nil.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Serialize, forward_to_deserialize_any};

/// Nil in MessagePack.
pub(super) const NIL: u8 = 0xc0;

/// Whether a value is written as nil.
pub(crate) fn is_nil<T: Serialize>(value: &T) -> bool {
    let mut first = First(None);
    rmp_serde::encode::write(&mut first, value).is_ok() && first.0 == Some(NIL)
}

/// What nil is read as by a type that can be written as it, such as `()` and `Option`.
pub(crate) fn of_nil<T: DeserializeOwned>() -> Option<T> {
    T::deserialize(Nil).ok()
}

/// Whether a value of the type can be nil.
#[inline]
pub(super) fn may_be<T: DeserializeOwned>() -> bool {
    of_nil::<T>().is_some()
}

/// Takes one byte: what is longer fails at once.
struct First(Option<u8>);

impl Write for First {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes {
            [] => Ok(0),
            [byte] if self.0.is_none() => {
                self.0 = Some(*byte);
                Ok(1)
            }
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nil, as MessagePack gives it to a type, with an error that costs nothing.
struct Nil;

impl<'de> Deserializer<'de> for Nil {
    type Error = NotNil;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotNil> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotNil> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, NotNil> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// The type is never nil.
#[derive(Debug)]
struct NotNil;

impl fmt::Display for NotNil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is never nil")
    }
}

impl std::error::Error for NotNil {}

impl de::Error for NotNil {
    fn custom<T: fmt::Display>(_text: T) -> Self {
        Self
    }
}
