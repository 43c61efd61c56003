//! When events are recorded: one order for all partitions that no effect comes before its cause in.
//!
//! Place: a partition's turn takes a [`Stamp`] -> its frame is stored and published -> a reader that merges partitions by
//! recorded time asks whether [a partition is quiet](Stamps::is_quiet) up to there. Invariants: (1) a turn that begins after an event
//! became visible, in whichever partition, is recorded later than that event, also when the clock was set back; (2) of
//! a quiet partition nothing earlier than what was asked will ever be published. So the order by (recorded time of the
//! frame, partition) is the same whenever it is read, and is known while events still come. It is a hybrid logical
//! clock (Kulkarni and others, 2014) whose messages are the log itself.
//! Threads: any. Cost: a few atomic operations and two locks that hardly anybody else takes per turn, one atomic operation per
//! frame.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::PartitionId;
use crate::time::Timestamp;

/// The recorded times of a log's partitions.
#[derive(Debug)]
pub struct Stamps {
    /// No turn that begins from now on is recorded earlier.
    latest: AtomicI64,
    /// By partition.
    turns: Vec<Turns>,
}

/// The turns of a partition, numbered from 1. They mostly end in the order in which they began, but one that stores nothing ends
/// at once, while frames of those before it are still with the log's writer.
#[derive(Debug, Default)]
struct Turns {
    begun: AtomicU64,
    /// Neither this one nor any before it will publish anything more.
    ended: AtomicU64,
    /// Numbers of those that have not ended, in order: as many as there are frames in flight, and one more.
    open: Mutex<Vec<u64>>,
}

impl Turns {
    fn open(&self) -> MutexGuard<'_, Vec<u64>> {
        // Nothing in here panics halfway.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> u64 {
        let mut open = self.open();
        let number = self.begun.load(Ordering::SeqCst) + 1;
        open.push(number);
        self.begun.store(number, Ordering::SeqCst);
        number
    }

    fn end(&self, number: u64) {
        let mut open = self.open();
        open.retain(|other| *other != number);
        let ended = match open.first() {
            Some(oldest) => oldest - 1,
            None => self.begun.load(Ordering::SeqCst),
        };
        self.ended.store(ended, Ordering::SeqCst);
    }
}

/// A question that was put to a partition: whether all of it that is recorded before a moment has been published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The moment: what turns begin later is recorded at it or later.
    pub least: Timestamp,
    /// The last turn that had begun.
    begun: u64,
}

impl Stamps {
    /// For so many partitions, whose events were all recorded before `latest`.
    #[must_use]
    pub fn new(partitions: u16, latest: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            latest: AtomicI64::new(latest.0),
            turns: (0..partitions).map(|_| Turns::default()).collect(),
        })
    }

    /// Begins a turn of a partition at `now` or later.
    ///
    /// # Panics
    /// For a partition that there is not.
    #[must_use]
    pub fn begin(self: &Arc<Self>, partition: PartitionId, now: Timestamp) -> Stamp {
        // Begun before it has a time: see `ask`.
        let turns = &self.turns[usize::from(partition.0)];
        let number = turns.begin();
        let latest = self.latest.fetch_max(now.0, Ordering::SeqCst);
        Stamp {
            at: now.max(Timestamp(latest)),
            number,
            partition,
            stamps: Arc::clone(self),
        }
    }

    /// An event recorded at `recorded` is about to be visible.
    pub(super) fn published(&self, recorded: Timestamp) {
        let later = recorded.0.saturating_add(1);
        self.latest.fetch_max(later, Ordering::SeqCst);
    }

    /// The time that no turn which begins from now on is recorded before. Ahead of the clock where that was ahead once, or
    /// was set back.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        Timestamp(self.latest.load(Ordering::SeqCst))
    }

    /// Asks whether all of a partition that is recorded before `least` has been published. What turns begin from now on is
    /// recorded at `least` or later in any case.
    #[must_use]
    pub fn ask(&self, partition: PartitionId, least: Timestamp) -> Asked {
        self.latest.fetch_max(least.0, Ordering::SeqCst);
        // A turn that is not seen here begins after this and therefore after the line above.
        let turns = self.turns.get(usize::from(partition.0));
        let begun = turns.map_or(0, |turns| turns.begun.load(Ordering::SeqCst));
        Asked { least, begun }
    }

    /// Whether it has; if so, it has for ever. A partition that is always at work answers once the turns are over that had
    /// begun when it was asked.
    #[must_use]
    pub fn is_quiet(&self, partition: PartitionId, asked: Asked) -> bool {
        let turns = self.turns.get(usize::from(partition.0));
        turns.is_none_or(|turns| turns.ended.load(Ordering::SeqCst) >= asked.begun)
    }
}

/// The time of one turn. Held until all of the turn is published or never will be.
#[derive(Debug)]
pub struct Stamp {
    at: Timestamp,
    number: u64,
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
        let turns = &self.stamps.turns[usize::from(self.partition.0)];
        turns.end(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PartitionId = PartitionId(0);
    const OTHER: PartitionId = PartitionId(1);

    fn is_quiet(stamps: &Stamps, partition: PartitionId, least: i64) -> bool {
        stamps.is_quiet(partition, stamps.ask(partition, Timestamp(least)))
    }

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
        // Nobody sets it back.
        let _ = stamps.begin(OTHER, Timestamp(1));
        assert_eq!(stamps.latest(), Timestamp(9));
    }

    #[test]
    fn a_partition_is_quiet_once_its_turns_are_over() {
        let stamps = Stamps::new(2, Timestamp::MIN);
        let turn = stamps.begin(ONE, Timestamp(7));
        assert!(!is_quiet(&stamps, ONE, 3));
        assert!(is_quiet(&stamps, OTHER, 9));
        // A clock that was set back makes no exception.
        assert_eq!(stamps.begin(OTHER, Timestamp(1)).at(), Timestamp(9));
        drop(turn);
        assert!(is_quiet(&stamps, ONE, 12));
        assert_eq!(stamps.begin(ONE, Timestamp(2)).at(), Timestamp(12));
    }

    #[test]
    fn a_partition_that_never_rests_answers_all_the_same() {
        let stamps = Stamps::new(1, Timestamp::MIN);
        let first = stamps.begin(ONE, Timestamp(5));
        let asked = stamps.ask(ONE, Timestamp(8));
        let second = stamps.begin(ONE, Timestamp(6));
        assert!(second.at() >= asked.least);
        assert!(!stamps.is_quiet(ONE, asked));
        drop(first);
        assert!(stamps.is_quiet(ONE, asked));
        drop(second);
    }

    /// Story: turns were only counted, so one that stored nothing ended in the place of one whose frame was still being written.
    #[test]
    fn a_turn_that_ends_early_ends_none_before_it() {
        let stamps = Stamps::new(1, Timestamp::MIN);
        let first = stamps.begin(ONE, Timestamp(5));
        let second = stamps.begin(ONE, Timestamp(6));
        let asked = stamps.ask(ONE, Timestamp(8));
        let third = stamps.begin(ONE, Timestamp(9));
        drop(third);
        drop(second);
        assert!(!stamps.is_quiet(ONE, asked));
        drop(stamps.begin(ONE, Timestamp(10)));
        assert!(!stamps.is_quiet(ONE, asked));
        drop(first);
        assert!(stamps.is_quiet(ONE, asked) && is_quiet(&stamps, ONE, 20));
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
                    if is_quiet(&stamps, PartitionId(number as u16), least) {
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
