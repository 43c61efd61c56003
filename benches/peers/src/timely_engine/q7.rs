//! q7: the highest bids of each worker, then those of all.

use millstream::catalog::nexmark::rows::HighestBid;
use millstream::catalog::nexmark::{Bid, NexmarkEvent};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::local::Open;
use super::{Events, Millis, spread};
use crate::input::{WINDOW_MILLIS, millis, timestamp};

/// A window's end and a bid.
type Candidate = (Millis, Bid);

/// The highest bids so far; all are equally high.
type Highest = Vec<Bid>;

#[inline]
fn consider(highest: &mut Highest, bid: Bid) {
    let price = highest.first().map_or(0, |first| first.price);
    if bid.price < price {
        return;
    }
    if bid.price > price {
        highest.clear();
    }
    highest.push(bid);
}

pub(super) fn q7<'scope>(events: Events<'scope>) -> StreamVec<'scope, Millis, HighestBid> {
    highest_of_all(highest_of_worker(events))
}

fn highest_of_worker<'scope>(events: Events<'scope>) -> StreamVec<'scope, Millis, Candidate> {
    events.unary_frontier(Pipeline, "Highest of worker", |_, _| {
        let mut windows: Open<Highest> = Open::new();
        move |(input, frontier), output| {
            let port = output.output_index();
            input.for_each_stamp(|capability, batches| {
                let bids = batches.flat_map(|batch| batch.drain(..));
                let bids = bids.filter_map(|event| match event {
                    NexmarkEvent::Bid(bid) => Some(bid),
                    _ => None,
                });
                for bid in bids {
                    let end = millis(bid.date_time) / WINDOW_MILLIS * WINDOW_MILLIS + WINDOW_MILLIS;
                    consider(windows.state(end, || capability.delayed(&end, port)), bid);
                }
            });
            while let Some((end, capability, highest)) = windows.closed(frontier) {
                let rows = highest.into_iter().map(|bid| (end, bid));
                output.session(&capability).give_iterator(rows);
            }
        }
    })
}

fn highest_of_all<'scope>(
    candidates: StreamVec<'scope, Millis, Candidate>,
) -> StreamVec<'scope, Millis, HighestBid> {
    let by_window = Exchange::new(|(end, _): &Candidate| spread(*end));
    candidates.unary_frontier(by_window, "Highest", |_, _| {
        let mut windows: Open<Highest> = Open::new();
        move |(input, frontier), output| {
            let port = output.output_index();
            input.for_each_stamp(|capability, batches| {
                for (end, bid) in batches.flat_map(|batch| batch.drain(..)) {
                    consider(windows.state(end, || capability.delayed(&end, port)), bid);
                }
            });
            while let Some((end, capability, highest)) = windows.over(frontier) {
                let window = timestamp(end - WINDOW_MILLIS);
                let rows = highest.into_iter().map(|bid| HighestBid {
                    window,
                    auction: bid.auction,
                    bidder: bid.bidder,
                    price: bid.price,
                    date_time: bid.date_time,
                });
                output.session(&capability).give_iterator(rows);
            }
        }
    })
}
