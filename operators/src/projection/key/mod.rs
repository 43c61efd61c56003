//! Keys of rows, and their bytes.

pub(in crate::projection) mod part;
mod parts;
mod tuples;

pub use parts::{KeyPart, KeyValue, ParseKeyPartError};
pub use tuples::KeyPrefix;

use std::hash::Hash;

use compact_str::CompactString;
use millstream_engine::time::Timestamp;

/// A key of a table. Its bytes sort like the key, so that ranges of keys are ranges in the store.
pub trait TableKey: Clone + Eq + Hash + Send + Sync + 'static {
    /// Appends the key's bytes: at most [`ROW_KEY_BYTES_MAX`](millstream_engine::state::ROW_KEY_BYTES_MAX),
    /// or the event that wrote the row is parked.
    fn write(&self, out: &mut Vec<u8>);

    /// The key with exactly these bytes; `None` for others.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Appends the key as a part of a longer one: bytes that sort like the key whatever comes behind them, and that
    /// no other key's part begins with. Those of [`write`](Self::write) serve where all keys have one length; this
    /// default is for any.
    fn write_part(&self, out: &mut Vec<u8>) {
        let from = out.len();
        self.write(out);
        part::escape(out, from);
    }

    /// Takes such a part off the front of `bytes`; `None` if they do not begin with one.
    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::read(&part::unescape(bytes)?)
    }

    /// What the key's bytes are made of, for those who read them without this type, as SQL does. A key whose bytes are
    /// those of another one says what that says; others need not say anything.
    fn parts() -> Vec<KeyPart> {
        vec![KeyPart::Bytes]
    }
}

/// Implements the parts of keys that all have so many bytes.
macro_rules! part_of_length {
    ($length:expr) => {
        fn write_part(&self, out: &mut Vec<u8>) {
            self.write(out);
        }
        fn read_part(bytes: &mut &[u8]) -> Option<Self> {
            let (own, rest) = bytes.split_at_checked($length)?;
            *bytes = rest;
            Self::read(own)
        }
    };
}

macro_rules! text_key {
    ($($text:ty),*) => {$(
        impl TableKey for $text {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(std::str::from_utf8(bytes).ok()?.into())
            }
            fn parts() -> Vec<KeyPart> {
                vec![KeyPart::Text]
            }
        }
    )*};
}
text_key!(String, CompactString);

macro_rules! unsigned_key {
    ($($number:ty),*) => {$(
        impl TableKey for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?))
            }
            fn parts() -> Vec<KeyPart> {
                vec![KeyPart::Unsigned(size_of::<Self>())]
            }
            part_of_length!(size_of::<Self>());
        }
    )*};
}
unsigned_key!(u16, u32, u64, u128);

macro_rules! signed_key {
    ($($number:ty as $unsigned:ty),*) => {$(
        impl TableKey for $number {
            fn write(&self, out: &mut Vec<u8>) {
                // With the sign bit turned, negative numbers sort before positive ones.
                let turned = (*self as $unsigned) ^ (1 << (<$unsigned>::BITS - 1));
                out.extend_from_slice(&turned.to_be_bytes());
            }
            fn read(bytes: &[u8]) -> Option<Self> {
                let turned = <$unsigned>::from_be_bytes(bytes.try_into().ok()?);
                Some((turned ^ (1 << (<$unsigned>::BITS - 1))) as $number)
            }
            fn parts() -> Vec<KeyPart> {
                vec![KeyPart::Signed(size_of::<Self>())]
            }
            part_of_length!(size_of::<Self>());
        }
    )*};
}
signed_key!(i32 as u32, i64 as u64);

impl TableKey for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
    fn parts() -> Vec<KeyPart> {
        vec![KeyPart::Bool]
    }
    part_of_length!(1);
}

impl TableKey for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        i64::read(bytes).map(Self)
    }
    fn parts() -> Vec<KeyPart> {
        vec![KeyPart::Time]
    }
    part_of_length!(size_of::<i64>());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(key: &impl TableKey) -> Vec<u8> {
        let mut out = Vec::new();
        key.write(&mut out);
        out
    }

    proptest! {
        #[test]
        fn bytes_sort_like_the_key_and_give_it_back(
            a: i64, b: i64, c: u32, d: u32, e in ".{0,20}", f in ".{0,20}",
        ) {
            prop_assert_eq!(bytes(&a).cmp(&bytes(&b)), a.cmp(&b));
            prop_assert_eq!(bytes(&c).cmp(&bytes(&d)), c.cmp(&d));
            prop_assert_eq!(bytes(&e).cmp(&bytes(&f)), e.cmp(&f));
            prop_assert_eq!(i64::read(&bytes(&a)), Some(a));
            prop_assert_eq!(u32::read(&bytes(&c)), Some(c));
            prop_assert_eq!(String::read(&bytes(&e)), Some(e));
            prop_assert_eq!(u64::read(&bytes(&c)), None);
        }
    }
}
