//! q13: bids enriched from a table that does not change.

use std::sync::Arc;

use compact_str::CompactString;

use super::super::direct::{TABLE_ROWS, table_value};
use super::super::event::NexmarkEvent;
use super::super::rows::EnrichedBid;
use super::{Events, Tally};

/// The table is loaded once and shared by all partitions.
pub(super) fn q13(events: Events, tally: &Arc<Tally>) {
    let table: Arc<[CompactString]> = (0..TABLE_ROWS).filter_map(table_value).collect();
    events
        .filter_map(NexmarkEvent::into_bid)
        .filter_map(move |bid| {
            let value = table.get((bid.auction % TABLE_ROWS) as usize)?.clone();
            Some(EnrichedBid {
                auction: bid.auction,
                bidder: bid.bidder,
                price: bid.price,
                date_time: bid.date_time,
                value,
            })
        })
        .end(tally.sink());
}
