//! Chunks: the keyed values that the index keeps in its store, and their common header.
//!
//! Layout of a value, integers little-endian: format version (1 byte), kind (1), zero (2), CRC32C of
//! everything else (4), run (8), chunk number (4), payload. The CRC's place is the same in every
//! version, and it covers run and number, so a value under the wrong key is detected as well.

use std::fmt;

use super::error::IndexError;

/// Newest format that is written and read.
pub(super) const FORMAT: u8 = 1;
/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 20;
const CRC_AT: std::ops::Range<usize> = 4..8;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChunkKind {
    /// The list of live runs; there is one.
    Manifest = 0,
    /// Sorted entries of a run.
    Data = 1,
    /// A part of a run's Bloom filter.
    Bloom = 2,
    /// A part of the list of first entries of a run's data chunks.
    Directory = 3,
}

/// Key of a chunk within one partition's index. Ordered by run, kind, number, as are its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// Number of the run, from 1 and never used twice; 0 for the manifest.
    pub run: u64,
    /// What the chunk holds.
    pub kind: ChunkKind,
    /// Number of the chunk among those of its run and kind, from 0.
    pub chunk: u32,
}

impl ChunkKey {
    /// Length of [`to_bytes`](Self::to_bytes).
    pub const BYTES: usize = 13;
    /// The one manifest chunk.
    pub const MANIFEST: Self = Self {
        run: 0,
        kind: ChunkKind::Manifest,
        chunk: 0,
    };

    /// Big-endian bytes that sort like the key: run (8), kind (1), chunk number (4).
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.run.to_be_bytes());
        bytes[8] = self.kind as u8;
        bytes[9..].copy_from_slice(&self.chunk.to_be_bytes());
        bytes
    }

    /// The key that [`to_bytes`](Self::to_bytes) gave these bytes for; `None` for any others.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (run, rest) = bytes.split_first_chunk()?;
        let (kind, chunk) = rest.split_first()?;
        let kind = match kind {
            0 => ChunkKind::Manifest,
            1 => ChunkKind::Data,
            2 => ChunkKind::Bloom,
            3 => ChunkKind::Directory,
            _ => return None,
        };
        let chunk = u32::from_be_bytes(chunk.try_into().ok()?);
        Some(Self {
            run: u64::from_be_bytes(*run),
            kind,
            chunk,
        })
    }
}

impl fmt::Display for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChunkKind::Manifest => return f.write_str("index manifest"),
            ChunkKind::Data => "data",
            ChunkKind::Bloom => "bloom",
            ChunkKind::Directory => "directory",
        };
        write!(f, "{kind} chunk {} of index run {}", self.chunk, self.run)
    }
}

/// Where the chunks of one partition's index lie.
pub trait RunStore: Send + Sync {
    /// The value last committed under `key`; `None` when there is none. Called by readers from any
    /// thread, also while a slice is being committed.
    ///
    /// # Errors
    /// [`IndexError::Store`] when the store could not be read; of the kind [`InvalidData`](std::io::ErrorKind::InvalidData) where it
    /// will not be later either, since it is damaged itself.
    fn read(&self, key: ChunkKey) -> Result<Option<Vec<u8>>, IndexError>;
}

/// One change of the store. The writes of a slice are committed together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexWrite {
    /// Stores a value, over an older one if there is one.
    Put {
        /// Where.
        key: ChunkKey,
        /// At most [`chunk_bytes_max`](super::IndexConfig::chunk_bytes_max) bytes, but for the manifest.
        value: Vec<u8>,
    },
    /// Removes a value. That there is none is no error: deletes are repeated after a crash.
    Delete {
        /// Which.
        key: ChunkKey,
    },
}

/// A value with the header of `key` and room for a payload to be appended; ended by [`seal`].
pub(super) fn start(key: ChunkKey, capacity: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + capacity);
    value.extend_from_slice(&[FORMAT, key.kind as u8, 0, 0, 0, 0, 0, 0]);
    value.extend_from_slice(&key.run.to_le_bytes());
    value.extend_from_slice(&key.chunk.to_le_bytes());
    value
}

/// Writes the checksum into a value begun by [`start`].
pub(super) fn seal(mut value: Vec<u8>) -> Vec<u8> {
    let crc = checksum(&value);
    value[CRC_AT].copy_from_slice(&crc.to_le_bytes());
    value
}

fn checksum(value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&value[..CRC_AT.start]), &value[CRC_AT.end..])
}

/// The payload of a value that was read under `key`.
///
/// # Errors
/// [`IndexError::Corrupt`] or [`IndexError::UnknownFormat`].
pub(super) fn payload(key: ChunkKey, value: &[u8]) -> Result<&[u8], IndexError> {
    let corrupt = |problem| IndexError::Corrupt { key, problem };
    if value.len() < HEADER_BYTES {
        return Err(corrupt("shorter than its header"));
    }
    if value[CRC_AT] != checksum(value).to_le_bytes() {
        return Err(corrupt("checksum does not match"));
    }
    if value[0] != FORMAT {
        return Err(IndexError::UnknownFormat {
            key,
            found: value[0],
            known: FORMAT,
        });
    }
    let expected = start(key, 0);
    if value[..CRC_AT.start] != expected[..CRC_AT.start]
        || value[CRC_AT.end..HEADER_BYTES] != expected[CRC_AT.end..]
    {
        return Err(corrupt("belongs to another key"));
    }
    Ok(&value[HEADER_BYTES..])
}

/// Reads the chunk of a run that is in use.
///
/// # Errors
/// [`IndexError::Missing`] when there is none, else as [`RunStore::read`](super::RunStore::read).
pub(super) fn read_live(store: &dyn RunStore, key: ChunkKey) -> Result<Vec<u8>, IndexError> {
    store.read(key)?.ok_or(IndexError::Missing { key })
}
