//! A part that an operator gave, read back row by row: of a large one no more than a row is in memory.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use serde::de::{DeserializeOwned, DeserializeSeed};

use super::restoring::decode_error;
use super::storage::{CHUNK_BYTES, CheckpointStorage, Rows, part_key};
use super::{CheckpointError, Epoch, PartBytes, StoredPart};

/// Why an operator's state was not given, the first time that one was not.
pub(super) type Failure = Arc<OnceLock<CheckpointError>>;

/// Where a part lies.
#[derive(Clone)]
pub(super) enum Lies {
    /// In memory: for tests of operators.
    Here(PartBytes),
    /// In the storage of a checkpoint.
    Stored(Arc<StoredParts>, StoredPart),
}

/// Whose parts are stored.
pub(super) struct StoredParts {
    pub(super) storage: Arc<dyn CheckpointStorage>,
    /// The checkpoint that names them.
    pub(super) epoch: Epoch,
    pub(super) stage: String,
    pub(super) number: u32,
    pub(super) partition: usize,
    pub(super) slot: usize,
}

impl StoredParts {
    fn row(&self, part: &StoredPart, chunk: u32) -> Result<Vec<u8>, CheckpointError> {
        let key = part_key(part.epoch, self.number, self.partition, self.slot, chunk);
        let row = self.storage.get(Rows::Parts, &key)?;
        let row = row.ok_or_else(|| self.damaged(part, "is missing"))?;
        let before = u64::from(chunk) * CHUNK_BYTES as u64;
        let length = part.bytes.saturating_sub(before).min(CHUNK_BYTES as u64);
        if row.len() as u64 != length {
            return Err(self.damaged(part, "has another length"));
        }
        Ok(row)
    }

    fn damaged(&self, part: &StoredPart, what: &str) -> CheckpointError {
        CheckpointError::Damaged {
            epoch: self.epoch,
            what: format!("part {} of stage {:?} {what}", part.epoch, self.stage),
        }
    }
}

/// What one partition's operator gave at one barrier.
pub struct SavedPart {
    kind: &'static str,
    lies: Lies,
    failure: Failure,
}

impl SavedPart {
    pub(super) const fn new(kind: &'static str, lies: Lies, failure: Failure) -> Self {
        Self {
            kind,
            lies,
            failure,
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`], [`CheckpointError::Storage`].
    pub fn bytes(self) -> Result<Vec<u8>, CheckpointError> {
        let failure = self.failure;
        let read = match self.lies {
            Lies::Here(bytes) => bytes.to_vec(),
            Lies::Stored(parts, part) => {
                // Not as many bytes as the part is said to have, which may be damaged.
                let rows = (0..part.chunks()).map(|chunk| parts.row(&part, chunk));
                let rows: Result<Vec<_>, _> = rows.collect();
                rows.map(|rows| rows.concat())
            }
        };
        read.inspect_err(|error| keep(&failure, error))
    }

    /// The value that was [saved](super::Saving::changes).
    ///
    /// # Errors
    /// [`CheckpointError::Decode`], and as [`bytes`](Self::bytes).
    pub fn read<T: DeserializeOwned>(self) -> Result<T, CheckpointError> {
        self.read_with(std::marker::PhantomData)
    }

    /// The same, given to `seed`, which can take it piece by piece.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_with<S, T>(self, seed: S) -> Result<T, CheckpointError>
    where
        S: for<'de> DeserializeSeed<'de, Value = T>,
    {
        let (kind, failure) = (self.kind, self.failure);
        let mut from = PartReader::new(self.lies)?;
        let mut deserializer = rmp_serde::Deserializer::new(&mut from);
        let read = seed.deserialize(&mut deserializer);
        let read = read.map_err(|error| {
            let failed = from.failed.take();
            failed.unwrap_or_else(|| decode_error(kind, &error))
        });
        read.inspect_err(|error| keep(&failure, error))
    }
}

/// Keeps the first error, for whoever asks why a start has failed.
fn keep(failure: &Failure, error: &CheckpointError) {
    failure.get_or_init(|| error.clone());
}

/// Reads a part from front to back.
struct PartReader {
    /// The row that is being read, and how far.
    row: Vec<u8>,
    at: usize,
    rest: Option<(Arc<StoredParts>, StoredPart)>,
    next: u32,
    failed: Option<CheckpointError>,
}

impl PartReader {
    fn new(lies: Lies) -> Result<Self, CheckpointError> {
        let (row, rest) = match lies {
            Lies::Here(bytes) => (bytes.to_vec()?, None),
            Lies::Stored(parts, part) => (Vec::new(), Some((parts, part))),
        };
        Ok(Self {
            row,
            at: 0,
            rest,
            next: 0,
            failed: None,
        })
    }

    /// Goes on to the next row; `false` if there is none.
    #[cold]
    fn advance(&mut self) -> io::Result<bool> {
        let Some((parts, part)) = &self.rest else {
            return Ok(false);
        };
        if self.next >= part.chunks() {
            return Ok(false);
        }
        self.row = parts.row(part, self.next).map_err(|error| {
            self.failed = Some(error);
            io::Error::other("a row of the part")
        })?;
        self.at = 0;
        self.next += 1;
        Ok(true)
    }
}

impl Read for PartReader {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.row.len() && !self.advance()? {
            return Ok(0);
        }
        let rest = &self.row[self.at..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }

    /// Most of what is read are a few bytes, and all of them in one row.
    #[inline]
    fn read_exact(&mut self, mut into: &mut [u8]) -> io::Result<()> {
        let (from, to) = (self.at, self.at + into.len());
        if let Some(bytes) = self.row.get(from..to) {
            into.copy_from_slice(bytes);
            self.at = to;
            return Ok(());
        }
        while !into.is_empty() {
            match self.read(into)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => into = &mut into[count..],
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SavedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedPart")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Lies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(bytes) => f.debug_tuple("Here").field(&bytes.len()).finish(),
            Self::Stored(_, part) => f.debug_tuple("Stored").field(part).finish(),
        }
    }
}
