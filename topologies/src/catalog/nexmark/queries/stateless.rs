//! q0, q1, q2: what needs no state.

use std::sync::Arc;

use super::super::event::NexmarkEvent;
use super::super::rows::SelectedBid;
use super::{Events, Tally};

/// Every event.
pub(super) fn q0(events: Events, tally: &Arc<Tally>) {
    events.end(tally.sink());
}

/// Every bid, with its price times 89 / 100 in whole numbers.
pub(super) fn q1(events: Events, tally: &Arc<Tally>) {
    events
        .filter_map(|event| match event {
            NexmarkEvent::Bid(mut bid) => {
                bid.price = bid.price * 89 / 100;
                Some(bid)
            }
            _ => None,
        })
        .end(tally.sink());
}

/// Bids whose auction is a multiple of 123.
pub(super) fn q2(events: Events, tally: &Arc<Tally>) {
    events
        .filter_map(|event| match event {
            NexmarkEvent::Bid(bid) if bid.auction % 123 == 0 => Some(SelectedBid {
                auction: bid.auction,
                price: bid.price,
            }),
            _ => None,
        })
        .end(tally.sink());
}
