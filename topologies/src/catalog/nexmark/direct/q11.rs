//! q11: how many bids people make in one go.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::catalog::nexmark::event::NexmarkEvent;
use crate::catalog::nexmark::rows::BidderSession;

const GAP: Duration = Duration::from_secs(10);

/// The bids per bidder and session. A session ends ten seconds after its last bid; a bid at that very
/// moment begins another.
#[must_use]
pub fn q11(events: &[NexmarkEvent]) -> Vec<BidderSession> {
    let mut times: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for bid in events.iter().filter_map(NexmarkEvent::bid) {
        times.entry(bid.bidder).or_default().push(bid.date_time);
    }
    let mut rows: Vec<BidderSession> = Vec::new();
    for (bidder, mut times) in times {
        times.sort();
        for time in times {
            match rows.last_mut() {
                Some(row) if row.bidder == bidder && time < row.end => {
                    row.end = time.saturating_add(GAP);
                    row.bids += 1;
                }
                _ => rows.push(BidderSession {
                    bidder,
                    start: time,
                    end: time.saturating_add(GAP),
                    bids: 1,
                }),
            }
        }
    }
    rows
}
