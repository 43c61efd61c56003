//! The stream indexes of all partitions share the commits of the log: which of them has its turn, and how much it may write.
//!
//! Place: `append` -> **`upkeep`** -> [`StreamIndex::maintain`](crate::index::StreamIndex::maintain). Invariants: (1) no merge is
//! worked on while a flush is due, in whichever partition, since a tail that waits grows in memory; (2) where a tail waits
//! all the same, flushes get more to write than comes in, so that tails are bounded.
//! Threads: the log's writer alone. Failure: one of an index does not stop the log, and the index is asked again in the next
//! turn: behind damage it goes on to flush, without merging, until it is made anew at the next opening.
//! Cost: two looks at each index per group of frames, and its slice.

use crate::event::PartitionId;
use crate::fail_point;
#[cfg(feature = "failpoints")]
use crate::fail_points;
use crate::index::IndexWrite;
use crate::log::LogError;
use crate::log::indexes::OwnIndex;
use crate::store::StoreError;

/// Bytes of upkeep that may share a transaction with frames: this, and half of the frames' own.
const BYTES_MIN: usize = 64 << 10;
/// More than an entry takes in a run, with its part of filter and directory, and twice that: what lags behind gets on.
const ENTRY_BYTES: usize = 64;

/// What a slice may write beside a group of frames.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes, as a rule.
    pub(super) bytes: usize,
    /// The same for a flush that is late, by the entries that the group brings.
    pub(super) late_bytes: usize,
}

impl Budget {
    /// Beside frames of so many bytes, which bring so many entries.
    pub(super) fn beside(frame_bytes: usize, entries: usize) -> Self {
        let bytes = BYTES_MIN + frame_bytes / 2;
        Self {
            bytes,
            late_bytes: bytes.max(BYTES_MIN + entries * ENTRY_BYTES),
        }
    }
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// Partition whose index is asked first for what is no flush.
    next: usize,
    /// Partitions of whose index was told that its upkeep fails.
    told: Vec<bool>,
}

impl Upkeep {
    pub(super) fn new(partitions: u16) -> Self {
        Self {
            next: 0,
            told: vec![false; usize::from(partitions)],
        }
    }

    /// One slice for one index, given to `store`: a flush if one is due, else what the first one has to do, from the one
    /// whose turn it is on around. Gives the index, to be told of the commit by [`applied`](Self::applied).
    pub(super) fn slice(
        &mut self,
        indexes: &[OwnIndex],
        budget: &Budget,
        store: impl FnOnce(PartitionId, Vec<IndexWrite>) -> Result<(), StoreError>,
    ) -> Result<Option<usize>, LogError> {
        let flush = next_flush(indexes);
        let budget_bytes = match flush {
            Some(flush) if flush.is_late => budget.late_bytes,
            _ => budget.bytes,
        };
        let flush = flush.map(|flush| flush.at);
        let (next, count) = (self.next, indexes.len());
        let others = (0..count).map(|step| (next + step) % count);
        for at in flush.into_iter().chain(others) {
            match indexes[at].index.maintain(budget_bytes) {
                Ok(None) => {}
                Ok(Some(writes)) => {
                    if flush != Some(at) {
                        // It keeps its turn until a merge is whole.
                        self.next = at;
                    }
                    let partition =
                        PartitionId(u16::try_from(at).expect("opened with a u16 of partitions"));
                    fail_point!(INDEX_BEFORE_FLUSH, |cause| fail_points::store_error(cause)
                        .into());
                    store(partition, writes)?;
                    return Ok(Some(at));
                }
                Err(cause) if cause.is_damage() => indexes[at].damage.note(&cause),
                Err(cause) => {
                    if !std::mem::replace(&mut self.told[at], true) {
                        tracing::error!(partition = at, %cause, "stream index upkeep failed: it is tried again, or goes on without merging where pages are damaged");
                    }
                }
            }
        }
        Ok(None)
    }

    /// The slice of this index is durable.
    pub(super) fn applied(&mut self, indexes: &[OwnIndex], at: usize) {
        if indexes[at].index.applied() {
            self.next = (at + 1) % indexes.len();
        }
    }
}

/// The next slice of a flush.
#[derive(Clone, Copy, Debug)]
struct NextFlush {
    /// Place of its index.
    at: usize,
    /// Whether the tail of any index, which may wait for this one, is late.
    is_late: bool,
}

/// A flush that has begun, else the one of the longest tail. One after the other, since what is being flushed stays in memory
/// until all of it is durable.
fn next_flush(indexes: &[OwnIndex]) -> Option<NextFlush> {
    let (mut first, mut is_late) = (None, false);
    for (at, own) in indexes.iter().enumerate() {
        if let Some(due) = own.index.flush_due() {
            is_late |= due.is_late;
            first = first.max(Some((due.is_begun, due.tail_entries, at)));
        }
    }
    first.map(|(_, _, at)| NextFlush { at, is_late })
}
