//! Looking into values and changing them.

use std::sync::Arc;

use super::{Fields, Record, Value};
use crate::codec::error::UpcastError;

/// Names of a record whose content was taken out: struct or enum, and variant.
pub(in crate::codec) type Name = Option<(Arc<str>, Option<Arc<str>>)>;

impl Value {
    /// A struct with these fields.
    pub fn structure<N: Into<Arc<str>>>(
        type_name: impl Into<Arc<str>>,
        fields: impl IntoIterator<Item = (N, Value)>,
    ) -> Self {
        Self::record(type_name.into(), None, named(fields))
    }

    /// The variant of an enum, with these fields.
    pub fn variant<N: Into<Arc<str>>>(
        type_name: impl Into<Arc<str>>,
        variant: impl Into<Arc<str>>,
        fields: impl IntoIterator<Item = (N, Value)>,
    ) -> Self {
        Self::record(type_name.into(), Some(variant.into()), named(fields))
    }

    /// The variant of an enum, without fields.
    pub fn unit_variant(type_name: impl Into<Arc<str>>, variant: impl Into<Arc<str>>) -> Self {
        Self::record(type_name.into(), Some(variant.into()), Fields::Unit)
    }

    pub(super) fn record(type_name: Arc<str>, variant: Option<Arc<str>>, fields: Fields) -> Self {
        Self::Record(Box::new(Record {
            type_name,
            variant,
            fields,
        }))
    }

    /// Event type of a record: the name of the variant, or of the struct. `None` for other values.
    pub fn event_type(&self) -> Option<&str> {
        match self {
            Self::Record(record) => Some(record.variant.as_deref().unwrap_or(&record.type_name)),
            _ => None,
        }
    }

    /// Gives a record another event type: renames the variant, or the struct.
    ///
    /// # Errors
    /// [`UpcastError::Refused`] if the value is no record.
    pub fn rename(&mut self, event_type: impl Into<Arc<str>>) -> Result<(), UpcastError> {
        match self {
            Self::Record(record) => {
                match &mut record.variant {
                    Some(variant) => *variant = event_type.into(),
                    None => record.type_name = event_type.into(),
                }
                Ok(())
            }
            _ => Err(UpcastError::refused("only a struct or variant has a name")),
        }
    }

    /// The field of a struct or variant, or the value under a text key of a map. A variant around a
    /// struct, `Opened(Opening)`, counts as the struct, here and below.
    pub fn get(&self, field: &str) -> Option<&Value> {
        match self {
            Self::Record(record) => match &record.fields {
                Fields::Named(fields) => fields
                    .iter()
                    .find(|(name, _)| &**name == field)
                    .map(|(_, value)| value),
                Fields::Newtype(inner) => inner.get(field),
                Fields::Unit | Fields::Positional(_) => None,
            },
            Self::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.is_text(field))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// As [`get`](Self::get), to be changed in place.
    pub fn get_mut(&mut self, field: &str) -> Option<&mut Value> {
        match self {
            Self::Record(record) => match &mut record.fields {
                Fields::Named(fields) => fields
                    .iter_mut()
                    .find(|(name, _)| &**name == field)
                    .map(|(_, value)| value),
                Fields::Newtype(inner) => inner.get_mut(field),
                Fields::Unit | Fields::Positional(_) => None,
            },
            Self::Map(entries) => entries
                .iter_mut()
                .find(|(key, _)| key.is_text(field))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// Replaces a field, or adds it at the end. Returns what it held. A variant without fields gets its
    /// first one.
    ///
    /// # Errors
    /// [`UpcastError::Refused`] if the value can have no named fields; it is unchanged.
    pub fn set(
        &mut self,
        field: &str,
        value: impl Into<Value>,
    ) -> Result<Option<Value>, UpcastError> {
        if let Some(present) = self.get_mut(field) {
            return Ok(Some(std::mem::replace(present, value.into())));
        }
        match self {
            Self::Map(entries) => entries.push((Self::from(field), value.into())),
            Self::Record(record) => match &mut record.fields {
                Fields::Named(fields) => fields.push((field.into(), value.into())),
                Fields::Newtype(inner) => return inner.set(field, value),
                Fields::Unit => record.fields = Fields::Named(vec![(field.into(), value.into())]),
                Fields::Positional(_) => return Err(no_names(field)),
            },
            _ => return Err(no_names(field)),
        }
        Ok(None)
    }

    /// Takes a field out, keeping the order of the others. `None` if there is none.
    pub fn remove(&mut self, field: &str) -> Option<Value> {
        match self {
            Self::Record(record) => match &mut record.fields {
                Fields::Named(fields) => {
                    let at = fields.iter().position(|(name, _)| &**name == field)?;
                    Some(fields.remove(at).1)
                }
                Fields::Newtype(inner) => inner.remove(field),
                Fields::Unit | Fields::Positional(_) => None,
            },
            Self::Map(entries) => {
                let at = entries.iter().position(|(key, _)| key.is_text(field))?;
                Some(entries.remove(at).1)
            }
            _ => None,
        }
    }

    /// Calls a field by another name, in its place; a field that had that name is removed. False if there
    /// was none to rename.
    pub fn rename_field(&mut self, from: &str, to: &str) -> bool {
        if from == to || self.get(from).is_none() {
            return self.get(from).is_some();
        }
        self.remove(to);
        match self {
            Self::Record(record) => match &mut record.fields {
                Fields::Named(fields) => {
                    for (name, _) in fields.iter_mut().filter(|(name, _)| &**name == from) {
                        *name = to.into();
                    }
                }
                Fields::Newtype(inner) => return inner.rename_field(from, to),
                Fields::Unit | Fields::Positional(_) => {}
            },
            Self::Map(entries) => {
                for (key, _) in entries.iter_mut().filter(|(key, _)| key.is_text(from)) {
                    *key = Self::from(to);
                }
            }
            _ => {}
        }
        true
    }

    /// The items of a sequence, tuple or tuple variant.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Self::Seq(items) => Some(items),
            Self::Record(record) => match &record.fields {
                Fields::Positional(items) => Some(items),
                Fields::Newtype(inner) => inner.items(),
                Fields::Unit | Fields::Named(_) => None,
            },
            _ => None,
        }
    }

    /// As [`items`](Self::items), to be changed in place.
    pub fn items_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Self::Seq(items) => Some(items),
            Self::Record(record) => match &mut record.fields {
                Fields::Positional(items) => Some(items),
                Fields::Newtype(inner) => inner.items_mut(),
                Fields::Unit | Fields::Named(_) => None,
            },
            _ => None,
        }
    }

    /// The number, if it is one that fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => (*value).try_into().ok(),
            Self::Signed(value) => (*value).try_into().ok(),
            _ => None,
        }
    }

    /// The number, if it is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Unsigned(value) => (*value).try_into().ok(),
            Self::Signed(value) => (*value).try_into().ok(),
            _ => None,
        }
    }

    /// The number, rounded to the nearest that a float can hold.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn is_text(&self, text: &str) -> bool {
        self.as_str() == Some(text)
    }

    /// What is inside an event, and the names around it.
    pub(in crate::codec) fn into_content(self) -> (Name, Self) {
        let Self::Record(record) = self else {
            return (None, self);
        };
        let Record {
            type_name,
            variant,
            fields,
        } = *record;
        let content = match fields {
            Fields::Unit => Self::Nil,
            Fields::Newtype(inner) => inner,
            Fields::Positional(items) => Self::Seq(items),
            Fields::Named(_) => Self::record(type_name.clone(), None, fields),
        };
        (Some((type_name, variant)), content)
    }

    /// Puts the names around new content. Fields by name become the event's own.
    pub(in crate::codec) fn from_content(name: Name, content: Self) -> Self {
        let Some((type_name, variant)) = name else {
            return content;
        };
        let fields = match content {
            Self::Nil => Fields::Unit,
            Self::Record(record)
                if record.variant.is_none() && matches!(record.fields, Fields::Named(_)) =>
            {
                record.fields
            }
            other => Fields::Newtype(other),
        };
        Self::record(type_name, variant, fields)
    }
}

fn named<N: Into<Arc<str>>>(fields: impl IntoIterator<Item = (N, Value)>) -> Fields {
    let fields = fields.into_iter();
    Fields::Named(fields.map(|(name, value)| (name.into(), value)).collect())
}

fn no_names(field: &str) -> UpcastError {
    UpcastError::refused(format!(
        "`{field}` cannot be set: the value has no named fields"
    ))
}

macro_rules! from {
    ($($kind:ty as $as:ty => $variant:ident),*) => {
        $(impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::$variant(<$as>::from(value))
            }
        })*
    };
}

macro_rules! from_signed {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                match u128::try_from(value) {
                    Ok(value) => Self::Unsigned(value),
                    Err(_) => Self::Signed(i128::from(value)),
                }
            }
        })*
    };
}

from! {
    bool as bool => Bool, u8 as u128 => Unsigned, u16 as u128 => Unsigned, u32 as u128 => Unsigned,
    u64 as u128 => Unsigned, u128 as u128 => Unsigned, f32 as f64 => Float, f64 as f64 => Float,
    &str as String => Text, String as String => Text, char as String => Text,
    Vec<Value> as Vec<Value> => Seq
}
from_signed!(i8, i16, i32, i64, i128);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        match value.map(Into::into) {
            None => Self::Nil,
            Some(inner @ (Self::Nil | Self::Some(_))) => Self::Some(Box::new(inner)),
            Some(inner) => inner,
        }
    }
}
