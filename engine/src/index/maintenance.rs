//! What is to be done next, in slices: flushes first, then deletes, then merges.
//!
//! A slice is a set of writes that the caller commits at once. State that readers see changes in
//! [`StreamIndex::applied`](super::StreamIndex::applied) only. A flush goes before a merge that is
//! under way, so the tail stays bounded however long a merge takes. Chunks of merged runs are deleted
//! in slices after the one that takes them out of the manifest.

use std::sync::Arc;

use super::build::{Build, Slice};
use super::chunk::{ChunkKey, IndexWrite, RunStore};
use super::config::IndexConfig;
use super::error::IndexError;
use super::manifest::{Manifest, RunChunks, find_chunks};
use super::merge::Merger;
use super::run::Run;
use super::tail::Level;

/// What a flush is made of: everything in the tail at one moment.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) levels: Vec<Arc<Level>>,
    /// First offset after them.
    pub(super) covered_until: u64,
}

/// A change of what readers see, due once its slice is durable.
#[derive(Debug)]
pub(super) enum Flip {
    /// The frozen tail is now this run.
    Flush { run: Run, covered_until: u64 },
    /// The runs with these numbers are now this one.
    Merge { run: Run, inputs: Vec<u64> },
}

/// A slice that was handed out.
#[derive(Debug)]
pub(super) struct Outstanding {
    manifest: Manifest,
    pub(super) flip: Option<Flip>,
    pub(super) flush_bytes: u64,
    pub(super) merge_bytes: u64,
}

/// What a call needs of the index around it.
pub(super) struct Context<'a> {
    pub(super) store: &'a dyn RunStore,
    pub(super) config: &'a IndexConfig,
    pub(super) runs: &'a [Arc<Run>],
    /// Whether a flush should begin when none is under way.
    pub(super) flush_due: bool,
    /// Whether deletes and merges are wanted.
    pub(super) flush_only: bool,
    pub(super) freeze: &'a dyn Fn() -> Frozen,
}

/// The maintenance under way. One caller at a time, under a lock that readers never take.
#[derive(Debug)]
pub(super) struct Maintenance {
    /// As durable in the store.
    manifest: Manifest,
    /// Chunks of runs that will not be finished, still `pending` in the manifest.
    orphans: Vec<RunChunks>,
    flush: Option<(Build, u64)>,
    merge: Option<(Build, Vec<u64>)>,
    /// After a chunk that cannot be read merging would fail for ever: it waits for the next open.
    merges_stopped: bool,
    /// Deletes handed out of the manifest's first garbage.
    swept: u64,
    outstanding: Option<Outstanding>,
}

impl Maintenance {
    /// # Errors
    /// As [`RunStore::read`](super::RunStore::read).
    pub(super) fn open(store: &dyn RunStore, manifest: Manifest) -> Result<Self, IndexError> {
        let orphans = manifest
            .pending
            .iter()
            .map(|&run| find_chunks(store, run))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            manifest,
            orphans,
            flush: None,
            merge: None,
            merges_stopped: false,
            swept: 0,
            outstanding: None,
        })
    }

    /// The writes of the next slice; `None` when there is nothing to do.
    ///
    /// # Errors
    /// [`IndexError::SliceOutstanding`]; as [`RunStore::read`](super::RunStore::read); [`IndexError::Corrupt`] and
    /// [`IndexError::Missing`] when a merge met such a chunk.
    pub(super) fn slice(
        &mut self,
        context: &Context<'_>,
        budget_bytes: usize,
    ) -> Result<Option<Vec<IndexWrite>>, IndexError> {
        if self.outstanding.is_some() {
            return Err(IndexError::SliceOutstanding);
        }
        let mut slice = Slice::new(budget_bytes);
        let mut manifest = self.manifest.clone();
        let mut flip = None;
        let flushing = self.flush.is_some() || context.flush_due;
        if !self.orphans.is_empty() {
            manifest
                .pending
                .retain(|run| self.orphans.iter().all(|chunks| chunks.run != *run));
            manifest.garbage.append(&mut self.orphans);
        } else if flushing {
            flip = self.flush(context, &mut manifest, &mut slice)?;
        } else if context.flush_only {
            return Ok(None);
        } else if !manifest.garbage.is_empty() {
            self.sweep(&mut manifest, &mut slice);
        } else if self.merge.is_some() || self.begin_merge(context, &mut manifest) {
            flip = self.merge(context, &mut manifest, &mut slice)?;
        } else {
            return Ok(None);
        }
        if manifest != self.manifest {
            slice.put(ChunkKey::MANIFEST, manifest.encode());
        }
        let bytes = slice.bytes as u64;
        let (flush_bytes, merge_bytes) = if flushing { (bytes, 0) } else { (0, bytes) };
        self.outstanding = Some(Outstanding {
            manifest,
            flip,
            flush_bytes,
            merge_bytes,
        });
        Ok(Some(slice.writes))
    }

    /// The slice handed out last is durable; `None` when there was none.
    pub(super) fn applied(&mut self) -> Option<Outstanding> {
        let outstanding = self.outstanding.take()?;
        self.manifest = outstanding.manifest.clone();
        Some(outstanding)
    }

    fn flush(
        &mut self,
        context: &Context<'_>,
        manifest: &mut Manifest,
        slice: &mut Slice,
    ) -> Result<Option<Flip>, IndexError> {
        let (mut build, covered_until) = self
            .flush
            .take()
            .unwrap_or_else(|| begin_flush(context, manifest));
        match build.fill(context.store, slice) {
            Ok(false) => self.flush = Some((build, covered_until)),
            Ok(true) => {
                let run = finish(build, manifest);
                manifest.runs.push(*run.meta());
                manifest.covered_until = covered_until;
                return Ok(Some(Flip::Flush { run, covered_until }));
            }
            Err(error) => {
                self.abandon(&build);
                return Err(error);
            }
        }
        Ok(None)
    }

    /// Begins to merge the oldest runs of the lowest level that has enough of them.
    fn begin_merge(&mut self, context: &Context<'_>, manifest: &mut Manifest) -> bool {
        let fanout = context.config.level_fanout;
        // Levels never ascend along the list, so the runs of one level are neighbours in age.
        let due = context
            .runs
            .chunk_by(|older, newer| older.meta().level == newer.meta().level)
            .rfind(|runs| runs.len() >= fanout);
        let Some(inputs) = due
            .filter(|_| !self.merges_stopped)
            .map(|runs| &runs[..fanout])
        else {
            return false;
        };
        let level = inputs[0].meta().level.saturating_add(1);
        let hashes_max = inputs.iter().map(|run| run.meta().hashes).sum();
        let offset_min = inputs
            .iter()
            .map(|run| run.meta().offset_min)
            .min()
            .unwrap_or(0);
        let build = Build::new(
            (allocate(manifest), level),
            Merger::of_runs(inputs),
            hashes_max,
            offset_min,
            context.config.chunk_bytes_max,
        );
        let inputs = inputs.iter().map(|run| run.meta().chunks.run).collect();
        self.merge = Some((build, inputs));
        true
    }

    fn merge(
        &mut self,
        context: &Context<'_>,
        manifest: &mut Manifest,
        slice: &mut Slice,
    ) -> Result<Option<Flip>, IndexError> {
        let Some((mut build, inputs)) = self.merge.take() else {
            return Ok(None);
        };
        match build.fill(context.store, slice) {
            Ok(false) => self.merge = Some((build, inputs)),
            Ok(true) => {
                let run = finish(build, manifest);
                replace(&mut manifest.runs, &inputs, *run.meta(), |meta| {
                    meta.chunks.run
                });
                let merged = context.runs.iter().map(|run| run.meta().chunks);
                manifest
                    .garbage
                    .extend(merged.filter(|chunks| inputs.contains(&chunks.run)));
                return Ok(Some(Flip::Merge { run, inputs }));
            }
            Err(error) => {
                self.merges_stopped = !error.is_retryable();
                self.abandon(&build);
                return Err(error);
            }
        }
        Ok(None)
    }

    /// Deletes garbage; what is finished leaves the manifest in the same slice.
    fn sweep(&mut self, manifest: &mut Manifest, slice: &mut Slice) {
        while let Some(chunks) = manifest.garbage.first() {
            while self.swept < chunks.total() {
                if slice.is_full() {
                    return;
                }
                slice.delete(chunks.key(self.swept));
                self.swept += 1;
            }
            manifest.garbage.remove(0);
            self.swept = 0;
        }
    }

    /// Gives up a build. If a slice of it is durable its number is, too, and its chunks must go.
    fn abandon(&mut self, build: &Build) {
        let chunks = build.chunks();
        if self.manifest.pending.contains(&chunks.run) {
            self.orphans.push(chunks);
        }
    }
}

fn begin_flush(context: &Context<'_>, manifest: &mut Manifest) -> (Build, u64) {
    let frozen = (context.freeze)();
    let entries = || frozen.levels.iter().flat_map(|level| level.entries());
    let hashes_max = entries().count() as u64;
    let offset_min = entries().map(|entry| entry.offset).min().unwrap_or(0);
    let build = Build::new(
        (allocate(manifest), 0),
        Merger::of_levels(frozen.levels),
        hashes_max,
        offset_min,
        context.config.chunk_bytes_max,
    );
    (build, frozen.covered_until)
}

/// The number of a new run, pending from this slice on.
fn allocate(manifest: &mut Manifest) -> u64 {
    let run = manifest.next_run;
    manifest.next_run += 1;
    manifest.pending.push(run);
    run
}

fn finish(build: Build, manifest: &mut Manifest) -> Run {
    let run = build.into_run();
    manifest
        .pending
        .retain(|number| *number != run.meta().chunks.run);
    run
}

/// Puts `output` in the place of the runs numbered `inputs`, which are neighbours.
pub(super) fn replace<T>(runs: &mut Vec<T>, inputs: &[u64], output: T, number: impl Fn(&T) -> u64) {
    let place = runs
        .iter()
        .position(|run| inputs.contains(&number(run)))
        .unwrap_or(runs.len());
    runs.retain(|run| !inputs.contains(&number(run)));
    runs.insert(place, output);
}
