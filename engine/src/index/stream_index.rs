//! [`StreamIndex`]: what the rest of the engine sees of the index.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::IndexEntry;
use super::chunk::RunStore;
use super::config::IndexConfig;
use super::error::IndexError;
use super::key::Key;
use super::maintenance::Maintenance;
use super::manifest::Manifest;
use super::run::{BloomCounters, Run};
use super::tail::{Level, Tail};

/// What readers see. An entry moves from the tail to a run, or from run to run, in one change.
pub(super) struct View {
    pub(super) tail: Tail,
    /// Oldest first.
    pub(super) runs: Arc<Vec<Arc<Run>>>,
    pub(super) covered_until: u64,
}

/// The stream index of one partition. Shared by `Arc`; see the [module](super) for its threads.
///
/// **Answers where streams share a hash.** All of them are in the answer; the caller drops what is
/// not its stream's. Of each single stream the answer holds a stretch without gaps, beginning at
/// `from_version` (or at the stream's end nearest to it), in order. So a caller who dropped entries
/// of a full answer and needs more asks again from behind the last entry it kept, and, when it kept
/// none, from the same version with a larger limit. An answer below the limit is complete.
pub struct StreamIndex {
    pub(super) store: Arc<dyn RunStore>,
    pub(super) config: IndexConfig,
    // Locked in this order: maintenance, next_offset, view.
    pub(super) maintenance: Mutex<Maintenance>,
    /// First offset that was not pushed; held for the time of a push.
    pub(super) next_offset: Mutex<u64>,
    view: RwLock<View>,
    pub(super) bloom: BloomCounters,
    pub(super) flush_bytes: AtomicU64,
    pub(super) merge_bytes: AtomicU64,
}

impl fmt::Debug for StreamIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamIndex")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

// A panic under one of these locks leaves no half-made change behind, so poisoning is ignored.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StreamIndex {
    /// Opens the index in `store`; an empty store gives an empty index. Reads the manifest and the
    /// filters and directories of all live runs. Then feed it from [`covered_until`](Self::covered_until).
    ///
    /// # Errors
    /// [`IndexError::Config`]; as [`RunStore::read`](super::RunStore::read); [`IndexError::Corrupt`],
    /// [`IndexError::Missing`], [`IndexError::UnknownFormat`]: delete all chunks and open again.
    pub fn open(store: Arc<dyn RunStore>, config: IndexConfig) -> Result<Self, IndexError> {
        config.validate()?;
        let manifest = Manifest::stored(&*store)?;
        let runs = manifest
            .runs
            .iter()
            .map(|meta| Run::load(&*store, *meta).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let covered_until = manifest.covered_until;
        Ok(Self {
            maintenance: Mutex::new(Maintenance::open(&*store, manifest)?),
            store,
            config,
            next_offset: Mutex::new(covered_until),
            view: RwLock::new(View {
                tail: Tail::new(),
                runs: Arc::new(runs),
                covered_until,
            }),
            bloom: BloomCounters::default(),
            flush_bytes: AtomicU64::new(0),
            merge_bytes: AtomicU64::new(0),
        })
    }

    pub(super) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// First offset that is in no durable run: where to feed from after opening.
    pub fn covered_until(&self) -> u64 {
        self.view().covered_until
    }

    /// Adds the entries of one committed frame, in order of offset. Entries below the highest offset
    /// pushed or covered so far are known and skipped, so feeding too much again does no harm.
    ///
    /// Cost: some tens of nanoseconds per entry on average; about one call in a hundred thousand
    /// entries merges as many in memory, a few milliseconds.
    pub fn push(&self, entries: &[IndexEntry]) {
        debug_assert!(
            entries.is_sorted_by_key(|entry| entry.offset),
            "entries in offset order"
        );
        let mut next_offset = lock(&self.next_offset);
        let known = entries.partition_point(|entry| entry.offset < *next_offset);
        let mut rest = &entries[known..];
        let Some(last) = rest.last() else { return };
        *next_offset = last.offset.saturating_add(1);
        while !rest.is_empty() {
            let (taken, full) = {
                let tail = &mut self.view_mut().tail;
                (tail.append(rest), tail.head_is_full())
            };
            rest = &rest[taken..];
            if full {
                self.close_head();
                self.compact();
            }
        }
    }

    /// Makes the head a sorted level. The caller holds `next_offset`, so the head stays as it is.
    pub(super) fn close_head(&self) {
        let head = self.view().tail.head().to_vec();
        if !head.is_empty() {
            let level = Arc::new(Level::sorted(head, 0));
            self.view_mut().tail.replace_head(level);
        }
    }

    /// Merges levels while four of a rank are there. The caller holds `next_offset`.
    fn compact(&self) {
        loop {
            // Taken apart from the loop's condition: its guard would live through the body.
            let compaction = self.view().tail.compaction();
            let Some(compaction) = compaction else { return };
            let level = compaction.run();
            self.view_mut().tail.replace(&compaction, level);
        }
    }

    /// Up to `limit` entries of `hash` from `from_version` (inclusive) up, ascending. Empty when
    /// there are none.
    ///
    /// Cost: one filter test per run; a chunk read for each run that has the hash, oldest first,
    /// until `limit` is reached.
    ///
    /// # Errors
    /// As [`RunStore::read`](super::RunStore::read); [`IndexError::Corrupt`], [`IndexError::Missing`].
    pub fn scan(
        &self,
        hash: u64,
        from_version: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, IndexError> {
        let key = Key {
            hash,
            version: from_version,
        };
        self.with_runs(
            |view, newest| view.tail.scan(key, limit, newest),
            |runs, newest| {
                let mut out = Vec::new();
                for run in runs {
                    if out.len() >= limit {
                        break;
                    }
                    run.scan(&*self.store, &self.bloom, key, limit, &mut out)?;
                }
                let room = limit - out.len();
                out.extend(newest.into_iter().take(room));
                Ok(out)
            },
        )
    }

    /// Up to `limit` entries of `hash` from `from_version` (inclusive) down, descending. Empty when
    /// there are none.
    ///
    /// Cost: as [`scan`](Self::scan), but newest first: recent events are answered from memory.
    ///
    /// # Errors
    /// As [`RunStore::read`](super::RunStore::read); [`IndexError::Corrupt`], [`IndexError::Missing`].
    pub fn scan_back(
        &self,
        hash: u64,
        from_version: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, IndexError> {
        let key = Key {
            hash,
            version: from_version,
        };
        self.with_runs(
            |view, newest| view.tail.scan_back(key, limit, newest),
            |runs, newest| {
                let mut out = newest;
                for run in runs.iter().rev() {
                    if out.len() >= limit {
                        break;
                    }
                    run.scan_back(&*self.store, &self.bloom, key, limit, &mut out)?;
                }
                Ok(out)
            },
        )
    }

    /// The last `limit` entries of `hash`, descending.
    ///
    /// # Errors
    /// As [`scan_back`](Self::scan_back).
    pub fn last(&self, hash: u64, limit: usize) -> Result<Vec<IndexEntry>, IndexError> {
        self.scan_back(hash, u64::MAX, limit)
    }

    /// Takes what `in_memory` finds and the runs of the same moment, then reads those without the
    /// lock. A chunk may be deleted meanwhile, after its run was merged: then all is done again.
    fn with_runs(
        &self,
        in_memory: impl Fn(&View, &mut Vec<IndexEntry>),
        in_runs: impl Fn(&[Arc<Run>], Vec<IndexEntry>) -> Result<Vec<IndexEntry>, IndexError>,
    ) -> Result<Vec<IndexEntry>, IndexError> {
        loop {
            let mut newest = Vec::new();
            let runs = {
                let view = self.view();
                in_memory(&view, &mut newest);
                Arc::clone(&view.runs)
            };
            match in_runs(&runs, newest) {
                Err(IndexError::Missing { .. }) if !Arc::ptr_eq(&runs, &self.view().runs) => {}
                answer => return answer,
            }
        }
    }
}
