//! q13: bids with what a table says.

use compact_str::{CompactString, ToCompactString};

use crate::catalog::nexmark::event::NexmarkEvent;
use crate::catalog::nexmark::rows::EnrichedBid;

/// Rows of the table, with the keys 0 to one less.
pub const TABLE_ROWS: u64 = 10_000;

/// The table's value for a key below [`TABLE_ROWS`], the key as a text; `None` beyond.
#[must_use]
pub fn table_value(key: u64) -> Option<CompactString> {
    (key < TABLE_ROWS).then(|| key.to_compact_string())
}

/// Every bid with the value of the table's row for its auction modulo [`TABLE_ROWS`].
#[must_use]
pub fn q13(events: &[NexmarkEvent]) -> Vec<EnrichedBid> {
    let mut rows: Vec<EnrichedBid> = events
        .iter()
        .filter_map(NexmarkEvent::bid)
        .filter_map(|bid| {
            Some(EnrichedBid {
                auction: bid.auction,
                bidder: bid.bidder,
                price: bid.price,
                date_time: bid.date_time,
                value: table_value(bid.auction % TABLE_ROWS)?,
            })
        })
        .collect();
    rows.sort();
    rows
}
