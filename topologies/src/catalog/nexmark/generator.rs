//! The reference generator: each event is a pure function of its id and its number in its generator.
//!
//! Place: what sources of the Nexmark topologies and benchmarks read. Invariants: (1) the events are those
//! of the reference for the same configuration, whatever the number of partitions they are split over; (2)
//! no event is earlier than the watermark given with an event before it, of the same source; (3) without
//! out-of-order groups, times within one source never decrease. Threads: a source belongs to one; sources of
//! other partitions are independent. Cost: no allocation for a bid, one for a person, two for an auction.

use std::iter::FusedIterator;

use millstream_engine::time::Timestamp;

use super::config::{NexmarkConfig, NexmarkConfigError};
use super::event::NexmarkEvent;
use super::maker::Maker;
pub use super::maker::{FIRST_CATEGORY, FIRST_ID};

/// An event and what time it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Event time.
    pub time: Timestamp,
    /// Nothing earlier follows from the same source, this event included.
    pub watermark: Timestamp,
    /// What happened.
    pub event: NexmarkEvent,
}

/// The range of one generator: its first event id and how many events it makes.
#[derive(Clone, Copy, Debug)]
struct Range {
    first_id: u64,
    events: u64,
}

/// The events of some of the generators, the first of each, then the second of each, and so on.
///
/// ```
/// use millstream::catalog::nexmark::{NexmarkConfig, NexmarkSource};
///
/// let config = NexmarkConfig::of(1_000);
/// let whole = NexmarkSource::new(&config)?;
/// let halves = [NexmarkSource::of_partition(&config, 0, 2)?, NexmarkSource::of_partition(&config, 1, 2)?];
/// assert_eq!(whole.count(), halves.into_iter().map(Iterator::count).sum::<usize>());
/// # Ok::<(), millstream::catalog::nexmark::NexmarkConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct NexmarkSource {
    maker: Maker,
    group: u64,
    /// In the order of generators, so the last is at least as long as the others.
    ranges: Vec<Range>,
    /// Whose turn it is in this round.
    turn: usize,
    /// The number of the round: of the event in each generator.
    number: u64,
    /// Number, time and watermark of the round's events.
    round: (u64, i64, Timestamp),
    total: u64,
    left: u64,
}

impl NexmarkSource {
    /// All generators.
    ///
    /// # Errors
    /// When the configuration cannot be.
    pub fn new(config: &NexmarkConfig) -> Result<Self, NexmarkConfigError> {
        Self::of_partition(config, 0, 1)
    }

    /// The generators of one partition (from 0) of `partitions`: every `partitions`-th. A partition beyond
    /// the number of generators has none and gives nothing.
    ///
    /// # Errors
    /// When the configuration cannot be.
    ///
    /// # Panics
    /// When `partition` is not below `partitions`.
    pub fn of_partition(
        config: &NexmarkConfig,
        partition: u32,
        partitions: u32,
    ) -> Result<Self, NexmarkConfigError> {
        config.validate()?;
        assert!(partition < partitions, "partitions count from 0");
        let ranges: Vec<Range> = (partition..config.generators)
            .step_by(partitions as usize)
            .map(|generator| config.range_of(generator))
            .map(|(first_id, events)| Range { first_id, events })
            .filter(|range| range.events > 0)
            .collect();
        let left = ranges.iter().map(|range| range.events).sum();
        let mut source = Self {
            maker: Maker::new(config),
            group: config.out_of_order_group,
            ranges,
            turn: 0,
            number: 0,
            round: (0, 0, Timestamp::MIN),
            total: left,
            left,
        };
        source.begin_round();
        Ok(source)
    }

    /// What the next event's watermark is; after the last event [`Timestamp::MAX`].
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        if self.left == 0 {
            return Timestamp::MAX;
        }
        self.round.2
    }

    /// Events that were given.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.total - self.left
    }

    /// Goes on behind the first `given` events, or behind all if there are fewer. Only before the first one is taken.
    pub fn seek(&mut self, given: u64) {
        let mut ahead = given.min(self.left);
        self.left -= ahead;
        while let Some(shortest) = self.ranges.iter().map(|range| range.events).min() {
            let in_turn = self.ranges.len() as u64;
            let rounds = (ahead / in_turn).min(shortest - self.number);
            self.number += rounds;
            ahead -= rounds * in_turn;
            if self.number < shortest {
                self.turn = ahead as usize;
                break;
            }
            self.ranges.retain(|range| range.events > shortest);
        }
        self.begin_round();
    }

    /// Gives up to `events_max` events to `take`, and whether there may be more. The same as [`Iterator::next`] as often,
    /// but an event goes from where it is made to where it is used without being put down in between.
    #[inline]
    pub fn take_each(&mut self, events_max: usize, mut take: impl FnMut(Generated)) -> bool {
        for _ in 0..events_max {
            let Some(generated) = self.make_next() else {
                return false;
            };
            take(generated);
        }
        true
    }

    #[inline(always)]
    fn make_next(&mut self) -> Option<Generated> {
        let range = self.ranges.get(self.turn)?;
        let (number, millis, watermark) = self.round;
        let event = self.maker.make(range.first_id + number, number, millis);
        self.turn += 1;
        self.left -= 1;
        if self.turn == self.ranges.len() {
            self.end_round();
        }
        Some(Generated {
            time: Timestamp::from_micros(millis * 1_000),
            watermark,
            event,
        })
    }

    fn begin_round(&mut self) {
        let (shuffled, start) = if self.group == 1 {
            (self.number, self.number)
        } else {
            let start = self.number / self.group * self.group;
            (start + self.number * 953 % self.group, start)
        };
        let millis = self.maker.millis(shuffled);
        let watermark = Timestamp::from_micros(self.maker.millis(start) * 1_000);
        self.round = (shuffled, millis, watermark);
    }

    /// Ends a round, and drops the generators that are done.
    fn end_round(&mut self) {
        self.turn = 0;
        self.number += 1;
        // Only the last can be longer than the others, so this happens at most twice.
        if self.ranges[0].events <= self.number {
            let number = self.number;
            self.ranges.retain(|range| range.events > number);
        }
        self.begin_round();
    }
}

impl Iterator for NexmarkSource {
    type Item = Generated;

    #[inline]
    fn next(&mut self) -> Option<Generated> {
        self.make_next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left);
        (left.unwrap_or(usize::MAX), left.ok())
    }
}

impl FusedIterator for NexmarkSource {}
