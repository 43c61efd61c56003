//! A checksum of rows that does not depend on their order.
//!
//! Each row is written in a canonical form (numbers as 8 bytes, low byte first; texts after their length),
//! hashed by xxh3 to 64 bits, and the hashes are added up, wrapping. So parts of a result can be summed
//! where they are made and added afterwards, and a row that comes twice counts twice. It finds mistakes,
//! not attacks.

use xxhash_rust::xxh3::xxh3_64;

use super::event::{Auction, Bid, NexmarkEvent, Person};
use millstream_engine::time::Timestamp;

/// A value with one form in bytes, which says all about it.
pub trait Canonical {
    /// Puts that form behind what is in `out`.
    fn encode(&self, out: &mut Vec<u8>);
}

impl Canonical for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

impl Canonical for Timestamp {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.as_micros().to_le_bytes());
    }
}

impl Canonical for str {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u64).encode(out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Canonical for compact_str::CompactString {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }
}

/// The canonical form of a struct: its named fields, in the order given.
macro_rules! canonical {
    ($($row:ident { $($field:ident),+ })+) => {$(
        impl $crate::catalog::nexmark::checksum::Canonical for $row {
            fn encode(&self, out: &mut Vec<u8>) {
                // Names every field, so that a new one cannot be forgotten.
                let Self { $($field),+ } = self;
                $($field.encode(out);)+
            }
        }
    )+};
}
pub(super) use canonical;

canonical! {
    Person { id, name, email, credit_card, city, state, date_time, extra }
    Auction { id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra }
    Bid { auction, bidder, price, date_time, extra }
}

impl Canonical for NexmarkEvent {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Person(person) => {
                out.push(0);
                person.encode(out);
            }
            Self::Auction(auction) => {
                out.push(1);
                auction.encode(out);
            }
            Self::Bid(bid) => {
                out.push(2);
                bid.encode(out);
            }
        }
    }
}

/// Number and sum of rows.
#[derive(Clone, Debug, Default)]
pub struct Checksum {
    rows: u64,
    sum: u64,
    buffer: Vec<u8>,
}

impl Checksum {
    /// Of no row.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of all these rows.
    pub fn of<'a, R: Canonical + 'a>(rows: impl IntoIterator<Item = &'a R>) -> Self {
        let mut checksum = Self::new();
        for row in rows {
            checksum.add(row);
        }
        checksum
    }

    /// Adds a row.
    pub fn add<R: Canonical + ?Sized>(&mut self, row: &R) {
        self.buffer.clear();
        row.encode(&mut self.buffer);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(xxh3_64(&self.buffer));
    }

    /// Adds what another part has summed.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// How many rows were added.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The sum of their hashes; 0 of no row.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

impl PartialEq for Checksum {
    fn eq(&self, other: &Self) -> bool {
        (self.rows, self.sum) == (other.rows, other.sum)
    }
}

impl Eq for Checksum {}

#[cfg(test)]
mod tests {
    use super::Checksum;

    #[test]
    fn order_does_not_matter_and_repeats_do() {
        let forward = Checksum::of(&[1u64, 2, 3]);
        let backward = Checksum::of(&[3u64, 2, 1]);
        assert_eq!(forward, backward);
        assert_ne!(forward, Checksum::of(&[1u64, 2, 3, 3]));
        assert_ne!(forward, Checksum::of(&[1u64, 2, 4]));
        let mut parts = Checksum::of(&[2u64]);
        parts.merge(&Checksum::of(&[1u64, 3]));
        assert_eq!(forward, parts);
    }

    #[test]
    fn where_a_text_ends_matters() {
        use compact_str::CompactString;
        struct Two {
            first: CompactString,
            second: CompactString,
        }
        canonical! { Two { first, second } }
        let two = |first: &str, second: &str| Two {
            first: first.into(),
            second: second.into(),
        };
        assert_ne!(
            Checksum::of(&[two("ab", "c")]),
            Checksum::of(&[two("a", "bc")])
        );
    }
}
