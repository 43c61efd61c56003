//! q1 and q2: one operator each, no exchange.

use millstream::catalog::nexmark::rows::SelectedBid;
use millstream::catalog::nexmark::{Bid, NexmarkEvent};
use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::Map;

use super::{Events, Millis};

pub(super) fn q1<'scope>(events: Events<'scope>) -> StreamVec<'scope, Millis, Bid> {
    events.flat_map(|event| match event {
        NexmarkEvent::Bid(mut bid) => {
            bid.price = bid.price * 89 / 100;
            Some(bid)
        }
        _ => None,
    })
}

pub(super) fn q2<'scope>(events: Events<'scope>) -> StreamVec<'scope, Millis, SelectedBid> {
    events.flat_map(|event| match event {
        NexmarkEvent::Bid(bid) if bid.auction % 123 == 0 => Some(SelectedBid {
            auction: bid.auction,
            price: bid.price,
        }),
        _ => None,
    })
}
