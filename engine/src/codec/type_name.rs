//! Finds the name of an event's type without writing the event.
//!
//! JSON does not tell what it was made of, so the value is shown to a serializer that stops at the first
//! thing it hears: the name of the variant or struct. Names must be those that the binary form gives,
//! which a test holds. Cost: no allocation, one call.

use std::fmt::{self, Display};

use serde::ser::{Error, Impossible, Serialize, Serializer};

/// Event type of `value`: the name of the variant if it is an enum, else of the struct, else `"value"`.
#[inline]
pub(super) fn type_name<T: Serialize + ?Sized>(value: &T) -> &'static str {
    match value.serialize(Listener) {
        Err(Heard(Some(name))) => name,
        _ => "value",
    }
}

/// What was heard; an "error" because that is how a serializer stops.
#[derive(Debug)]
struct Heard(Option<&'static str>);

impl Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("no name"))
    }
}

impl std::error::Error for Heard {}

impl Error for Heard {
    fn custom<T: Display>(_message: T) -> Self {
        Self(None)
    }
}

struct Listener;

type Outcome<T = ()> = Result<T, Heard>;
type Never = Impossible<(), Heard>;

macro_rules! nameless {
    ($($method:ident($($kind:ty),*) -> $result:ty;)*) => {
        $(#[inline]
        fn $method(self $(, _: $kind)*) -> Outcome<$result> {
            Err(Heard(None))
        })*
    };
}

impl Serializer for Listener {
    type Ok = ();
    type Error = Heard;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    nameless! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_i128(i128) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_u128(u128) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_map(Option<usize>) -> Never;
    }

    fn collect_str<T: Display + ?Sized>(self, _value: &T) -> Outcome {
        Err(Heard(None))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Outcome {
        value.serialize(self)
    }

    fn serialize_unit_struct(self, name: &'static str) -> Outcome {
        Err(Heard(Some(name)))
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Outcome {
        Err(Heard(Some(variant)))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _value: &T,
    ) -> Outcome {
        Err(Heard(Some(name)))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _value: &T,
    ) -> Outcome {
        Err(Heard(Some(variant)))
    }

    fn serialize_tuple_struct(self, name: &'static str, _len: usize) -> Outcome<Never> {
        Err(Heard(Some(name)))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Outcome<Never> {
        Err(Heard(Some(variant)))
    }

    fn serialize_struct(self, name: &'static str, _len: usize) -> Outcome<Never> {
        Err(Heard(Some(name)))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Outcome<Never> {
        Err(Heard(Some(variant)))
    }
}
