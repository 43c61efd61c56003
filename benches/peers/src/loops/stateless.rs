//! q0, q1, q2.

use millstream::catalog::nexmark::rows::SelectedBid;
use millstream::catalog::nexmark::{NexmarkEvent, NexmarkSource};

use crate::Tally;

pub(super) fn q0(source: NexmarkSource, tally: &mut Tally) {
    for generated in source {
        tally.add(&generated.event);
    }
}

pub(super) fn q1(source: NexmarkSource, tally: &mut Tally) {
    for generated in source {
        if let NexmarkEvent::Bid(mut bid) = generated.event {
            bid.price = bid.price * 89 / 100;
            tally.add(&bid);
        }
    }
}

pub(super) fn q2(source: NexmarkSource, tally: &mut Tally) {
    for generated in source {
        if let NexmarkEvent::Bid(bid) = generated.event
            && bid.auction % 123 == 0
        {
            tally.add(&SelectedBid {
                auction: bid.auction,
                price: bid.price,
            });
        }
    }
}
