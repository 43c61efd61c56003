//! Keys of rows, and their bytes.

use compact_str::CompactString;
use std::hash::Hash;

/// A key of a table. Its bytes sort like the key, so that ranges of keys are ranges in the store.
pub trait TableKey: Clone + Eq + Hash + Send + Sync + 'static {
    /// Appends the key's bytes: at most [`ROW_KEY_BYTES_MAX`](millstream_engine::state::ROW_KEY_BYTES_MAX),
    /// or the event that wrote the row is parked.
    fn write(&self, out: &mut Vec<u8>);

    /// The key with exactly these bytes; `None` for others.
    fn read(bytes: &[u8]) -> Option<Self>;
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
        }
    )*};
}
signed_key!(i32 as u32, i64 as u64);

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
