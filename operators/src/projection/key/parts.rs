//! What the bytes of a key are made of.

use std::fmt;
use std::str::FromStr;

use millstream_engine::time::Timestamp;

use super::{TableKey, part};

/// A part of a key, or all of it, by what its bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPart {
    /// A text.
    Text,
    /// A number from 0 up, of so many bytes: 2, 4, 8 or 16.
    Unsigned(usize),
    /// A number of so many bytes: 4 or 8.
    Signed(usize),
    /// True or false.
    Bool,
    /// A time.
    Time,
    /// Bytes that only their type knows; never one part of several.
    Bytes,
}

/// A part of a key, read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyValue {
    /// A text.
    Text(String),
    /// A number.
    Unsigned(u128),
    /// A number.
    Signed(i64),
    /// True or false.
    Bool(bool),
    /// A time.
    Time(Timestamp),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl KeyPart {
    /// The parts of a tuple. One that cannot be told leaves all of them untold.
    pub(super) fn all_of<const N: usize>(parts: [Vec<Self>; N]) -> Vec<Self> {
        let all = parts.concat();
        if all.contains(&Self::Bytes) {
            return vec![Self::Bytes];
        }
        all
    }

    /// Takes this part off the front of `bytes`, all of them if it is the last one of its key; `None` when they are
    /// no such part.
    #[must_use]
    pub fn read(self, bytes: &mut &[u8], is_last: bool) -> Option<KeyValue> {
        fn one<K: TableKey>(bytes: &mut &[u8], is_last: bool) -> Option<K> {
            if is_last {
                return K::read(std::mem::take(bytes));
            }
            K::read_part(bytes)
        }
        Some(match self {
            Self::Text => KeyValue::Text(one(bytes, is_last)?),
            Self::Unsigned(2) => KeyValue::Unsigned(one::<u16>(bytes, is_last)?.into()),
            Self::Unsigned(4) => KeyValue::Unsigned(one::<u32>(bytes, is_last)?.into()),
            Self::Unsigned(8) => KeyValue::Unsigned(one::<u64>(bytes, is_last)?.into()),
            Self::Unsigned(16) => KeyValue::Unsigned(one(bytes, is_last)?),
            Self::Signed(4) => KeyValue::Signed(one::<i32>(bytes, is_last)?.into()),
            Self::Signed(8) => KeyValue::Signed(one(bytes, is_last)?),
            Self::Bool => KeyValue::Bool(one(bytes, is_last)?),
            Self::Time => KeyValue::Time(one(bytes, is_last)?),
            Self::Bytes if is_last => KeyValue::Bytes(std::mem::take(bytes).to_vec()),
            Self::Unsigned(_) | Self::Signed(_) | Self::Bytes => return None,
        })
    }

    /// Appends a text, or the bytes that one begins with, as this part of a key; nothing ends it yet if it is not the last.
    pub fn write_text(text: &[u8], is_last: bool, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(text);
        if !is_last {
            part::escape(out, from);
            out.truncate(out.len() - part::END.len());
        }
    }

    /// Bytes that end a text that is not the last part of its key.
    pub const TEXT_END: [u8; 2] = part::END;

    /// Appends a number as this part of a key: bytes that sort like it. `None` when this part is no number, or none
    /// that large. Times are microseconds since 1970, true is 1.
    #[must_use]
    pub fn write_number(self, number: i128, out: &mut Vec<u8>) -> Option<()> {
        fn put<K: TableKey + TryFrom<i128>>(number: i128, out: &mut Vec<u8>) -> Option<()> {
            K::try_from(number).ok()?.write(out);
            Some(())
        }
        match self {
            Self::Unsigned(2) => put::<u16>(number, out),
            Self::Unsigned(4) => put::<u32>(number, out),
            Self::Unsigned(8) => put::<u64>(number, out),
            Self::Unsigned(16) => put::<u128>(number, out),
            Self::Signed(4) => put::<i32>(number, out),
            Self::Signed(8) | Self::Time => put::<i64>(number, out),
            Self::Bool => match number {
                0 | 1 => {
                    (number == 1).write(out);
                    Some(())
                }
                _ => None,
            },
            Self::Text | Self::Unsigned(_) | Self::Signed(_) | Self::Bytes => None,
        }
    }

    /// The least and the largest number that this part can be, if it is a number.
    #[must_use]
    pub const fn numbers(self) -> Option<(i128, i128)> {
        Some(match self {
            Self::Unsigned(2) => (0, u16::MAX as i128),
            Self::Unsigned(4) => (0, u32::MAX as i128),
            Self::Unsigned(8) => (0, u64::MAX as i128),
            Self::Signed(4) => (i32::MIN as i128, i32::MAX as i128),
            Self::Signed(8) | Self::Time => (i64::MIN as i128, i64::MAX as i128),
            Self::Bool => (0, 1),
            // Those of 16 bytes may be larger than any `i128`.
            Self::Unsigned(_) | Self::Signed(_) | Self::Text | Self::Bytes => return None,
        })
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Unsigned(bytes) => write!(f, "u{}", bytes * 8),
            Self::Signed(bytes) => write!(f, "i{}", bytes * 8),
            Self::Bool => f.write_str("bool"),
            Self::Time => f.write_str("time"),
            Self::Bytes => f.write_str("bytes"),
        }
    }
}

/// A text that names no part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no part of a key: text, u16, u32, u64, u128, i32, i64, bool, time, bytes")]
pub struct ParseKeyPartError(String);

impl FromStr for KeyPart {
    type Err = ParseKeyPartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALL: [KeyPart; 10] = [
            KeyPart::Text,
            KeyPart::Unsigned(2),
            KeyPart::Unsigned(4),
            KeyPart::Unsigned(8),
            KeyPart::Unsigned(16),
            KeyPart::Signed(4),
            KeyPart::Signed(8),
            KeyPart::Bool,
            KeyPart::Time,
            KeyPart::Bytes,
        ];
        let mut all = ALL.into_iter();
        let found = all.find(|part| part.to_string() == text);
        found.ok_or_else(|| ParseKeyPartError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_told_by_their_parts_and_read_without_their_type() {
        type Key = (String, u32, (bool, i64));
        let parts = Key::parts();
        let names: Vec<_> = parts.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["text", "u32", "bool", "i64"]);
        let mut bytes = Vec::new();
        let key: Key = ("a\0b".to_owned(), 7, (true, -3));
        key.write(&mut bytes);
        let (mut rest, mut read) = (&bytes[..], Vec::new());
        for (at, part) in parts.iter().enumerate() {
            read.push(part.read(&mut rest, at == 3).unwrap());
            assert_eq!(part.to_string().parse::<KeyPart>().unwrap(), *part);
        }
        let expected = [
            KeyValue::Text("a\0b".to_owned()),
            KeyValue::Unsigned(7),
            KeyValue::Bool(true),
            KeyValue::Signed(-3),
        ];
        assert_eq!(read, expected);
        let mut written = Vec::new();
        KeyPart::write_text(b"a\0b", false, &mut written);
        written.extend(KeyPart::TEXT_END);
        for (part, number) in parts[1..].iter().zip([7, 1, -3]) {
            part.write_number(number, &mut written).unwrap();
        }
        assert_eq!(written, bytes);
        assert_eq!(KeyPart::Unsigned(4).write_number(-1, &mut written), None);
        assert!("u8".parse::<KeyPart>().is_err());
    }
}
