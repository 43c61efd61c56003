//! q5: the auctions with most bids.

use std::collections::BTreeMap;

use millstream_engine::time::Timestamp;

use super::windows::windows;
use crate::catalog::nexmark::event::NexmarkEvent;
use crate::catalog::nexmark::rows::HotItem;

/// The auctions with most bids in each window of ten seconds, one every `every_seconds`, all that have
/// equally many.
///
/// # Panics
/// When `every_seconds` is 0.
#[must_use]
pub fn q5(events: &[NexmarkEvent], every_seconds: u64) -> Vec<HotItem> {
    let mut counts: BTreeMap<Timestamp, BTreeMap<u64, u64>> = BTreeMap::new();
    for bid in events.iter().filter_map(NexmarkEvent::bid) {
        for window in windows(bid.date_time, 10, every_seconds) {
            let of_window = counts.entry(window).or_default();
            *of_window.entry(bid.auction).or_default() += 1;
        }
    }
    let mut rows = Vec::new();
    for (window, auctions) in counts {
        let most = auctions.values().copied().max().unwrap_or(0);
        for (auction, bids) in auctions {
            if bids == most {
                rows.push(HotItem {
                    window,
                    auction,
                    bids,
                });
            }
        }
    }
    rows
}
