//! The three kinds of events.
//!
//! Place: what the [generator](super::generator) makes and the queries read. Cost: 46 of 50 events are
//! bids, so a bid lies in the event itself and the larger kinds behind a pointer: an event is 56 bytes to
//! move, where the largest kind would make it more than three times that.

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Somebody who came to the site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Person {
    /// Number of the person, from 1000.
    pub id: u64,
    /// First and last name.
    pub name: CompactString,
    /// Address for mail.
    pub email: CompactString,
    /// Number of a credit card: four groups of four digits.
    pub credit_card: CompactString,
    /// City.
    pub city: CompactString,
    /// State, two letters.
    pub state: CompactString,
    /// When the person came: event time, whole milliseconds.
    pub date_time: Timestamp,
    /// Padding, empty unless asked for.
    pub extra: CompactString,
}

/// Something offered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Auction {
    /// Number of the auction, from 1000.
    pub id: u64,
    /// What is offered.
    pub item_name: CompactString,
    /// A longer text about it.
    pub description: CompactString,
    /// Where the bids begin, in cents.
    pub initial_bid: u64,
    /// Below this, in cents, nothing is sold.
    pub reserve: u64,
    /// When the auction opened: event time, whole milliseconds.
    pub date_time: Timestamp,
    /// When it ends, exclusive.
    pub expires: Timestamp,
    /// The person who offers.
    pub seller: u64,
    /// Category, 10 to 14.
    pub category: u64,
    /// Padding, empty unless asked for.
    pub extra: CompactString,
}

/// An offer for an auction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bid {
    /// The auction; at times one that opens a little later.
    pub auction: u64,
    /// The person who bids; at times one who comes a little later.
    pub bidder: u64,
    /// The offer, in cents.
    pub price: u64,
    /// When it was made: event time, whole milliseconds.
    pub date_time: Timestamp,
    /// Padding, empty unless asked for.
    pub extra: CompactString,
}

/// What happens on the site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NexmarkEvent {
    /// One event of 50.
    Person(Box<Person>),
    /// Three events of 50.
    Auction(Box<Auction>),
    /// 46 events of 50.
    Bid(Bid),
}

impl NexmarkEvent {
    /// Event time.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Person(person) => person.date_time,
            Self::Auction(auction) => auction.date_time,
            Self::Bid(bid) => bid.date_time,
        }
    }

    /// The person, if it is one.
    #[must_use]
    pub fn person(&self) -> Option<&Person> {
        match self {
            Self::Person(person) => Some(person),
            Self::Auction(_) | Self::Bid(_) => None,
        }
    }

    /// The auction, if it is one.
    #[must_use]
    pub fn auction(&self) -> Option<&Auction> {
        match self {
            Self::Auction(auction) => Some(auction),
            Self::Person(_) | Self::Bid(_) => None,
        }
    }

    /// The bid itself, if it is one.
    #[inline]
    #[must_use]
    pub fn into_bid(self) -> Option<Bid> {
        match self {
            Self::Bid(bid) => Some(bid),
            Self::Person(_) | Self::Auction(_) => None,
        }
    }

    /// The bid, if it is one.
    #[must_use]
    pub fn bid(&self) -> Option<&Bid> {
        match self {
            Self::Bid(bid) => Some(bid),
            Self::Person(_) | Self::Auction(_) => None,
        }
    }
}
