//! Reading an exported checkpoint: all of it is looked through, and nothing that it says is believed.
//!
//! Invariants: a length from the file allocates no more than a record may have; a manifest whose numbers or rows cannot be is
//! refused before its first row, as is a row that is not the one that it names next. Rows are shown before the hash at the end
//! is known, so whoever stores any looks a file through first.
//! Memory: one record. Cost: one pass over the file, and its hash.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{
    Archive, ArchiveError, END, FORMAT, MAGIC, MANIFEST, NAME, ROW, io_error, oldest, row_keys,
};
use crate::checkpoint::storage::CHUNK_BYTES;
use crate::checkpoint::{CheckpointError, Epoch, Manifest};

const KEY_BYTES: usize = 24;
/// Longest record, which a damaged length may exceed.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// From the number of the oldest part to that of the checkpoint: more than any run comes to, and far from an overflow.
const SPAN_MAX: u64 = 1 << 48;

/// A file that is being read.
struct In<'p> {
    path: &'p Path,
    file: BufReader<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl In<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read(&mut buffer[filled..]) {
                Ok(0) => {
                    return Err(ArchiveError::Truncated {
                        path: self.path.to_owned(),
                        bytes: self.bytes + filled as u64,
                    });
                }
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error(self.path, &error)),
            }
        }
        self.bytes += filled as u64;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    /// The next record, which must be of this kind.
    fn record(&mut self, kind: u8) -> Result<Vec<u8>, ArchiveError> {
        let [found] = self.bytes()?;
        if found != kind {
            return Err(self.damaged(format!("a record of kind {found} instead of {kind}")));
        }
        let length = u32::from_be_bytes(self.bytes()?) as usize;
        if length > RECORD_BYTES_MAX {
            return Err(self.damaged(format!("a record of {length} bytes")));
        }
        let mut content = vec![0; length];
        self.fill(&mut content)?;
        if kind == END && content != self.hasher.finalize().as_bytes() {
            return Err(self.damaged("its hash is another".to_owned()));
        }
        self.hasher.update(&content);
        Ok(content)
    }

    fn damaged(&self, what: String) -> ArchiveError {
        ArchiveError::Damaged {
            path: self.path.to_owned(),
            what: format!("{what}, before byte {}", self.bytes),
        }
    }
}

/// Reads all of a file; `row` is given each row's epoch, key and bytes, before the file is known to be right.
pub(super) fn read(
    path: &Path,
    mut row: impl FnMut(Epoch, &[u8], &[u8]) -> Result<(), ArchiveError>,
) -> Result<Archive, ArchiveError> {
    let file = File::open(path).map_err(|error| io_error(path, &error))?;
    let mut input = In {
        path,
        file: BufReader::new(file),
        hasher: blake3::Hasher::new(),
        bytes: 0,
    };
    let mut magic = [0; MAGIC.len()];
    let filled = match input.fill(&mut magic) {
        Err(ArchiveError::Truncated { bytes, .. }) => bytes as usize,
        filled => filled.map(|()| magic.len())?,
    };
    if !MAGIC.starts_with(&magic[..filled]) {
        let path = path.to_owned();
        return Err(ArchiveError::NotOne { path });
    }
    if filled < magic.len() {
        let (path, bytes) = (path.to_owned(), filled as u64);
        return Err(ArchiveError::Truncated { path, bytes });
    }
    input.hasher.update(&magic);
    let [found] = input.bytes()?;
    if found != FORMAT {
        let path = path.to_owned();
        return Err(ArchiveError::Version { path, found });
    }
    let name = input.record(NAME)?;
    let dataflow = String::from_utf8(name);
    let dataflow = dataflow.map_err(|_| input.damaged("its name is no text".to_owned()))?;
    let manifest = Manifest::from_bytes(&input.record(MANIFEST)?);
    let manifest = manifest.map_err(|error| match error {
        version @ CheckpointError::Version { .. } => version.into(),
        error => input.damaged(error.to_string()),
    })?;
    if let Some(what) = impossible(&manifest) {
        return Err(input.damaged(what));
    }
    for (key, length) in row_keys(&manifest) {
        let content = input.record(ROW)?;
        let row_of = content.split_at_checked(KEY_BYTES);
        let row_of = row_of.filter(|(found, value)| *found == key && value.len() == length);
        let (_, value) = row_of.ok_or_else(|| input.damaged("another row".to_owned()))?;
        let epoch = key.first_chunk().copied();
        row(Epoch(epoch.map_or(0, u64::from_be_bytes)), &key, value)?;
    }
    input.record(END)?;
    if input
        .file
        .read(&mut [0])
        .map_err(|error| io_error(path, &error))?
        != 0
    {
        return Err(input.damaged("something follows".to_owned()));
    }
    Ok(Archive {
        dataflow,
        manifest,
        bytes: input.bytes,
    })
}

/// What is wrong with the numbers and lengths that a manifest names.
fn impossible(manifest: &Manifest) -> Option<String> {
    let span = manifest.epoch.0 - oldest(manifest).0;
    if span > SPAN_MAX {
        return Some(format!("its parts are of {span} numbers"));
    }
    let slots = manifest.stages.iter().flat_map(|stage| &stage.partitions);
    let mut parts = slots.flatten().flat_map(|slot| &slot.parts);
    let rows = CHUNK_BYTES as u64;
    let wrong = parts.find(|part| {
        part.epoch > manifest.epoch || u64::from(part.chunks()) != part.bytes.div_ceil(rows)
    })?;
    Some(format!(
        "checkpoint {} with a part of {}, {} bytes long",
        manifest.epoch, wrong.epoch, wrong.bytes
    ))
}
