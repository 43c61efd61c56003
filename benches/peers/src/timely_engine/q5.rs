//! q5: counts per auction and pane where the auction is, then the most of each worker to where the window is.

use millstream::catalog::nexmark::NexmarkEvent;
use millstream::catalog::nexmark::rows::HotItem;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use super::local::Open;
use super::{Events, FastMap, Millis, spread};
use crate::input::{WINDOW_MILLIS, millis, timestamp};

/// A window's end, an auction, its bids.
type Counted = (Millis, u64, u64);

pub(super) fn q5<'scope>(
    events: Events<'scope>,
    every: Millis,
) -> StreamVec<'scope, Millis, HotItem> {
    let bids = events.flat_map(move |event| match event {
        NexmarkEvent::Bid(bid) => Some((millis(bid.date_time) / every * every, bid.auction)),
        _ => None,
    });
    most_of_all(most_of_worker(bids, every))
}

/// The auctions with most bids of each window among those that this worker has.
fn most_of_worker<'scope>(
    bids: StreamVec<'scope, Millis, (Millis, u64)>,
    every: Millis,
) -> StreamVec<'scope, Millis, Counted> {
    let by_auction = Exchange::new(|(_, auction): &(Millis, u64)| spread(*auction));
    bids.unary_frontier(by_auction, "Count", move |_, _| {
        let mut panes: std::collections::BTreeMap<Millis, FastMap<u64, u64>> = Default::default();
        let mut windows: Open<()> = Open::new();
        let mut total: FastMap<u64, u64> = FastMap::default();
        move |(input, frontier), output| {
            let port = output.output_index();
            input.for_each_stamp(|capability, batches| {
                for batch in batches {
                    for of_pane in batch.chunk_by(|a, b| a.0 == b.0) {
                        let pane = of_pane[0].0;
                        let counts = panes.entry(pane).or_insert_with(|| {
                            for end in (1..=WINDOW_MILLIS / every).map(|step| pane + step * every) {
                                windows.state(end, || capability.delayed(&end, port));
                            }
                            FastMap::default()
                        });
                        for (_, auction) in of_pane {
                            *counts.entry(*auction).or_default() += 1;
                        }
                    }
                }
            });
            while let Some((end, capability, ())) = windows.closed(frontier) {
                total.clear();
                for (auction, bids) in panes
                    .range(end - WINDOW_MILLIS..end)
                    .flat_map(|pane| pane.1)
                {
                    *total.entry(*auction).or_default() += bids;
                }
                let most = total.values().copied().max().unwrap_or(0);
                let of_most = total.iter().filter(|(_, bids)| **bids == most);
                let rows = of_most.map(|(auction, bids)| (end, *auction, *bids));
                output.session(&capability).give_iterator(rows);
                // The window's first pane is in no later one.
                panes.remove(&(end - WINDOW_MILLIS));
            }
        }
    })
}

/// The most of all workers.
fn most_of_all<'scope>(
    counted: StreamVec<'scope, Millis, Counted>,
) -> StreamVec<'scope, Millis, HotItem> {
    let by_window = Exchange::new(|(end, _, _): &Counted| spread(*end));
    counted.unary_frontier(by_window, "Most", |_, _| {
        let mut windows: Open<Vec<(u64, u64)>> = Open::new();
        move |(input, frontier), output| {
            let port = output.output_index();
            input.for_each_stamp(|capability, batches| {
                for (end, auction, bids) in batches.flat_map(|batch| batch.drain(..)) {
                    let best = windows.state(end, || capability.delayed(&end, port));
                    if best.first().is_some_and(|(_, most)| *most < bids) {
                        best.clear();
                    }
                    if best.first().is_none_or(|(_, most)| *most == bids) {
                        best.push((auction, bids));
                    }
                }
            });
            // What a window gives comes at its end, so it is complete when that time is over.
            while let Some((end, capability, best)) = windows.over(frontier) {
                let window = timestamp(end - WINDOW_MILLIS);
                let rows = best.into_iter().map(|(auction, bids)| HotItem {
                    window,
                    auction,
                    bids,
                });
                output.session(&capability).give_iterator(rows);
            }
        }
    })
}
