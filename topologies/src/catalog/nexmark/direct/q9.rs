//! q9: who won.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::catalog::nexmark::event::{Auction, Bid, NexmarkEvent};
use crate::catalog::nexmark::rows::WinningBid;

/// The winning bid of each auction that has one: at least the reserve and before the end, though it may be
/// from before the auction opened; of these the highest price, then the earliest, then the lowest bidder.
#[must_use]
pub fn q9(events: &[NexmarkEvent]) -> Vec<WinningBid> {
    winning(events, |auction, bid| {
        bid.price >= auction.reserve && bid.date_time < auction.expires
    })
}

/// The same without a reserve, and with bids from the auction's opening to its end, both inclusive.
#[must_use]
pub fn q9_flink(events: &[NexmarkEvent]) -> Vec<WinningBid> {
    winning(events, |auction, bid| {
        (auction.date_time..=auction.expires).contains(&bid.date_time)
    })
}

fn winning(events: &[NexmarkEvent], valid: fn(&Auction, &Bid) -> bool) -> Vec<WinningBid> {
    let mut bids: BTreeMap<u64, Vec<&Bid>> = BTreeMap::new();
    for bid in events.iter().filter_map(NexmarkEvent::bid) {
        bids.entry(bid.auction).or_default().push(bid);
    }
    let mut rows = Vec::new();
    for auction in events.iter().filter_map(NexmarkEvent::auction) {
        let best = bids
            .get(&auction.id)
            .into_iter()
            .flatten()
            .filter(|bid| valid(auction, bid))
            .min_by_key(|bid| (Reverse(bid.price), bid.date_time, bid.bidder));
        if let Some(bid) = best {
            rows.push(WinningBid {
                auction: auction.id,
                seller: auction.seller,
                category: auction.category,
                expires: auction.expires,
                bidder: bid.bidder,
                price: bid.price,
                date_time: bid.date_time,
            });
        }
    }
    rows.sort();
    rows
}
