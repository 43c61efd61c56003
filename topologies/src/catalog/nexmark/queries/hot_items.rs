//! q5: the auctions with most bids per window.

use std::sync::Arc;
use std::time::Duration;

use millstream_operators::function::{count, max_all};
use millstream_operators::window::{Sliding, Tumbling, Windowed};

use super::super::event::NexmarkEvent;
use super::super::rows::HotItem;
use super::{Events, Tally};

/// Counts per auction over ten seconds, one window every `every` seconds; of each window the highest, ties kept. The
/// counts of one window have the same time, and no other window ends in the `every` seconds around it.
pub(super) fn q5(events: Events, every: u64, tally: &Arc<Tally>) {
    let every = Duration::from_secs(every);
    let counts = events
        .filter_map(NexmarkEvent::into_bid)
        .map(|bid| bid.auction)
        .key_by(|auction| *auction)
        .named("bids per auction")
        .window(Sliding::of(Duration::from_secs(10)).every(every))
        .aggregate(count());
    counts
        .key_by(|_| ())
        .partitions(1)
        .named("most bids")
        .window(Tumbling::of(every))
        // Each partition sends its own highest, not every count.
        .pre_aggregated()
        .aggregate(max_all(|counted: &Windowed<u64, u64>| counted.value))
        .flat_map(|most| most.value)
        .map(|counted| HotItem {
            window: counted.window.start,
            auction: counted.key,
            bids: counted.value,
        })
        .end(tally.sink());
}
