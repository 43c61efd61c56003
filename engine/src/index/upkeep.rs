//! The side of [`StreamIndex`] that its maintainer sees: slices of work, shutdown, figures.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::chunk::IndexWrite;
use super::error::IndexError;
use super::maintenance::{Context, Flip, Frozen, replace};
use super::stats::IndexStats;
use super::stream_index::{StreamIndex, lock};

/// A flush that should begin, or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushDue {
    /// Whether a slice of it was handed out.
    pub is_begun: bool,
    /// Entries in memory, those of the flush included.
    pub tail_entries: usize,
    /// Whether these are more than twice [`tail_entries_max`](super::IndexConfig::tail_entries_max).
    pub is_late: bool,
}

impl StreamIndex {
    /// Whether [`maintain`](Self::maintain) would flush now; it does so before anything else. `None` when no flush is due.
    pub fn flush_due(&self) -> Option<FlushDue> {
        let entries_max = self.config.tail_entries_max;
        let (active, frozen) = self.tail_entries();
        let tail_entries = active + frozen;
        (active >= entries_max || frozen > 0).then_some(FlushDue {
            is_begun: frozen > 0,
            tail_entries,
            is_late: tail_entries.div_ceil(2) > entries_max,
        })
    }

    /// Entries that are not part of a flush, and those that are.
    fn tail_entries(&self) -> (usize, usize) {
        let view = self.view();
        (view.tail.active_entries(), view.tail.frozen_entries())
    }

    /// The next slice of work, about `budget_bytes` of writes (one chunk and a manifest more at the
    /// most, and at least one write); `None` when there is nothing to do. Commit the writes at once,
    /// then call [`applied`](Self::applied); if the commit fails, drop the index and open it anew.
    ///
    /// # Errors
    /// [`IndexError::SliceOutstanding`] before the last slice was applied. As [`RunStore::read`](super::RunStore::read);
    /// [`IndexError::Corrupt`], [`IndexError::Missing`], [`IndexError::UnknownFormat`] when a merge
    /// met such a chunk: it is given up, flushes go on, and nothing is merged until the next open.
    pub fn maintain(&self, budget_bytes: usize) -> Result<Option<Vec<IndexWrite>>, IndexError> {
        self.slice(budget_bytes, self.config.tail_entries_max, false)
    }

    fn slice(
        &self,
        budget_bytes: usize,
        flush_entries: usize,
        flush_only: bool,
    ) -> Result<Option<Vec<IndexWrite>>, IndexError> {
        let mut maintenance = lock(&self.maintenance);
        let (runs, flush_due) = {
            let view = self.view();
            let due = view.tail.active_entries() >= flush_entries || view.tail.frozen_entries() > 0;
            (Arc::clone(&view.runs), due)
        };
        let context = Context {
            store: &*self.store,
            config: &self.config,
            runs: &runs,
            flush_due,
            flush_only,
            freeze: &|| self.freeze(),
        };
        maintenance.slice(&context, budget_bytes)
    }

    fn freeze(&self) -> Frozen {
        let next_offset = lock(&self.next_offset);
        self.close_head();
        let levels = self.view_mut().tail.freeze();
        Frozen {
            levels,
            covered_until: *next_offset,
        }
    }

    /// Tells that the writes of the last slice are durable. Without one, does nothing. Answers whether a merge is whole with it.
    pub fn applied(&self) -> bool {
        let mut maintenance = lock(&self.maintenance);
        let Some(outstanding) = maintenance.applied() else {
            return false;
        };
        self.flush_bytes
            .fetch_add(outstanding.flush_bytes, Ordering::Relaxed);
        self.merge_bytes
            .fetch_add(outstanding.merge_bytes, Ordering::Relaxed);
        let Some(flip) = outstanding.flip else {
            return false;
        };
        let is_merge = matches!(flip, Flip::Merge { .. });
        // Only this function changes the runs, under the lock of the maintenance.
        let mut runs = self.view().runs.to_vec();
        let frozen = match flip {
            Flip::Flush { run, covered_until } => {
                runs.push(Arc::new(run));
                let mut view = self.view_mut();
                view.runs = Arc::new(runs);
                view.covered_until = covered_until;
                view.tail.take_frozen()
            }
            Flip::Merge { run, inputs } => {
                replace(&mut runs, &inputs, Arc::new(run), |run| {
                    run.meta().chunks.run
                });
                self.view_mut().runs = Arc::new(runs);
                Vec::new()
            }
        };
        // Megabytes are freed here, after the lock.
        drop(frozen);
        is_merge
    }

    /// Flushes the whole tail, for a clean shutdown: `commit` is called with one slice after the
    /// other. Does not merge; a merge under way is given up when the index opens again.
    ///
    /// # Errors
    /// As [`maintain`](Self::maintain); what `commit` answers.
    pub fn flush_all<E: From<IndexError>>(
        &self,
        budget_bytes: usize,
        mut commit: impl FnMut(Vec<IndexWrite>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(writes) = self.slice(budget_bytes, 1, true)? {
            commit(writes)?;
            self.applied();
        }
        Ok(())
    }

    /// Figures of this moment.
    pub fn stats(&self) -> IndexStats {
        let (runs, tail_entries) = {
            let view = self.view();
            let entries = view.tail.active_entries() + view.tail.frozen_entries();
            (Arc::clone(&view.runs), entries)
        };
        let mut stats = IndexStats {
            tail_entries,
            bloom_checks_total: self.bloom.checks.load(Ordering::Relaxed),
            bloom_false_positives_total: self.bloom.false_positives.load(Ordering::Relaxed),
            flush_bytes_total: self.flush_bytes.load(Ordering::Relaxed),
            merge_bytes_total: self.merge_bytes.load(Ordering::Relaxed),
            ..IndexStats::default()
        };
        for run in runs.iter() {
            let level = usize::from(run.meta().level);
            stats
                .level_runs
                .resize(stats.level_runs.len().max(level + 1), 0);
            stats.level_runs[level] += 1;
            stats.run_entries += run.meta().entries;
            stats.run_bytes += run.meta().bytes;
            stats.filter_bytes += run.filter_bytes();
        }
        stats
    }
}
