//! q1: bids in another currency.

use crate::catalog::nexmark::event::{Bid, NexmarkEvent};

/// Every bid with its price times 89 / 100, rounded down.
#[must_use]
pub fn q1(events: &[NexmarkEvent]) -> Vec<Bid> {
    let mut rows: Vec<Bid> = events
        .iter()
        .filter_map(NexmarkEvent::bid)
        .map(|bid| Bid {
            price: bid.price * 89 / 100,
            ..bid.clone()
        })
        .collect();
    rows.sort();
    rows
}
