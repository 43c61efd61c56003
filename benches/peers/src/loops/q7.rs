//! q7: the highest bids so far, until the window ends.

use millstream::catalog::nexmark::rows::HighestBid;
use millstream::catalog::nexmark::{Bid, NexmarkEvent, NexmarkSource};

use crate::Tally;
use crate::input::{WINDOW_MILLIS, millis, timestamp};

fn close(end: u64, highest: &mut Vec<Bid>, tally: &mut Tally) {
    for bid in highest.drain(..) {
        tally.add(&HighestBid {
            window: timestamp(end - WINDOW_MILLIS),
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
        });
    }
}

pub(super) fn q7(source: NexmarkSource, tally: &mut Tally) {
    let mut end = 0;
    let mut price = 0;
    let mut highest: Vec<Bid> = Vec::new();
    for generated in source {
        let NexmarkEvent::Bid(bid) = generated.event else {
            continue;
        };
        let time = millis(bid.date_time);
        if time >= end {
            close(end, &mut highest, tally);
            end = time / WINDOW_MILLIS * WINDOW_MILLIS + WINDOW_MILLIS;
            price = 0;
        }
        if bid.price >= price {
            if bid.price > price {
                highest.clear();
                price = bid.price;
            }
            highest.push(bid);
        }
    }
    close(end, &mut highest, tally);
}
