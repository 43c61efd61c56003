//! q5: the auctions with most bids per window.

use std::sync::Arc;
use std::time::Duration;

use millstream_operators::function::{count, max_all, sum};
use millstream_operators::window::{CountLate, Sliding, Tumbling, TumblingWindows, Windowed};

use super::super::event::NexmarkEvent;
use super::super::rows::HotItem;
use super::{Events, Tally};

/// Counts per auction over ten seconds, one window every `every` seconds; of each window the highest, ties kept.
///
/// Each partition of the source counts its own bids over `every` seconds; what crosses the exchange are those counts.
/// The counts of one window have the same time, and no other window ends in the `every` seconds around it.
pub(super) fn q5(events: Events, every: u64, tally: &Arc<Tally>) {
    let every = Duration::from_secs(every);
    let local = TumblingWindows::new(
        Tumbling::of(every),
        |auction: &u64| *auction,
        count(),
        CountLate::new(),
    );
    let counts = events
        .filter_map(NexmarkEvent::into_bid)
        .map(|bid| bid.auction)
        .then(local)
        .map(|counted| (counted.key, counted.value))
        .key_by(|(auction, _)| *auction)
        .named("bids per auction")
        .window(Sliding::of(Duration::from_secs(10)).every(every))
        .aggregate(sum(|(_, bids): &(u64, u64)| *bids));
    counts
        .key_by(|_| ())
        .partitions(1)
        .named("most bids")
        .window(Tumbling::of(every))
        .aggregate(max_all(|counted: &Windowed<u64, u128>| counted.value))
        .flat_map(|most| most.value)
        .map(|counted| HotItem {
            window: counted.window.start,
            auction: counted.key,
            bids: counted.value as u64,
        })
        .end(tally.sink());
}
