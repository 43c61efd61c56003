//! Stream ids: `category-id`, with an optional partition key after an `@`.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::PartitionId;

/// Longest stream id in bytes. A longer one is refused: hash it in the caller if it must be longer.
pub const STREAM_ID_BYTES_MAX: usize = 255;

/// Name of the events of one aggregate instance, such as `account-42` or `order-7@tenant3`.
///
/// What stands before the first `-` is the category; what follows the last `@`, if anything does, is the
/// partition key: streams with one key lie in one partition and can change together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamId {
    text: CompactString,
    category_bytes: u8,
}

/// Why a text is not a stream id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamIdError {
    /// No `-` between category and id, or nothing on one of its sides.
    #[error("stream id {text:?} must have the form category-id, with neither part empty")]
    Form {
        /// What was given.
        text: String,
    },
    /// Over [`STREAM_ID_BYTES_MAX`] bytes.
    #[error(
        "stream id of {bytes} bytes is longer than {STREAM_ID_BYTES_MAX}: use a hash of it as the id"
    )]
    TooLong {
        /// Length of what was given, in bytes.
        bytes: usize,
    },
    /// A control character would make logs and command lines ambiguous.
    #[error("stream id {text:?} has a control character")]
    Control {
        /// What was given.
        text: String,
    },
    /// An `@` with nothing after it names no partition key.
    #[error("stream id {text:?} ends in '@': write the partition key after it or leave it out")]
    EmptyKey {
        /// What was given.
        text: String,
    },
}

impl StreamId {
    /// Joins a category and an id.
    ///
    /// # Errors
    /// [`StreamIdError`] when the joined text is not a valid stream id; a category with a `-` in it
    /// would be read back as another category and is refused as [`StreamIdError::Form`].
    pub fn new(category: &str, id: &str) -> Result<Self, StreamIdError> {
        let mut text = CompactString::with_capacity(category.len() + 1 + id.len());
        text.push_str(category);
        text.push('-');
        text.push_str(id);
        if category.contains('-') {
            return Err(StreamIdError::Form { text: text.into() });
        }
        Self::from_text(text)
    }

    fn from_text(text: CompactString) -> Result<Self, StreamIdError> {
        if text.len() > STREAM_ID_BYTES_MAX {
            return Err(StreamIdError::TooLong { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(StreamIdError::Control { text: text.into() });
        }
        match text.find('-') {
            Some(at) if at > 0 && at + 1 < text.len() => {
                if text.ends_with('@') {
                    return Err(StreamIdError::EmptyKey { text: text.into() });
                }
                let category_bytes = u8::try_from(at).expect("at most 255 bytes, checked above");
                Ok(Self {
                    text,
                    category_bytes,
                })
            }
            _ => Err(StreamIdError::Form { text: text.into() }),
        }
    }

    /// The whole text, `account-42`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the first `-`.
    pub fn category(&self) -> &str {
        &self.text[..usize::from(self.category_bytes)]
    }

    /// What stands after the first `-`, the partition key included.
    pub fn id(&self) -> &str {
        &self.text[usize::from(self.category_bytes) + 1..]
    }

    /// What places the stream: the text after the last `@`, or the whole id.
    pub fn partition_key(&self) -> &str {
        partition_key(&self.text)
    }

    /// Hash under which the stream index knows this stream.
    pub fn hash(&self) -> u64 {
        stream_hash(&self.text)
    }

    /// The partition of this stream in a store of `partitions` partitions.
    pub fn partition(&self, partitions: u16) -> PartitionId {
        partition_of(&self.text, partitions)
    }
}

fn partition_key(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, key)| key)
}

/// Hash of a whole stream id, XXH3 with 64 bits. Part of the on-disk format.
pub fn stream_hash(stream: &str) -> u64 {
    xxh3_64(stream.as_bytes())
}

/// The partition of a stream id: `xxh3_64(partition key) mod partitions`. Part of the on-disk format.
///
/// # Panics
/// When `partitions` is zero, which no store has.
pub fn partition_of(stream: &str, partitions: u16) -> PartitionId {
    let slot = xxh3_64(partition_key(stream).as_bytes()) % u64::from(partitions);
    PartitionId(u16::try_from(slot).expect("a remainder of a u16 fits a u16"))
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for StreamId {
    type Err = StreamIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_text(CompactString::from(text))
    }
}

impl TryFrom<String> for StreamId {
    type Error = StreamIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_text(CompactString::from(text))
    }
}

impl From<StreamId> for String {
    fn from(id: StreamId) -> Self {
        id.text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_id() {
        let id: StreamId = "order-7-b@tenant3".parse().unwrap();
        assert_eq!(
            (id.category(), id.id(), id.partition_key()),
            ("order", "7-b@tenant3", "tenant3")
        );
        assert_eq!(StreamId::new("order", "7-b@tenant3").unwrap(), id);
    }

    #[test]
    fn one_partition_key_is_one_partition() {
        for n in 0..100 {
            let a: StreamId = format!("order-{n}@t").parse().unwrap();
            assert_eq!(
                a.partition(16),
                "invoice-1@t".parse::<StreamId>().unwrap().partition(16)
            );
        }
    }

    /// These values are in every store that was ever written: they must never change.
    #[test]
    fn placement_is_part_of_the_format() {
        assert_eq!(stream_hash("account-42"), 0xfe91_6896_f1b4_ecbf);
        assert_eq!(stream_hash("order-7@tenant3"), 0xb71d_be43_48af_00ad);
        assert_eq!(partition_of("account-42", 16), PartitionId(15));
        assert_eq!(partition_of("order-7@tenant3", 16), PartitionId(0));
    }

    #[test]
    fn what_is_not_a_stream_id() {
        for bad in ["", "account", "-42", "account-", "a-b\n", "a-b@"] {
            assert!(bad.parse::<StreamId>().is_err(), "{bad:?}");
        }
        assert!(matches!(
            "a-".repeat(200).parse::<StreamId>(),
            Err(StreamIdError::TooLong { .. })
        ));
        assert!(StreamId::new("a-b", "c").is_err());
    }
}
