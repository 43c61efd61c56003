//! Merges sorted sources, in memory or in the store, into one ascending sequence.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::IndexEntry;
use super::chunk::RunStore;
use super::error::IndexError;
use super::run::Run;
use super::tail::Level;

#[derive(Debug)]
enum Buffer {
    Level(Arc<Level>),
    /// Decoded entries of the run's chunk before `next`.
    Run {
        entries: Vec<IndexEntry>,
        run: Arc<Run>,
        next: u32,
    },
}

#[derive(Debug)]
struct Source {
    buffer: Buffer,
    place: usize,
}

impl Source {
    fn entries(&self) -> &[IndexEntry] {
        match &self.buffer {
            Buffer::Level(level) => level.entries(),
            Buffer::Run { entries, .. } => entries,
        }
    }

    /// The next entry; reads the next chunk when the last is used up.
    fn next(&mut self, store: &dyn RunStore) -> Result<Option<IndexEntry>, IndexError> {
        loop {
            if let Some(entry) = self.entries().get(self.place) {
                let entry = *entry;
                self.place += 1;
                return Ok(Some(entry));
            }
            match &mut self.buffer {
                Buffer::Run { entries, run, next } if *next < run.meta().chunks.data => {
                    *entries = run.chunk_entries(store, *next)?;
                    *next += 1;
                    self.place = 0;
                }
                _ => return Ok(None),
            }
        }
    }
}

/// A merge that can be stopped after any entry. Holds one decoded chunk per run.
#[derive(Debug)]
pub(super) struct Merger {
    sources: Vec<Source>,
    heap: BinaryHeap<Reverse<(IndexEntry, usize)>>,
    started: bool,
}

impl Merger {
    pub(super) fn of_levels(levels: Vec<Arc<Level>>) -> Self {
        Self::new(levels.into_iter().map(Buffer::Level).collect())
    }

    pub(super) fn of_runs(runs: &[Arc<Run>]) -> Self {
        let buffer = |run: &Arc<Run>| Buffer::Run {
            entries: vec![],
            run: Arc::clone(run),
            next: 0,
        };
        Self::new(runs.iter().map(buffer).collect())
    }

    fn new(buffers: Vec<Buffer>) -> Self {
        let sources = buffers
            .into_iter()
            .map(|buffer| Source { buffer, place: 0 })
            .collect();
        Self {
            sources,
            heap: BinaryHeap::new(),
            started: false,
        }
    }

    /// The next entry in order.
    ///
    /// # Errors
    /// As [`RunStore::read`](super::RunStore::read); [`IndexError::Missing`], [`IndexError::Corrupt`]. The merge cannot go
    /// on after one.
    pub(super) fn next(&mut self, store: &dyn RunStore) -> Result<Option<IndexEntry>, IndexError> {
        if !self.started {
            self.started = true;
            for (number, source) in self.sources.iter_mut().enumerate() {
                if let Some(entry) = source.next(store)? {
                    self.heap.push(Reverse((entry, number)));
                }
            }
        }
        let Some(mut top) = self.heap.peek_mut() else {
            return Ok(None);
        };
        let Reverse((entry, number)) = *top;
        match self.sources[number].next(store)? {
            // Changed in place: the heap sifts once instead of popping and pushing.
            Some(next) => top.0.0 = next,
            None => {
                std::collections::binary_heap::PeekMut::pop(top);
            }
        }
        Ok(Some(entry))
    }
}
