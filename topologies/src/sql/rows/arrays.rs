//! Values as arrays, a column at a time.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray,
    StringArray, StructArray, UInt64Array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::error::ArrowError;
use millstream_engine::codec::{Fields, Value};

use super::shape::{Shape, struct_fields};

/// A value is not what the rows before it said.
#[derive(Debug)]
pub(super) struct Misfit {
    /// What was found.
    pub(super) found: String,
}

impl From<ArrowError> for Misfit {
    fn from(error: ArrowError) -> Self {
        let found = error.to_string();
        Self { found }
    }
}

/// What counts as a value: nothing for nothing, and what is in a `Some`.
fn inner(value: Option<&Value>) -> Option<&Value> {
    match value {
        Some(Value::Some(within)) => inner(Some(within)),
        Some(Value::Nil) | None => None,
        value => value,
    }
}

fn misfit(value: &Value, expected: &str) -> Misfit {
    let mut found = value.to_json().to_string();
    if let Some((at, _)) = found.char_indices().nth(60) {
        found.truncate(at);
        found.push('…');
    }
    let found = format!("{found} where {expected} was expected");
    Misfit { found }
}

/// Values as they are, or the first that is none of them.
fn each<T>(
    values: &[Option<&Value>],
    expected: &str,
    of: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<Option<T>>, Misfit> {
    let values = values.iter().map(|value| match inner(*value) {
        Some(value) => match of(value) {
            Some(value) => Ok(Some(value)),
            None => Err(misfit(value, expected)),
        },
        None => Ok(None),
    });
    values.collect()
}

fn integer<T: TryFrom<i128> + TryFrom<u128>>(value: &Value) -> Option<T> {
    match value {
        Value::Unsigned(number) => T::try_from(*number).ok(),
        Value::Signed(number) => T::try_from(*number).ok(),
        _ => None,
    }
}

/// The values as an array of the shape's type.
pub(super) fn array(shape: &Shape, values: &[Option<&Value>]) -> Result<ArrayRef, Misfit> {
    Ok(match shape {
        Shape::Unknown => {
            let nothing = each(values, "nothing", |_| None::<String>)?;
            Arc::new(StringArray::from(nothing))
        }
        Shape::Bool => {
            let of = |value: &Value| match value {
                Value::Bool(value) => Some(*value),
                _ => None,
            };
            Arc::new(BooleanArray::from(each(values, "true or false", of)?))
        }
        Shape::Int {
            has_negative,
            has_large,
        } => integers(*has_negative, *has_large, values)?,
        Shape::Float => {
            let of = |value: &Value| match value {
                Value::Float(value) => Some(*value),
                _ => None,
            };
            Arc::new(Float64Array::from(each(values, "a fraction", of)?))
        }
        Shape::Text => Arc::new(StringArray::from(each(values, "a text", text)?)),
        Shape::Bytes => {
            let of = |value: &Value| match value {
                Value::Bytes(bytes) => Some(bytes.clone()),
                _ => None,
            };
            let bytes = each(values, "bytes", of)?;
            Arc::new(bytes.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        Shape::Json => {
            let of = |value: &Value| Some(value.to_json().to_string());
            Arc::new(StringArray::from(each(values, "anything", of)?))
        }
        Shape::List(item) => list(item, values)?,
        Shape::Struct(fields) => structs(fields, values)?,
    })
}

fn integers(
    has_negative: bool,
    has_large: bool,
    values: &[Option<&Value>],
) -> Result<ArrayRef, Misfit> {
    Ok(match (has_negative, has_large) {
        (_, false) => Arc::new(Int64Array::from(each(values, "an i64", integer::<i64>)?)),
        (false, true) => Arc::new(UInt64Array::from(each(values, "a u64", integer::<u64>)?)),
        (true, true) => {
            let of = |value: &Value| {
                let number = integer::<i128>(value)?;
                (number >= i64::MIN.into() && number <= u64::MAX.into()).then_some(number)
            };
            let numbers = each(values, "a number of 64 bits", of)?;
            Arc::new(Decimal128Array::from(numbers).with_precision_and_scale(20, 0)?)
        }
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Record(record) if record.fields == Fields::Unit => {
            Some(record.variant.as_deref()?.to_owned())
        }
        _ => None,
    }
}

fn list(item: &Shape, values: &[Option<&Value>]) -> Result<ArrayRef, Misfit> {
    let (mut items, mut lengths, mut is_there) = (Vec::new(), Vec::new(), Vec::new());
    for value in values {
        let own = match inner(*value) {
            Some(Value::Seq(own)) => Some(own),
            None => None,
            Some(other) => return Err(misfit(other, "a list")),
        };
        is_there.push(own.is_some());
        lengths.push(own.map_or(0, Vec::len));
        items.extend(own.into_iter().flatten().map(Some));
    }
    let items = array(item, &items)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = NullBuffer::from(is_there);
    let list = ListArray::try_new(item.list_field(), offsets, items, Some(nulls))?;
    Ok(Arc::new(list))
}

fn structs(fields: &[(String, Shape)], values: &[Option<&Value>]) -> Result<ArrayRef, Misfit> {
    let columns = columns(fields, values)?;
    let nulls = NullBuffer::from_iter(values.iter().map(|value| inner(*value).is_some()));
    let arrays = fields.iter().zip(&columns);
    let arrays = arrays.map(|((_, shape), column)| array(shape, column));
    let arrays = arrays.collect::<Result<_, _>>()?;
    let structs = StructArray::try_new(struct_fields(fields), arrays, Some(nulls))?;
    Ok(Arc::new(structs))
}

/// The values of each field. One that a row does not have is nothing; one that is not known is a misfit.
pub(super) fn columns<'v>(
    fields: &[(String, Shape)],
    values: &[Option<&'v Value>],
) -> Result<Vec<Vec<Option<&'v Value>>>, Misfit> {
    let mut columns = vec![vec![None; values.len()]; fields.len()];
    for (row, value) in values.iter().enumerate() {
        let named = match inner(*value) {
            Some(Value::Record(record)) if record.variant.is_none() => match &record.fields {
                Fields::Named(named) => named,
                _ => return Err(misfit(&Value::Record(record.clone()), "a struct")),
            },
            Some(other) => return Err(misfit(other, "a struct")),
            None => continue,
        };
        for (at, (name, value)) in named.iter().enumerate() {
            let place = match fields.get(at) {
                Some((known, _)) if **known == **name => Some(at),
                _ => fields.iter().position(|(known, _)| **known == **name),
            };
            let Some(place) = place else {
                let found = format!("a field {name:?} that was not seen before");
                return Err(Misfit { found });
            };
            columns[place][row] = Some(value);
        }
    }
    Ok(columns)
}
