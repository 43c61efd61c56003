//! q7: the highest bids of each window.

use std::sync::Arc;
use std::time::Duration;

use millstream_operators::function::max_all;
use millstream_operators::window::{CountLate, Tumbling, TumblingWindows};

use super::super::event::NexmarkEvent;
use super::super::rows::HighestBid;
use super::{Events, Tally};

const WINDOW: Duration = Duration::from_secs(10);

/// Each partition of the source keeps the highest bids of its own, and one partition the highest of those.
pub(super) fn q7(events: Events, tally: &Arc<Tally>) {
    let highest = || max_all(|bid: &HighestBid| bid.price);
    let window = Tumbling::of(WINDOW);
    let local = TumblingWindows::new(window, |_: &HighestBid| (), highest(), CountLate::new());
    events
        .filter_map(NexmarkEvent::into_bid)
        .map(move |bid| HighestBid {
            window: window.start_of(bid.date_time),
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
        })
        .then(local)
        .flat_map(|highest| highest.value)
        .key_by(|_| ())
        .partitions(1)
        .window(window)
        .aggregate(highest())
        .flat_map(|highest| highest.value)
        .end(tally.sink());
}
