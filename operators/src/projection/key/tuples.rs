//! Keys of several parts, and what keys that begin with the same ones have in common.

use compact_str::CompactString;

use super::{KeyPart, TableKey};

/// Keys that can be asked for by what they begin with: `(A, B)` by an `A`, a text by its first letters.
pub trait KeyPrefix<P: ?Sized>: TableKey {
    /// Appends the bytes that the keys beginning with `prefix` begin with, and no others.
    fn write_prefix(prefix: &P, out: &mut Vec<u8>);
}

impl KeyPrefix<str> for String {
    fn write_prefix(prefix: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(prefix.as_bytes());
    }
}

impl KeyPrefix<str> for CompactString {
    fn write_prefix(prefix: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(prefix.as_bytes());
    }
}

macro_rules! tuple_key {
    ($($part:ident $at:tt),+; $last:ident $last_at:tt) => {
        impl<$($part: TableKey,)+ $last: TableKey> TableKey for ($($part,)+ $last) {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$at.write_part(out);)+
                self.$last_at.write(out);
            }
            fn read(mut bytes: &[u8]) -> Option<Self> {
                Some(($($part::read_part(&mut bytes)?,)+ $last::read(bytes)?))
            }
            fn parts() -> Vec<KeyPart> {
                KeyPart::all_of([$($part::parts(),)+ $last::parts()])
            }
            fn write_part(&self, out: &mut Vec<u8>) {
                $(self.$at.write_part(out);)+
                self.$last_at.write_part(out);
            }
            fn read_part(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($part::read_part(bytes)?,)+ $last::read_part(bytes)?))
            }
        }
    };
}
tuple_key!(A 0; B 1);
tuple_key!(A 0, B 1; C 2);
tuple_key!(A 0, B 1, C 2; D 3);

macro_rules! tuple_prefix {
    ($key:ty, $prefix:ty, $($parameter:ident),+) => {
        impl<$($parameter: TableKey),+> KeyPrefix<$prefix> for $key {
            fn write_prefix(prefix: &$prefix, out: &mut Vec<u8>) {
                prefix.write_part(out);
            }
        }
    };
}
tuple_prefix!((A, B), A, A, B);
tuple_prefix!((A, B, C), A, A, B, C);
tuple_prefix!((A, B, C), (A, B), A, B, C);
tuple_prefix!((A, B, C, D), A, A, B, C, D);
tuple_prefix!((A, B, C, D), (A, B), A, B, C, D);
tuple_prefix!((A, B, C, D), (A, B, C), A, B, C, D);

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
        fn keys_of_parts_sort_like_tuples_and_come_back(
            a in ("[a\0\u{1}\u{ff}]{0,4}", any::<i64>(), "[a\0]{0,3}"),
            b in ("[a\0\u{1}\u{ff}]{0,4}", any::<i64>(), "[a\0]{0,3}"),
        ) {
            prop_assert_eq!(bytes(&a).cmp(&bytes(&b)), a.cmp(&b));
            prop_assert_eq!(<(String, i64, String)>::read(&bytes(&a)), Some(a.clone()));
            let (nested, other) = (((a.0.clone(), a.1), a.2.clone()), ((b.0.clone(), b.1), b.2.clone()));
            prop_assert_eq!(bytes(&nested).cmp(&bytes(&other)), a.cmp(&b));
            prop_assert_eq!(<((String, i64), String)>::read(&bytes(&nested)), Some(nested));
        }

        #[test]
        fn those_with_a_prefix_and_no_others_begin_with_its_bytes(
            a in ("[a\0]{0,3}", "[a\0]{0,3}"), prefix in "[a\0]{0,3}",
        ) {
            let mut begin = Vec::new();
            <(String, String) as KeyPrefix<String>>::write_prefix(&prefix, &mut begin);
            prop_assert_eq!(bytes(&a).starts_with(&begin), a.0 == prefix);
        }

        #[test]
        fn bytes_that_are_no_key_are_refused(bytes in prop::collection::vec(0..3_u8, 0..8)) {
            // Whatever is read is written the same way again: nothing has two forms.
            if let Some(key) = <(String, String)>::read(&bytes) {
                let mut again = Vec::new();
                key.write(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
