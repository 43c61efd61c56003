//! q2: bids on some auctions.

use crate::catalog::nexmark::event::NexmarkEvent;
use crate::catalog::nexmark::rows::SelectedBid;

/// The bids on auctions whose number is a multiple of 123.
#[must_use]
pub fn q2(events: &[NexmarkEvent]) -> Vec<SelectedBid> {
    let mut rows: Vec<SelectedBid> = events
        .iter()
        .filter_map(NexmarkEvent::bid)
        .filter(|bid| bid.auction % 123 == 0)
        .map(|bid| SelectedBid {
            auction: bid.auction,
            price: bid.price,
        })
        .collect();
    rows.sort();
    rows
}
