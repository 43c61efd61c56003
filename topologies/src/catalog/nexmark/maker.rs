//! One event of the reference generator, from its id and its number.
//!
//! Invariant: the order of draws is that of the reference, since each draw decides all that follow it.

use compact_str::CompactString;
use millstream_engine::time::Timestamp;

use super::config::NexmarkConfig;
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

/// What makes an event of its id and its number.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    base_millis: i64,
    delay_micros: u64,
    padding: bool,
    prices: Prices,
}

impl Maker {
    pub(super) fn new(config: &NexmarkConfig) -> Self {
        Self {
            base_millis: config.base_time.as_millis(),
            delay_micros: config.delay_micros(),
            padding: config.padding,
            prices: Prices::new(),
        }
    }

    /// Milliseconds since the epoch of a generator's event.
    #[inline]
    pub(super) fn millis(&self, number: u64) -> i64 {
        self.base_millis + (number * self.delay_micros / 1_000).cast_signed()
    }

    /// The event, whose time is [`millis`](Self::millis) of `number`.
    #[inline(always)]
    pub(super) fn make(&self, id: u64, number: u64, millis: i64) -> NexmarkEvent {
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
