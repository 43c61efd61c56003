//! A hash that is the same on every machine, in every build, for ever.
//!
//! Place: below the sketches. Their accumulators are stored and merged with accumulators of other partitions and later
//! builds, so the standard library's `Hash` will not do: what it feeds a hasher may change with the compiler and does
//! change with the machine. Invariants: the values are part of the format of stored sketches (golden tests); change
//! one and every stored sketch is wrong. Hash is XXH3 (64 bits). Keys chosen by an enemy can be made to collide.

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// A value with a hash that never changes.
///
/// For a type of one's own, hash a tuple of its fields.
pub trait StableHash {
    /// 64 well mixed bits.
    fn stable_hash(&self) -> u64;
}

/// A hash taken before: lets a closure hash a text where it lies, instead of cloning it.
///
/// ```
/// use millstream_operators::function::{Hashed, distinct_approximate};
/// let _function = distinct_approximate(12, |name: &String| Hashed::of(name.as_str()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hashed(pub u64);

impl Hashed {
    /// The hash of `value`.
    pub fn of<K: StableHash + ?Sized>(value: &K) -> Self {
        Self(value.stable_hash())
    }
}

impl StableHash for Hashed {
    #[inline]
    fn stable_hash(&self) -> u64 {
        self.0
    }
}

macro_rules! integers {
    ($($integer:ty as $wide:ty),+ $(,)?) => {$(
        impl StableHash for $integer {
            #[inline]
            fn stable_hash(&self) -> u64 {
                xxh3_64(&(*self as $wide).to_le_bytes())
            }
        }
    )+};
}

// The machine's own width must not show, so `usize` is hashed as 64 bits everywhere.
integers! {
    u8 as u8, u16 as u16, u32 as u32, u64 as u64, u128 as u128, usize as u64,
    i8 as i8, i16 as i16, i32 as i32, i64 as i64, i128 as i128, isize as i64,
    bool as u8, char as u32,
}

macro_rules! bytes {
    ($($bytes:ty),+) => {$(
        impl StableHash for $bytes {
            #[inline]
            fn stable_hash(&self) -> u64 {
                xxh3_64(self.as_ref())
            }
        }
    )+};
}

bytes!(str, [u8], Vec<u8>);

impl StableHash for String {
    #[inline]
    fn stable_hash(&self) -> u64 {
        self.as_str().stable_hash()
    }
}

impl StableHash for Timestamp {
    #[inline]
    fn stable_hash(&self) -> u64 {
        self.as_micros().stable_hash()
    }
}

impl<K: StableHash + ?Sized> StableHash for &K {
    #[inline]
    fn stable_hash(&self) -> u64 {
        (**self).stable_hash()
    }
}

impl<K: StableHash> StableHash for Option<K> {
    fn stable_hash(&self) -> u64 {
        match self {
            None => joined(&[0]),
            Some(value) => joined(&[1, value.stable_hash()]),
        }
    }
}

/// The hash of several hashes, in order.
fn joined(parts: &[u64]) -> u64 {
    let mut bytes = [0; 8 * 6];
    for (slot, part) in bytes.chunks_exact_mut(8).zip(parts) {
        slot.copy_from_slice(&part.to_le_bytes());
    }
    xxh3_64(&bytes[..8 * parts.len()])
}

macro_rules! tuples {
    ($(($($part:ident $index:tt),+))+) => {$(
        impl<$($part: StableHash),+> StableHash for ($($part,)+) {
            fn stable_hash(&self) -> u64 {
                joined(&[$(self.$index.stable_hash()),+])
            }
        }
    )+};
}

tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored sketches hold these hashes: never change a value, add another trait.
    #[test]
    fn hashes_never_change() {
        let found = [
            0_u8.stable_hash(),
            42_u64.stable_hash(),
            (-1_i64).stable_hash(),
            "account-42".stable_hash(),
            true.stable_hash(),
            Some(7_u32).stable_hash(),
            (1_u64, "a").stable_hash(),
        ];
        let golden: [u64; 7] = [
            0xc44b_dff4_074e_ecdb,
            0xd5a6_f8c8_38df_27c8,
            0x5111_c7e4_7d78_4413,
            0xfe91_6896_f1b4_ecbf,
            0xe12e_f9d2_eb86_ceeb,
            0xb9b0_31de_86ee_13c8,
            0x3c8a_2ecd_e8d5_eb6e,
        ];
        assert_eq!(found, golden, "{found:#018x?}");
    }

    #[test]
    fn owned_and_borrowed_and_machine_wide_values_hash_alike() {
        assert_eq!("x".to_owned().stable_hash(), "x".stable_hash());
        assert_eq!("x".as_bytes().stable_hash(), "x".stable_hash());
        assert_eq!(9_usize.stable_hash(), 9_u64.stable_hash());
        assert_eq!(Hashed::of("x").stable_hash(), "x".stable_hash());
        assert_ne!((1_u64, 2_u64).stable_hash(), (2_u64, 1_u64).stable_hash());
    }
}
