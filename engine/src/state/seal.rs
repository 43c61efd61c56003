//! A checksum behind each stored value: LMDB has none, and a value with a wrong bit would be a wrong answer.
//!
//! Stored is the value, then the CRC32C (big-endian) of its key and itself. So an entry whose key became another's is seen as
//! well, and a wrong key is no entry that was forgotten. Parts of snapshots are the exception: they are sealed with their
//! stream, see [`chain`](super::chain).
//! Cost: 4 bytes per entry, and the checksum when it is read or written.

use crate::store::{StoreError, Table, WriteTxn};

/// Bytes of the checksum.
pub(super) const SEAL_BYTES: usize = 4;

/// What is stored of a value.
pub(super) fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(value.len() + SEAL_BYTES);
    stored.extend_from_slice(value);
    stored.extend_from_slice(&seal(key, value).to_be_bytes());
    stored
}

/// The value, if it is the one that was stored under this key.
pub(super) fn unsealed<'s>(key: &[u8], stored: &'s [u8]) -> Option<&'s [u8]> {
    let (value, found) = stored.split_last_chunk::<SEAL_BYTES>()?;
    (seal(key, value).to_be_bytes() == *found).then_some(value)
}

/// Stores a value.
pub(super) fn put(
    txn: &mut WriteTxn<'_>,
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<(), StoreError> {
    txn.put(table, key, &sealed(key, value))
}

fn seal(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As stores have it: the value, then the checksum of key and value.
    #[test]
    fn the_bytes_of_a_seal() {
        let stored = sealed(b"key", b"value");
        assert_eq!(stored, b"value\xe8\x00\x89\x44");
        assert_eq!(unsealed(b"key", &stored), Some(&b"value"[..]));
        assert_eq!(unsealed(b"kex", &stored), None);
        assert_eq!(unsealed(b"key", &stored[..3]), None);
    }
}
