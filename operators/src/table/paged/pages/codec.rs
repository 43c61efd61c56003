//! How pages are written and read.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An entry; none only while a table is put together.
pub(super) type Slot<K, A> = Option<(K, A)>;

/// Appends slots to bytes.
type Encode<K, A> = fn(&[Slot<K, A>], &mut Vec<u8>) -> Result<(), String>;
/// Reads them back.
type Decode<K, A> = fn(&[u8]) -> Result<Vec<Slot<K, A>>, String>;

/// How pages are written and read.
pub(in crate::table) struct Codec<K, A> {
    pub(super) encode: Encode<K, A>,
    pub(super) decode: Decode<K, A>,
    encode_one: fn(&K, &A) -> Option<usize>,
}

impl<K, A> Clone for Codec<K, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, A> Copy for Codec<K, A> {}

impl<K: Serialize + DeserializeOwned, A: Serialize + DeserializeOwned> Codec<K, A> {
    /// As checkpoints write them, so that whatever can be in those can be in pages.
    pub(in crate::table) fn new() -> Self {
        Self {
            encode: |slots, into| {
                rmp_serde::encode::write_named(into, slots).map_err(|error| error.to_string())
            },
            decode: |bytes| rmp_serde::from_slice(bytes).map_err(|error| error.to_string()),
            encode_one: |key, value| {
                let bytes = rmp_serde::to_vec_named(&(key, value));
                bytes.ok().map(|bytes| bytes.len())
            },
        }
    }
}

impl<K, A> Codec<K, A> {
    /// Bytes of an entry when it is written.
    pub(in crate::table) fn bytes_of(&self, key: &K, value: &A) -> usize {
        (self.encode_one)(key, value).unwrap_or(0)
    }
}
