//! Optional values as they were always written, except that something that is written as nothing has a mark.
//!
//! In the format of checkpoints `None` and `()` are both nil, and `Some` adds nothing: `Some(None)` would come back as `None`. Where a
//! field is told by its name, a [list](crate::maybe) under another name mends that. Here the value stands alone, as an
//! accumulator or a state, and versions before wrote it as a plain option, which may be a list itself.
//! Invariants: (1) what is written is read as it was; (2) what was written as an option is read as one, and differs only in
//! what was lost; (3) a mark is nothing that a type of serde's can be written as. An option inside of the value is the value's:
//! of `Some(Some(None))` comes back `Some(None)`.
//! Cost: none for types that are never nil, as the compiler can tell; others are tried before they are written, and read by
//! way of a buffer.

mod copied;
mod nil;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use copied::{Extension, copied};
pub(crate) use nil::{is_nil, of_nil};

/// Stands for something that is written as nil.
const MARK: Extension = Extension::new(1, &[nil::NIL]);
/// As it is written.
const MARK_BYTES: [u8; 3] = [0xd4, 1, nil::NIL];

/// An optional value that comes back as it was from a checkpoint or from disk, also if there is one and it is itself `None` or
/// `()`. What is kept by [`min`](crate::function::min), [`max`](crate::function::max) and
/// [`reduce`](crate::function::reduce).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    transparent,
    bound(
        serialize = "T: Serialize + DeserializeOwned",
        deserialize = "T: DeserializeOwned"
    )
)]
pub struct Optional<T>(#[serde(with = "self")] pub Option<T>);

/// Writes an option, or the mark.
pub(crate) fn serialize<T, S>(part: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Serialize + DeserializeOwned,
    S: Serializer,
{
    match part {
        Some(value) if nil::may_be::<T>() && is_nil(value) => MARK.serialize(serializer),
        _ => part.serialize(serializer),
    }
}

/// Reads what [`serialize`] wrote, and what was written as a plain option.
pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    if nil::may_be::<T>() {
        deserializer.deserialize_option(Read(PhantomData))
    } else {
        Option::deserialize(deserializer)
    }
}

struct Read<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for Read<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an optional value")
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        let bytes = copied(deserializer)?;
        if bytes == MARK_BYTES {
            return Ok(of_nil());
        }
        let value = rmp_serde::from_slice(&bytes).map_err(D::Error::custom)?;
        Ok(Some(value))
    }
}
