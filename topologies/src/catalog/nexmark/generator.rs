//! The reference generator: each event is a pure function of its id and its number in its generator.
//!
//! Place: what sources of the Nexmark topologies and benchmarks read. Invariants: (1) the events are those
//! of the reference for the same configuration, whatever the number of partitions they are split over; (2)
//! no event is earlier than the watermark given with an event before it, of the same source; (3) without
//! out-of-order groups, times within one source never decrease. Threads: a source belongs to one; sources of
//! other partitions are independent. Cost: no allocation for a bid, one for a person, two for an auction.

use std::iter::FusedIterator;

use compact_str::CompactString;
use millstream_engine::time::Timestamp;

use super::config::{NexmarkConfig, NexmarkConfigError};
use super::event::{Auction, Bid, NexmarkEvent, Person};
use super::price::Prices;
use super::random::JavaRandom;
use super::text::{TextBuffer, padding, random_text};

/// Added to the numbers of people and auctions.
pub const FIRST_ID: u64 = 1_000;
/// The lowest category.
pub const FIRST_CATEGORY: u64 = 10;
/// Events until as many auctions came as are open at a time: 100 · 50 / 3.
const AUCTION_HORIZON: u64 = 1_666;
/// Each bid, auction or person of this many is hot.
const HOT: u64 = 100;

const FIRST_NAMES: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST_NAMES: [&str; 9] = [
    "Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris",
];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

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

/// What makes an event of its id and its number.
#[derive(Clone, Debug)]
struct Maker {
    base_millis: i64,
    delay_micros: u64,
    padding: bool,
    prices: Prices,
}

impl Maker {
    /// Milliseconds since the epoch of a generator's event.
    #[inline]
    fn millis(&self, number: u64) -> i64 {
        self.base_millis + (number * self.delay_micros / 1_000).cast_signed()
    }

    #[inline]
    fn make(&self, id: u64, number: u64, millis: i64) -> NexmarkEvent {
        let mut random = JavaRandom::new(id);
        let time = Timestamp::from_micros(millis * 1_000);
        let epoch = id / 50;
        match id % 50 {
            0 => NexmarkEvent::Person(Box::new(self.person(&mut random, epoch, time))),
            rest @ 1..=3 => {
                let auction = self.auction(&mut random, epoch, rest, (number, millis));
                NexmarkEvent::Auction(Box::new(auction))
            }
            _ => NexmarkEvent::Bid(self.bid(&mut random, epoch, time)),
        }
    }

    #[inline]
    fn bid(&self, random: &mut JavaRandom, epoch: u64, time: Timestamp) -> Bid {
        let last_auction = 3 * epoch + 2;
        let auction = if random.below::<2>() > 0 {
            last_auction / HOT * HOT
        } else {
            near_auction(random, last_auction)
        };
        let bidder = if random.below::<4>() > 0 {
            epoch / HOT * HOT + 1
        } else {
            near_person(random, epoch)
        };
        let price = self.prices.next(random);
        Bid {
            auction: auction + FIRST_ID,
            bidder: bidder + FIRST_ID,
            price,
            date_time: time,
            extra: self.extra(random, 32, 100),
        }
    }

    fn auction(
        &self,
        random: &mut JavaRandom,
        epoch: u64,
        rest: u64,
        (number, millis): (u64, i64),
    ) -> Auction {
        let seller = if random.below::<4>() > 0 {
            epoch / HOT * HOT
        } else {
            near_person(random, epoch)
        };
        let category = u64::from(random.below::<5>());
        let initial_bid = self.prices.next(random);
        let horizon = (self.millis(number + AUCTION_HORIZON) - millis).cast_unsigned();
        let open_millis = 1 + below_long(random, (2 * horizon).max(1));
        let item_name = random_text::<17>(random);
        let description = random_text::<97>(random);
        let reserve = initial_bid + self.prices.next(random);
        let size = 48 + item_name.len() + description.len();
        Auction {
            id: 3 * epoch + rest - 1 + FIRST_ID,
            item_name,
            description,
            initial_bid,
            reserve,
            date_time: Timestamp::from_micros(millis * 1_000),
            expires: Timestamp::from_micros((millis + open_millis) * 1_000),
            seller: seller + FIRST_ID,
            category: category + FIRST_CATEGORY,
            extra: self.extra(random, size, 500),
        }
    }

    fn person(&self, random: &mut JavaRandom, epoch: u64, time: Timestamp) -> Person {
        let mut name = TextBuffer::new();
        name.push_text(FIRST_NAMES[random.below::<11>() as usize]);
        name.push(b' ');
        name.push_text(LAST_NAMES[random.below::<9>() as usize]);
        let mut email = TextBuffer::new();
        email.push_random::<4>(random);
        email.push(b'@');
        email.push_random::<2>(random);
        email.push_text(".com");
        let mut card = TextBuffer::new();
        for group in 0..4 {
            if group > 0 {
                card.push(b' ');
            }
            card.push_digits(random.below::<10_000>());
        }
        let (name, email, credit_card) = (name.text(), email.text(), card.text());
        let city = CITIES[random.below::<10>() as usize];
        let state = STATES[random.below::<6>() as usize];
        let texts = name.len() + email.len() + credit_card.len() + city.len() + state.len();
        Person {
            id: epoch + FIRST_ID,
            name,
            email,
            credit_card,
            city: CompactString::const_new(city),
            state: CompactString::const_new(state),
            date_time: time,
            extra: self.extra(random, 8 + texts, 200),
        }
    }

    #[inline]
    fn extra(&self, random: &mut JavaRandom, size: usize, average: usize) -> CompactString {
        if self.padding {
            padding(random, size, average)
        } else {
            CompactString::const_new("")
        }
    }
}

/// One of the people who are about, or of the next ten to come; counted from 0.
#[inline]
fn near_person(random: &mut JavaRandom, last: u64) -> u64 {
    let people = last + 1;
    // The bound does not change any more once 1,000 people came: no division then.
    if people >= 1_000 {
        return people - 1_000 + u64::from(random.below::<1_010>());
    }
    u64::from(random.below_bound(people as u32 + 10))
}

/// One of the last hundred auctions, or of the next ten to come; counted from 0.
#[inline]
fn near_auction(random: &mut JavaRandom, last: u64) -> u64 {
    if last >= 100 {
        return last - 100 + u64::from(random.below::<111>());
    }
    u64::from(random.below_bound(last as u32 + 11))
}

/// A number from 0 to `bound` - 1. Beyond Java's whole numbers the reference takes a remainder of 64 bits.
fn below_long(random: &mut JavaRandom, bound: u64) -> i64 {
    if bound < i32::MAX as u64 {
        return i64::from(random.below_bound(bound as u32));
    }
    let high = i64::from(random.next_i32());
    let drawn = (high << 32).wrapping_add(i64::from(random.next_i32()));
    (drawn % bound.cast_signed()).abs()
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
/// assert_eq!(whole.count(), halves.into_iter().map(Iterator::count).sum());
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
            maker: Maker {
                base_millis: config.base_time.as_millis(),
                delay_micros: config.delay_micros(),
                padding: config.padding,
                prices: Prices::new(),
            },
            group: config.out_of_order_group,
            ranges,
            turn: 0,
            number: 0,
            round: (0, 0, Timestamp::MIN),
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

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left);
        (left.unwrap_or(usize::MAX), left.ok())
    }
}

impl FusedIterator for NexmarkSource {}
