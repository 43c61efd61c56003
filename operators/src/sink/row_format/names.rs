//! Names of a row's fields, without its values.
//!
//! They are those that a CSV header has: of structs, also ones in tuples and behind newtypes, whose fields are values. Cost:
//! per field a comparison of two pointers where the row is of the type of the one before; no allocation, and no field's
//! value is looked at.

use std::fmt;

use serde::Serialize;
use serde::ser::{
    Impossible, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// The names of a row's fields in order; none of what has no names.
pub(super) fn names_of<T: Serialize + ?Sized>(row: &T) -> Vec<&'static str> {
    let mut names = Vec::new();
    // What cannot be a row of a CSV file is told of when it is written.
    let _ = visit(row, |name| names.push(name));
    names
}

/// Whether these are the names of a row's fields.
#[inline]
pub(super) fn has_names<T: Serialize + ?Sized>(row: &T, names: &[&'static str]) -> bool {
    let (mut expected, mut are_same) = (names.iter(), true);
    let visited = visit(row, |name| {
        let is_next = |next: &&'static str| std::ptr::eq(*next, name) || *next == name;
        are_same &= expected.next().is_some_and(is_next);
    });
    // As above.
    visited.is_err() || (are_same && expected.next().is_none())
}

#[inline]
fn visit<T: Serialize + ?Sized>(row: &T, take: impl FnMut(&'static str)) -> fmt::Result {
    row.serialize(&mut Names(take))
}

/// Gives each name.
struct Names<F>(F);

/// Values have no names.
macro_rules! values {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(
            #[inline]
            fn $method(self, _value: $type) -> fmt::Result {
                Ok(())
            }
        )*
    };
}

impl<F: FnMut(&'static str)> Serializer for &mut Names<F> {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Impossible<(), fmt::Error>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    values! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    }

    fn serialize_none(self) -> fmt::Result {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> fmt::Result {
        value.serialize(self)
    }

    fn serialize_unit(self) -> fmt::Result {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
    ) -> fmt::Result {
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> fmt::Result {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        value: &T,
    ) -> fmt::Result {
        value.serialize(self)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    /// CSV has none.
    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, fmt::Error> {
        Err(fmt::Error)
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    /// A value; what it is as text is not asked.
    fn collect_str<T: fmt::Display + ?Sized>(self, _value: &T) -> fmt::Result {
        Ok(())
    }
}

/// Elements may have names.
macro_rules! elements {
    ($($compound:ident: $method:ident),* $(,)?) => {
        $(
            impl<F: FnMut(&'static str)> $compound for &mut Names<F> {
                type Ok = ();
                type Error = fmt::Error;

                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
                    value.serialize(&mut **self)
                }

                fn end(self) -> fmt::Result {
                    Ok(())
                }
            }
        )*
    };
}

/// Fields have names.
macro_rules! fields {
    ($($compound:ident),* $(,)?) => {
        $(
            impl<F: FnMut(&'static str)> $compound for &mut Names<F> {
                type Ok = ();
                type Error = fmt::Error;

                #[inline]
                fn serialize_field<T: Serialize + ?Sized>(
                    &mut self,
                    name: &'static str,
                    _value: &T,
                ) -> fmt::Result {
                    (self.0)(name);
                    Ok(())
                }

                fn end(self) -> fmt::Result {
                    Ok(())
                }
            }
        )*
    };
}

elements! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}
fields! { SerializeStruct, SerializeStructVariant }
