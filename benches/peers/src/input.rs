//! What several peers need of the events.

use millstream::catalog::nexmark::{Auction, Person};

/// Milliseconds of Nexmark's windows.
pub(crate) const WINDOW_MILLIS: u64 = 10_000;

/// Whether q3 wants this person.
#[inline]
pub(crate) fn is_near(person: &Person) -> bool {
    matches!(person.state.as_str(), "OR" | "ID" | "CA")
}

/// Whether q3 wants this auction.
#[inline]
pub(crate) fn is_chosen(auction: &Auction) -> bool {
    auction.category == 10
}

/// Milliseconds of a time, none of which is before 1970 here.
#[inline]
pub(crate) fn millis(time: millstream::prelude::Timestamp) -> u64 {
    time.as_micros().cast_unsigned() / 1_000
}

/// The time of so many milliseconds.
#[inline]
pub(crate) fn timestamp(millis: u64) -> millstream::prelude::Timestamp {
    millstream::prelude::Timestamp::from_millis(millis.cast_signed())
}
