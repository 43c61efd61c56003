//! Optional parts of what is kept, as lists of at most one.
//!
//! In the format of checkpoints nothing is written the same as `()` or as an inner `None`, which a row may well be.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<T: Serialize, S: Serializer>(
    part: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    part.as_slice().serialize(serializer)
}

pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Vec::deserialize(deserializer)?.pop())
}
