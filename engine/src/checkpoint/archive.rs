//! A checkpoint as one file, for a backup or another data folder.
//!
//! Layout, integers big-endian: `millstream checkpoint`, a byte with the format, then records of a kind (one byte), a
//! length (four) and content: the dataflow's name, the manifest as it is stored, each row of each part (its key, then its
//! bytes) in the manifest's order, and at the end the BLAKE3 hash of all bytes before it. Nothing follows.
//! Invariants: (1) a file has its name only once it is whole and on the disk; (2) one that is cut or changed anywhere is
//! refused before anything of it is stored, also where its hash is right and what it says cannot be; (3) a checkpoint that
//! is taken in gets numbers of its own, in the same order.
//! Memory: a row of 1 MiB. Blocks on storage and file.

mod error;
mod reading;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

pub use self::error::ArchiveError;
use self::reading::read;
use super::standing::Standing;
use super::storage::{
    CHUNK_BYTES, Rows, StorageWrite, manifest_key, part_key, sync_blocking, write_blocking,
};
use super::{CheckpointError, CheckpointStorage, Epoch, Manifest};
use crate::fail_point;

const MAGIC: &[u8] = b"millstream checkpoint";
const FORMAT: u8 = 1;
/// Kinds of records.
const END: u8 = 0;
const NAME: u8 = 1;
const MANIFEST: u8 = 2;
const ROW: u8 = 3;
const HASH_BYTES: usize = 32;
/// Rows of one transaction, each of 1 MiB at most.
const ROWS: usize = 4;
/// What a file holds, all of it looked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The dataflow that it is of.
    pub dataflow: String,
    /// The checkpoint, with the numbers that it had where it was taken.
    pub manifest: Manifest,
    /// Length of the file.
    pub bytes: u64,
}

/// Writes checkpoint `epoch` to a new file; gives its length.
///
/// # Errors
/// [`ArchiveError`].
pub fn export(
    storage: &dyn CheckpointStorage,
    dataflow: &str,
    epoch: Epoch,
    path: &Path,
) -> Result<u64, ArchiveError> {
    let io = |cause| io_error(path, &cause);
    let standing = Standing::read(storage)?;
    let manifest = standing.get(epoch)?;
    if path.exists() {
        let path = path.to_owned();
        return Err(ArchiveError::Exists { path });
    }
    // A name that nothing else has, also what was left of an export that was killed.
    let mut begun = path.as_os_str().to_owned();
    begun.push(format!(".{}.part", Uuid::now_v7().simple()));
    let begun = PathBuf::from(begun);
    let created = File::create_new(&begun).map_err(|cause| io_error(&begun, &cause))?;
    let written = write(storage, dataflow, manifest, path, created).and_then(|bytes| {
        fail_point!(ARCHIVE_WRITTEN, io);
        std::fs::rename(&begun, path).map_err(io)?;
        Ok(bytes)
    });
    if written.is_err() {
        // It says what failed; a file that is left over is of no use to anybody.
        let _ = std::fs::remove_file(&begun);
    }
    let bytes = written?;
    fail_point!(ARCHIVE_NAMED, io);
    if let Some(folder) = path.canonicalize().map_err(io)?.parent() {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(io)?;
    }
    Ok(bytes)
}

fn write(
    storage: &dyn CheckpointStorage,
    dataflow: &str,
    manifest: &Manifest,
    path: &Path,
    file: File,
) -> Result<u64, ArchiveError> {
    let io = |cause| io_error(path, &cause);
    let mut out = Out {
        file: BufWriter::new(file),
        hasher: blake3::Hasher::new(),
        bytes: 0,
    };
    out.bytes(MAGIC).map_err(io)?;
    out.bytes(&[FORMAT]).map_err(io)?;
    out.record(NAME, &[dataflow.as_bytes()]).map_err(io)?;
    let bytes = manifest.to_bytes()?;
    out.record(MANIFEST, &[&bytes]).map_err(io)?;
    for (key, _) in row_keys(manifest) {
        let row = storage.get(Rows::Parts, &key)?;
        let row = row.ok_or_else(|| CheckpointError::Damaged {
            epoch: manifest.epoch,
            what: "a part is missing, or was deleted meanwhile".to_owned(),
        })?;
        out.record(ROW, &[&key, &row]).map_err(io)?;
    }
    out.end().map_err(io)
}

/// Looks all of a file through.
///
/// # Errors
/// [`ArchiveError`].
pub fn look(path: &Path) -> Result<Archive, ArchiveError> {
    read(path, |_, _, _| Ok(()))
}

/// Takes the checkpoint of a file in, as a savepoint with numbers behind all that are there; gives its own. Nothing is
/// stored unless all of the file is right.
///
/// # Errors
/// [`ArchiveError`].
pub fn import(storage: &dyn CheckpointStorage, path: &Path) -> Result<Epoch, ArchiveError> {
    take_in(storage, path, false)
}

/// The same, and has the next start begin from it: both or neither.
///
/// # Errors
/// [`ArchiveError`].
pub fn import_chosen(storage: &dyn CheckpointStorage, path: &Path) -> Result<Epoch, ArchiveError> {
    take_in(storage, path, true)
}

fn take_in(
    storage: &dyn CheckpointStorage,
    path: &Path,
    is_chosen: bool,
) -> Result<Epoch, ArchiveError> {
    let Archive { mut manifest, .. } = look(path)?;
    let standing = Standing::read(storage)?;
    let (oldest, last) = (oldest(&manifest), standing.last());
    let moved = |epoch: Epoch| {
        let behind = epoch.0.checked_sub(oldest.0)?.checked_add(1)?;
        last.0.checked_add(behind).map(Epoch)
    };
    let impossible = || ArchiveError::Damaged {
        path: path.to_owned(),
        what: format!("its numbers do not fit behind {last}"),
    };
    let epoch = moved(manifest.epoch).ok_or_else(impossible)?;
    let mut writes = Vec::new();
    read(path, |epoch, key, value| {
        let mut key = key.to_vec();
        let epoch = moved(epoch).ok_or_else(impossible)?;
        key[..8].copy_from_slice(&epoch.0.to_be_bytes());
        writes.push(StorageWrite {
            rows: Rows::Parts,
            key,
            value: Some(value.to_vec()),
        });
        if writes.len() >= ROWS {
            write_blocking(storage, std::mem::take(&mut writes))?;
            fail_point!(ARCHIVE_ROWS_TAKEN, |cause| io_error(path, &cause));
        }
        Ok(())
    })?;
    write_blocking(storage, writes)?;
    let stages = manifest
        .stages
        .iter_mut()
        .flat_map(|stage| &mut stage.partitions);
    for part in stages.flatten().flat_map(|slot| &mut slot.parts) {
        part.epoch = moved(part.epoch).ok_or_else(impossible)?;
    }
    manifest.epoch = epoch;
    manifest.is_savepoint = true;
    // Behind all that it names.
    sync_blocking(storage)?;
    fail_point!(ARCHIVE_BEFORE_MANIFEST, |cause| io_error(path, &cause));
    let mut rows = vec![StorageWrite {
        rows: Rows::Manifests,
        key: manifest_key(epoch),
        value: Some(manifest.to_bytes()?),
    }];
    if is_chosen {
        rows.push(standing.choose_new(epoch).to_write()?);
    }
    write_blocking(storage, rows)?;
    fail_point!(ARCHIVE_TAKEN, |cause| io_error(path, &cause));
    sync_blocking(storage)?;
    Ok(epoch)
}

/// The least number that a checkpoint names.
fn oldest(manifest: &Manifest) -> Epoch {
    let parts = manifest.named().map(|((epoch, ..), _)| epoch);
    parts
        .min()
        .map_or(manifest.epoch, |oldest| oldest.min(manifest.epoch))
}

/// Keys of all rows of a checkpoint with their lengths, in the order of the manifest.
fn row_keys(manifest: &Manifest) -> impl Iterator<Item = (Vec<u8>, usize)> {
    manifest
        .parts()
        .flat_map(|((epoch, stage, partition, slot), part)| {
            let rows = part.bytes / CHUNK_BYTES as u64;
            let length = move |chunk: u32| match u64::from(chunk) < rows {
                true => CHUNK_BYTES,
                false => (part.bytes % CHUNK_BYTES as u64) as usize,
            };
            let key = move |chunk| part_key(epoch, stage, partition, slot, chunk);
            (0..part.chunks()).map(move |chunk| (key(chunk), length(chunk)))
        })
}

fn io_error(path: &Path, cause: &io::Error) -> ArchiveError {
    ArchiveError::Io {
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

/// A file that is being written.
struct Out {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Out {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn record(&mut self, kind: u8, content: &[&[u8]]) -> io::Result<()> {
        let length: usize = content.iter().map(|bytes| bytes.len()).sum();
        let too_long = || io::Error::other("it has a record that is too long");
        let length = u32::try_from(length).map_err(|_| too_long())?;
        self.bytes(&[kind])?;
        self.bytes(&length.to_be_bytes())?;
        content.iter().try_for_each(|bytes| self.bytes(bytes))
    }

    fn end(mut self) -> io::Result<u64> {
        self.bytes(&[END])?;
        self.bytes(&(HASH_BYTES as u32).to_be_bytes())?;
        let hash = self.hasher.finalize();
        self.bytes(hash.as_bytes())?;
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.bytes)
    }
}
