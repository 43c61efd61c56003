//! The manifest: which runs are live, which are being written, which wait to be deleted.
//!
//! It is the only chunk that is ever overwritten. A run's number is in `pending` from the slice that
//! holds its first chunk on, and leaves it in the slice that makes the run live. So whatever a crash
//! leaves behind belongs to a number in `pending` or in `garbage`, and no number is used twice.
//!
//! Payload: covered until (8), next run (8), then three lists, each with its length (4) before it:
//! live runs, oldest first; pending numbers (8 each); garbage.

use super::chunk::{self, ChunkKey, ChunkKind, IndexWrite, RunStore};
use super::error::IndexError;
use super::wire::Reader;

/// No index comes to more runs: a higher number among keys is damage, and numbers behind it would run out.
const RUN_MAX_TRUSTED: u64 = 1 << 48;

/// A run's number and how many chunks of each kind it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunChunks {
    pub(super) run: u64,
    pub(super) data: u32,
    pub(super) bloom: u32,
    pub(super) directory: u32,
}

impl RunChunks {
    /// A run without chunks.
    pub(super) fn none(run: u64) -> Self {
        Self {
            run,
            data: 0,
            bloom: 0,
            directory: 0,
        }
    }

    pub(super) fn total(&self) -> u64 {
        u64::from(self.data) + u64::from(self.bloom) + u64::from(self.directory)
    }

    /// The key of the chunk at `place` in `0..total()`.
    pub(super) fn key(&self, place: u64) -> ChunkKey {
        let (data, bloom) = (u64::from(self.data), u64::from(self.bloom));
        let (kind, chunk) = if place < data {
            (ChunkKind::Data, place)
        } else if place < data + bloom {
            (ChunkKind::Bloom, place - data)
        } else {
            (ChunkKind::Directory, place - data - bloom)
        };
        ChunkKey {
            run: self.run,
            kind,
            chunk: chunk as u32,
        }
    }
}

/// What is known of a live run without reading its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunMeta {
    pub(super) chunks: RunChunks,
    /// 0 for a flush, one more with each merge.
    pub(super) level: u8,
    pub(super) entries: u64,
    /// Distinct hashes.
    pub(super) hashes: u64,
    /// Bytes of all chunks.
    pub(super) bytes: u64,
    pub(super) offset_min: u64,
    pub(super) version_max: u64,
}

/// The manifest's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// First offset that is in no live run.
    pub(super) covered_until: u64,
    pub(super) next_run: u64,
    /// Oldest first, so levels never ascend.
    pub(super) runs: Vec<RunMeta>,
    pub(super) pending: Vec<u64>,
    pub(super) garbage: Vec<RunChunks>,
}

impl Default for Manifest {
    fn default() -> Self {
        // Run 0 is the manifest's own place among the keys.
        Self {
            covered_until: 0,
            next_run: 1,
            runs: vec![],
            pending: vec![],
            garbage: vec![],
        }
    }
}

impl Manifest {
    /// The one in `store`; of an empty index when there is none.
    ///
    /// # Errors
    /// As [`RunStore::read`](super::RunStore::read); as [`decode`](Self::decode).
    pub(super) fn stored(store: &dyn RunStore) -> Result<Self, IndexError> {
        match store.read(ChunkKey::MANIFEST)? {
            Some(value) => Self::decode(&value),
            None => Ok(Self::default()),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = chunk::start(ChunkKey::MANIFEST, 32 + self.runs.len() * 64);
        let put = |out: &mut Vec<u8>, numbers: &[u64]| {
            numbers
                .iter()
                .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        };
        let put_length = |out: &mut Vec<u8>, length: usize| {
            out.extend_from_slice(&(length as u32).to_le_bytes());
        };
        put(&mut out, &[self.covered_until, self.next_run]);
        put_length(&mut out, self.runs.len());
        for run in &self.runs {
            encode_chunks(&run.chunks, &mut out);
            out.push(run.level);
            let numbers = [
                run.entries,
                run.hashes,
                run.bytes,
                run.offset_min,
                run.version_max,
            ];
            put(&mut out, &numbers);
        }
        put_length(&mut out, self.pending.len());
        put(&mut out, &self.pending);
        put_length(&mut out, self.garbage.len());
        self.garbage
            .iter()
            .for_each(|chunks| encode_chunks(chunks, &mut out));
        chunk::seal(out)
    }

    /// # Errors
    /// [`IndexError::Corrupt`] or [`IndexError::UnknownFormat`].
    pub(super) fn decode(value: &[u8]) -> Result<Self, IndexError> {
        let key = ChunkKey::MANIFEST;
        let mut reader = Reader::new(chunk::payload(key, value)?);
        let manifest = read_manifest(&mut reader)
            .filter(|_| reader.rest().is_empty())
            .ok_or(IndexError::Corrupt {
                key,
                problem: "its lists do not fit its length",
            })?;
        if !manifest
            .runs
            .is_sorted_by(|older, newer| older.level >= newer.level)
        {
            return Err(IndexError::Corrupt {
                key,
                problem: "runs are not in order of age",
            });
        }
        let live = || manifest.runs.iter().map(|run| run.chunks.run);
        let dead = || manifest.garbage.iter().map(|chunks| chunks.run);
        let dead = || manifest.pending.iter().copied().chain(dead());
        if live()
            .chain(dead())
            .any(|run| run == 0 || run >= manifest.next_run)
            || live().any(|run| dead().any(|dead| dead == run))
        {
            return Err(IndexError::Corrupt {
                key,
                problem: "run numbers contradict each other",
            });
        }
        Ok(manifest)
    }
}

/// The write that makes an index empty, whatever it holds; its other chunks may be deleted after it. Runs are numbered
/// on from those of before, so that whoever still reads by an old manifest finds nothing, and never another run. `run_max`
/// is the highest number among the stored chunks, for an index that cannot say it any more.
///
/// # Errors
/// As [`RunStore::read`](super::RunStore::read).
pub fn emptied(store: &dyn RunStore, run_max: u64) -> Result<IndexWrite, IndexError> {
    let of_chunks = run_max.min(RUN_MAX_TRUSTED) + 1;
    let next_run = match Manifest::stored(store) {
        Ok(manifest) => manifest.next_run.max(of_chunks),
        Err(cause) if cause.is_retryable() => return Err(cause),
        Err(_) => of_chunks,
    };
    let manifest = Manifest {
        next_run,
        ..Manifest::default()
    };
    Ok(IndexWrite::Put {
        key: ChunkKey::MANIFEST,
        value: manifest.encode(),
    })
}

fn encode_chunks(chunks: &RunChunks, out: &mut Vec<u8>) {
    out.extend_from_slice(&chunks.run.to_le_bytes());
    for count in [chunks.data, chunks.bloom, chunks.directory] {
        out.extend_from_slice(&count.to_le_bytes());
    }
}

fn read_manifest(reader: &mut Reader<'_>) -> Option<Manifest> {
    Some(Manifest {
        covered_until: reader.u64()?,
        next_run: reader.u64()?,
        runs: read_list(reader, read_run)?,
        pending: read_list(reader, |reader| reader.u64())?,
        garbage: read_list(reader, read_chunks)?,
    })
}

fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    item: impl Fn(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let length = reader.u32()?;
    // Nothing is reserved: a hostile length fails at the first item that is not there.
    (0..length).map(|_| item(reader)).collect()
}

fn read_chunks(reader: &mut Reader<'_>) -> Option<RunChunks> {
    Some(RunChunks {
        run: reader.u64()?,
        data: reader.u32()?,
        bloom: reader.u32()?,
        directory: reader.u32()?,
    })
}

fn read_run(reader: &mut Reader<'_>) -> Option<RunMeta> {
    Some(RunMeta {
        chunks: read_chunks(reader)?,
        level: reader.u8()?,
        entries: reader.u64()?,
        hashes: reader.u64()?,
        bytes: reader.u64()?,
        offset_min: reader.u64()?,
        version_max: reader.u64()?,
    })
}

/// What a crash left of an unfinished run. Its chunks were written in order, and none was deleted
/// while its number was pending: those of a kind are `0..n`, and n is found by doubling and halving.
///
/// # Errors
/// As [`RunStore::read`](super::RunStore::read).
pub(super) fn find_chunks(store: &dyn RunStore, run: u64) -> Result<RunChunks, IndexError> {
    let count = |kind| -> Result<u32, IndexError> {
        let exists = |chunk| Ok(store.read(ChunkKey { run, kind, chunk })?.is_some());
        if !exists(0)? {
            return Ok(0);
        }
        let (mut low, mut high) = (0_u32, 1_u32);
        while exists(high)? {
            (low, high) = (high, high.saturating_mul(2));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if exists(middle)? {
                low = middle
            } else {
                high = middle
            }
        }
        Ok(high)
    };
    Ok(RunChunks {
        run,
        data: count(ChunkKind::Data)?,
        bloom: count(ChunkKind::Bloom)?,
        directory: count(ChunkKind::Directory)?,
    })
}
