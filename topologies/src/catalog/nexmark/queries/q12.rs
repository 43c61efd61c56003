//! q12: bids per bidder and ten seconds of processing time.

use std::sync::Arc;
use std::time::Duration;

use millstream_operators::function::count;
use millstream_operators::window::Tumbling;

use super::super::event::NexmarkEvent;
use super::super::rows::BidderWindow;
use super::{Events, Tally};

/// Goes by the engine's clock: how many rows there are depends on how fast the events come.
pub(super) fn q12(events: Events, tally: &Arc<Tally>) {
    events
        .filter_map(NexmarkEvent::into_bid)
        .map(|bid| bid.bidder)
        .key_by(|bidder| *bidder)
        .window(Tumbling::of(Duration::from_secs(10)).in_processing_time())
        .aggregate(count())
        .map(|counted| BidderWindow {
            window: counted.window.start,
            bidder: counted.key,
            bids: counted.value,
        })
        .end(tally.sink());
}
