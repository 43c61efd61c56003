//! q7: the highest bids.

use std::collections::BTreeMap;

use super::windows::window;
use crate::catalog::nexmark::event::{Bid, NexmarkEvent};
use crate::catalog::nexmark::rows::HighestBid;

/// The bids at the highest price of each window of ten seconds, all that are equally high.
#[must_use]
pub fn q7(events: &[NexmarkEvent]) -> Vec<HighestBid> {
    let mut windows: BTreeMap<_, Vec<&Bid>> = BTreeMap::new();
    for bid in events.iter().filter_map(NexmarkEvent::bid) {
        windows
            .entry(window(bid.date_time, 10))
            .or_default()
            .push(bid);
    }
    let mut rows = Vec::new();
    for (window, bids) in windows {
        let highest = bids.iter().map(|bid| bid.price).max();
        for bid in bids.into_iter().filter(|bid| Some(bid.price) == highest) {
            rows.push(HighestBid {
                window,
                auction: bid.auction,
                bidder: bid.bidder,
                price: bid.price,
                date_time: bid.date_time,
            });
        }
    }
    rows.sort();
    rows
}
