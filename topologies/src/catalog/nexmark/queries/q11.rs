//! q11: sessions of bidders.

use std::sync::Arc;
use std::time::Duration;

use millstream_operators::function::count;
use millstream_operators::window::Session;

use super::super::event::NexmarkEvent;
use super::super::rows::BidderSession;
use super::{Events, Tally};

/// Bids per bidder that follow one another within ten seconds.
pub(super) fn q11(events: Events, tally: &Arc<Tally>) {
    events
        .filter_map(NexmarkEvent::into_bid)
        .map(|bid| bid.bidder)
        .key_by(|bidder| *bidder)
        .window(Session::gap(Duration::from_secs(10)))
        .aggregate(count())
        .map(|session| BidderSession {
            bidder: session.key,
            start: session.window.start,
            end: session.window.end,
            bids: session.value,
        })
        .end(tally.sink());
}
