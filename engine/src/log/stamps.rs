//! When events are recorded: one order for all partitions that no effect comes before its cause in.
//!
//! Place: a partition's turn takes a [`Stamp`] -> its frame is stored and published -> a reader that merges partitions by
//! recorded time asks whether [a partition is quiet](Stamps::is_quiet). Invariants: (1) a turn that begins after an event
//! became visible, in whichever partition, is recorded later than that event, also when the clock was set back; (2) of
//! a quiet partition nothing earlier than what was asked will ever be published. So the order by (recorded time of the
//! frame, partition) is the same whenever it is read, and is known while events still come. It is a hybrid logical
//! clock (Kulkarni and others, 2014) whose messages are the log itself.
//! Threads: any. Cost: two atomic operations per turn and one per frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use crate::event::PartitionId;
use crate::time::Timestamp;

/// The recorded times of a log's partitions.
#[derive(Debug)]
pub struct Stamps {
    /// No turn that begins from now on is recorded earlier.
    latest: AtomicI64,
    /// Turns that were begun and may still publish something, by partition.
    open: Vec<AtomicU32>,
}

impl Stamps {
    /// For so many partitions, whose events were all recorded before `latest`.
    #[must_use]
    pub fn new(partitions: u16, latest: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            latest: AtomicI64::new(latest.0),
            open: (0..partitions).map(|_| AtomicU32::new(0)).collect(),
        })
    }

    /// Begins a turn of a partition at `now` or later.
    ///
    /// # Panics
    /// For a partition that there is not.
    #[must_use]
    pub fn begin(self: &Arc<Self>, partition: PartitionId, now: Timestamp) -> Stamp {
        // Open before it has a time: see `is_quiet`.
        self.open[usize::from(partition.0)].fetch_add(1, Ordering::SeqCst);
        let latest = self.latest.fetch_max(now.0, Ordering::SeqCst);
        Stamp {
            at: now.max(Timestamp(latest)),
            partition,
            stamps: Arc::clone(self),
        }
    }

    /// An event recorded at `recorded` is about to be visible.
    pub(super) fn published(&self, recorded: Timestamp) {
        let later = recorded.0.saturating_add(1);
        self.latest.fetch_max(later, Ordering::SeqCst);
    }

    /// Whether all of a partition that is recorded before `least` has been published; if so, it is so for ever. What turns
    /// begin from now on is recorded at `least` or later in any case.
    #[must_use]
    pub fn is_quiet(&self, partition: PartitionId, least: Timestamp) -> bool {
        self.latest.fetch_max(least.0, Ordering::SeqCst);
        // A turn that is not seen here begins after this and therefore after the line above.
        let open = self.open.get(usize::from(partition.0));
        open.is_none_or(|open| open.load(Ordering::SeqCst) == 0)
    }
}

/// The time of one turn. Held until all of the turn is published or never will be.
#[derive(Debug)]
pub struct Stamp {
    at: Timestamp,
    partition: PartitionId,
    stamps: Arc<Stamps>,
}

impl Stamp {
    /// When the turn's events are recorded.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

impl Drop for Stamp {
    fn drop(&mut self) {
        let open = &self.stamps.open[usize::from(self.partition.0)];
        open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const ONE: PartitionId = PartitionId(0);
    const OTHER: PartitionId = PartitionId(1);

    #[test]
    fn what_begins_after_something_was_visible_is_later() {
        let stamps = Stamps::new(2, Timestamp(5));
        let cause = stamps.begin(ONE, Timestamp(3));
        assert_eq!(cause.at(), Timestamp(5));
        let beside = stamps.begin(OTHER, Timestamp(4));
        assert_eq!(beside.at(), Timestamp(5));
        stamps.published(cause.at());
        assert!(stamps.begin(OTHER, Timestamp(1)).at() > cause.at());
        assert!(stamps.begin(ONE, Timestamp(9)).at() == Timestamp(9));
    }

    #[test]
    fn a_partition_is_quiet_once_its_turns_are_over() {
        let stamps = Stamps::new(2, Timestamp::MIN);
        let turn = stamps.begin(ONE, Timestamp(7));
        assert!(!stamps.is_quiet(ONE, Timestamp(3)));
        assert!(stamps.is_quiet(OTHER, Timestamp(9)));
        // A clock that was set back makes no exception.
        assert_eq!(stamps.begin(OTHER, Timestamp(1)).at(), Timestamp(9));
        drop(turn);
        assert!(stamps.is_quiet(ONE, Timestamp(12)));
        assert_eq!(stamps.begin(ONE, Timestamp(2)).at(), Timestamp(12));
    }

    /// Goal: of a partition that was called quiet nothing earlier comes, with clocks that go back and forth. Method: two
    /// threads take turns and publish, a third asks; what was published after an answer is compared with it.
    #[test]
    fn nothing_earlier_comes_after_quiet() {
        const TURNS: i64 = 20_000;
        let stamps = Stamps::new(2, Timestamp::MIN);
        let published = [const { Mutex::new(Vec::new()) }; 2];
        let mut answers = Vec::new();
        std::thread::scope(|threads| {
            for (partition, published) in (0..).map(PartitionId).zip(&published) {
                let stamps = &stamps;
                threads.spawn(move || {
                    for turn in 0..TURNS {
                        let stamp = stamps.begin(partition, Timestamp(turn / 7 - turn % 5));
                        published.lock().unwrap().push(stamp.at());
                        stamps.published(stamp.at());
                    }
                });
            }
            for least in 1..TURNS {
                for (number, published) in published.iter().enumerate() {
                    if stamps.is_quiet(PartitionId(number as u16), Timestamp(least)) {
                        answers.push((number, published.lock().unwrap().len(), Timestamp(least)));
                    }
                }
            }
        });
        let published = published.map(|list| list.into_inner().unwrap());
        for list in &published {
            assert!(list.is_sorted());
        }
        for (number, before, least) in answers {
            let after = &published[number][before..];
            assert!(after.first().is_none_or(|next| *next >= least));
        }
    }
}
