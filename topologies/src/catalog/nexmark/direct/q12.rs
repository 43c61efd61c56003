//! q12: how many bids of each bidder are worked on in ten seconds.

use std::collections::BTreeMap;

use millstream_engine::time::Timestamp;

use super::windows::window;
use crate::catalog::nexmark::event::NexmarkEvent;
use crate::catalog::nexmark::rows::BidderWindow;

/// The bids per bidder and ten seconds of processing time. Each event comes with the time at which it was
/// worked on, since that is not in the event.
#[must_use]
pub fn q12(events: &[(Timestamp, NexmarkEvent)]) -> Vec<BidderWindow> {
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    for (time, event) in events {
        if let Some(bid) = event.bid() {
            *counts.entry((window(*time, 10), bid.bidder)).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .map(|((window, bidder), bids)| BidderWindow {
            window,
            bidder,
            bids,
        })
        .collect()
}
