//! A value in MessagePack of which nothing is known, copied as it is.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

/// The bytes of the next value.
///
/// # Errors
/// Those of reading it, and lists and maps that do not tell their length first.
pub(super) fn copied<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let mut onto = Writer::new(Vec::new());
    Onto(&mut onto).deserialize(deserializer)?;
    Ok(onto.into_inner())
}

/// A value beside those of serde, with the number of what it means. `rmp_serde` knows it by its name.
#[derive(Serialize)]
#[serde(rename = "_ExtStruct")]
pub(super) struct Extension((i8, Bytes));

impl Extension {
    pub(super) const fn new(meaning: i8, bytes: &'static [u8]) -> Self {
        Self((meaning, Bytes(Cow::Borrowed(bytes))))
    }
}

struct Bytes(Cow<'static, [u8]>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(ReadBytes)
    }
}

struct ReadBytes;

impl Visitor<'_> for ReadBytes {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(Cow::Owned(bytes.to_vec())))
    }
}

type Writer = rmp_serde::Serializer<Vec<u8>>;

/// Writes the value that it reads.
struct Onto<'a>(&'a mut Writer);

impl Onto<'_> {
    fn put<T: Serialize + ?Sized, E: de::Error>(self, value: &T) -> Result<(), E> {
        value.serialize(self.0).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Onto<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Onto<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in MessagePack")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.put(&())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_f32<E: de::Error>(self, value: f32) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.put(value)
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<(), E> {
        self.0.serialize_bytes(value).map_err(E::custom)
    }

    /// An extension.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let parts = Deserialize::deserialize(deserializer)?;
        self.put(&Extension(parts))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let length = known(items.size_hint())?;
        // From here on it counts nothing: what follows are the items.
        let _ = self
            .0
            .serialize_seq(Some(length))
            .map_err(de::Error::custom)?;
        while items.next_element_seed(Onto(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let length = known(entries.size_hint())?;
        let _ = self
            .0
            .serialize_map(Some(length))
            .map_err(de::Error::custom)?;
        while entries.next_key_seed(Onto(self.0))?.is_some() {
            entries.next_value_seed(Onto(self.0))?;
        }
        Ok(())
    }
}

fn known<E: de::Error>(length: Option<usize>) -> Result<usize, E> {
    length.ok_or_else(|| E::custom("the format does not tell how long it is"))
}
