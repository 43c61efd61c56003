//! What values are, told from the values: the types of columns.
//!
//! Rules: numbers are `Int64`, or `UInt64` where some need it, `Decimal` where those and negative ones meet, `Float64`
//! with any fraction; structs are structs, enums without content and texts are text, sequences of one type are lists.
//! What has no such type (a map, an enum with content, a number past 64 bits, a mixture) is JSON text.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields as ArrowFields};
use millstream_engine::codec::{Fields, Value};

/// Structs and lists within each other; what lies deeper is JSON text.
const DEPTH_MAX: usize = 8;

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// No value was seen, or only nothing.
    Unknown,
    Bool,
    Int {
        has_negative: bool,
        /// Some are past an `i64`.
        has_large: bool,
    },
    Float,
    Text,
    Bytes,
    List(Box<Shape>),
    Struct(Vec<(String, Shape)>),
    Json,
}

impl Shape {
    pub(super) fn of(value: &Value) -> Self {
        Self::at_depth(value, 0)
    }

    fn at_depth(value: &Value, depth: usize) -> Self {
        match value {
            Value::Nil => Self::Unknown,
            Value::Bool(_) => Self::Bool,
            Value::Unsigned(number) => match u64::try_from(*number) {
                Ok(number) => Self::Int {
                    has_negative: false,
                    has_large: i64::try_from(number).is_err(),
                },
                Err(_) => Self::Json,
            },
            Value::Signed(number) => match i64::try_from(*number) {
                Ok(_) => Self::Int {
                    has_negative: true,
                    has_large: false,
                },
                Err(_) => Self::Json,
            },
            Value::Float(_) => Self::Float,
            Value::Text(_) => Self::Text,
            Value::Bytes(_) => Self::Bytes,
            Value::Some(inner) => Self::at_depth(inner, depth),
            Value::Seq(items) if depth < DEPTH_MAX => {
                let items = items.iter().map(|item| Self::at_depth(item, depth + 1));
                Self::List(Box::new(items.fold(Self::Unknown, Self::merge)))
            }
            Value::Record(record) => match (&record.variant, &record.fields) {
                (Some(_), Fields::Unit) => Self::Text,
                (None, Fields::Named(fields)) if depth < DEPTH_MAX && !fields.is_empty() => {
                    let fields = fields.iter();
                    let fields = fields
                        .map(|(name, value)| (name.to_string(), Self::at_depth(value, depth + 1)));
                    Self::Struct(fields.collect())
                }
                _ => Self::Json,
            },
            _ => Self::Json,
        }
    }

    /// What holds both.
    pub(super) fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, one) | (one, Self::Unknown) => one,
            (
                Self::Int {
                    has_negative,
                    has_large,
                },
                Self::Int {
                    has_negative: other_negative,
                    has_large: other_large,
                },
            ) => Self::Int {
                has_negative: has_negative || other_negative,
                has_large: has_large || other_large,
            },
            (Self::List(one), Self::List(other)) => Self::List(Box::new(one.merge(*other))),
            (Self::Struct(one), Self::Struct(other)) => Self::Struct(merge_fields(one, other)),
            (one, other) if one == other => one,
            _ => Self::Json,
        }
    }

    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int {
                has_large: false, ..
            } => DataType::Int64,
            Self::Int {
                has_negative: false,
                ..
            } => DataType::UInt64,
            Self::Int { .. } => DataType::Decimal128(20, 0),
            Self::Float => DataType::Float64,
            Self::Bytes => DataType::Binary,
            Self::Unknown | Self::Text | Self::Json => DataType::Utf8,
            Self::List(item) => DataType::List(item.list_field()),
            Self::Struct(fields) => DataType::Struct(struct_fields(fields)),
        }
    }

    pub(super) fn list_field(&self) -> Arc<Field> {
        Arc::new(Field::new("item", self.data_type(), true))
    }
}

pub(super) fn struct_fields(fields: &[(String, Shape)]) -> ArrowFields {
    let fields = fields.iter();
    fields
        .map(|(name, shape)| Field::new(name, shape.data_type(), true))
        .collect()
}

/// The fields of both, in the order in which they were first seen.
fn merge_fields(
    mut one: Vec<(String, Shape)>,
    other: Vec<(String, Shape)>,
) -> Vec<(String, Shape)> {
    for (at, (name, shape)) in other.into_iter().enumerate() {
        // As a rule all have the same ones in the same order.
        let place = match one.get(at) {
            Some((known, _)) if *known == name => Some(at),
            _ => one.iter().position(|(known, _)| *known == name),
        };
        match place {
            Some(place) => {
                let known = std::mem::replace(&mut one[place].1, Shape::Unknown);
                one[place].1 = known.merge(shape);
            }
            None => one.push((name, shape)),
        }
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(values: &[serde_json::Value]) -> Shape {
        let values = values.iter().cloned();
        let shapes = values.map(|json| Shape::of(&Value::from(json)));
        shapes.fold(Shape::Unknown, Shape::merge)
    }

    #[test]
    fn numbers_take_the_narrowest_type_that_holds_all() {
        use serde_json::json;
        assert_eq!(shape(&[json!(1), json!(-1)]).data_type(), DataType::Int64);
        let large = [json!(1), json!(u64::MAX)];
        assert_eq!(shape(&large).data_type(), DataType::UInt64);
        let both = [json!(u64::MAX), json!(-1)];
        assert_eq!(shape(&both).data_type(), DataType::Decimal128(20, 0));
        assert_eq!(shape(&[json!(1), json!("a")]), Shape::Json);
        assert_eq!(shape(&[json!(null), json!("a")]), Shape::Text);
        let lists = [json!([1]), json!([]), json!([null, -2])];
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
        assert_eq!(shape(&lists).data_type(), list);
    }
}
