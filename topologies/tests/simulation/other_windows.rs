//! Sessions, count windows, triggers and sums before the exchange, over crashes.

use std::num::NonZeroUsize;
use std::time::Duration;

use millstream::dataflow::{Feed, Flow};
use millstream_operators::function::{collect, sum};
use millstream_operators::window::{Count, Global, Session, Sliding, Trigger, Tumbling};

use crate::settle::{Row, net, row, totals};
use crate::simulation::{Item, Outside, seeds, simulate, simulate_in_order, simulate_settled};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn number(item: &Item) -> i64 {
    item.1
}

/// A dataflow of one kind of window.
macro_rules! windows {
    ($name:ident = $window:expr $(, .$more:ident($($argument:expr),*))*) => {
        fn $name(flow: &Flow, feed: &Feed<Item>, outside: &Outside<Row>) {
            let outside = outside.clone();
            flow.source("items", feed.clone())
                .partitions(1)
                .stream()
                .key_by(|(key, _): &Item| *key)
                .window($window)
                $(.$more($($argument),*))*
                .aggregate(sum(number))
                .map(row)
                .deliver(move |delivery| outside.take(delivery));
        }
    };
}

/// Runs many seeds, in the same number of partitions and in others.
macro_rules! simulated {
    ($($name:ident: $simulate:ident($declare:ident $(, $settle:ident)?);)*) => {
        $(
            #[test]
            pub(crate) fn $name() {
                for seed in seeds(40) {
                    $simulate(seed, $declare, false $(, $settle)?);
                    $simulate(1_000 + seed, $declare, true $(, $settle)?);
                }
            }
        )*
    };
}

fn early() -> Trigger {
    let trigger = Trigger::at_watermark().early_count(3);
    trigger.early_every(Duration::from_millis(8))
}

windows!(sessions = Session::gap(seconds(3)));
windows!(
    late_sessions = Session::gap(seconds(3))
        .allowed_lateness(seconds(9))
        .retracting()
);
windows!(early_sessions = Session::gap(seconds(3)).retracting(), .trigger(early()));
windows!(sessions_by_clock = Session::gap(Duration::from_millis(6)).in_processing_time());
windows!(counts = Count::of(3));
windows!(overlapping_counts = Count::of(6).every(4));
// When what is unfinished is given out, as to event time, depends on how far the watermark had come before the end.
windows!(all_counts = Count::of(3).with_unfinished());
windows!(early_tumbling = Tumbling::of(seconds(5)), .trigger(early()), .retracting());
windows!(late_sliding = Sliding::of(seconds(6)).every(seconds(2)).allowed_lateness(seconds(9)),
    .trigger(early()), .retracting());
windows!(tumbling_by_clock = Tumbling::of(Duration::from_millis(5)).in_processing_time());
windows!(
    kept_by_clock = Tumbling::of(Duration::from_millis(5))
        .in_processing_time()
        .allowed_lateness(Duration::from_millis(40))
);
// Each item is in three windows.
windows!(
    sliding_by_clock = Sliding::of(Duration::from_millis(6))
        .every(Duration::from_millis(2))
        .in_processing_time()
);
windows!(early_by_clock = Tumbling::of(Duration::from_millis(20)).in_processing_time(),
    .trigger(early()), .retracting());
windows!(global = Global::new(), .trigger(early()), .retracting());
windows!(tumbling_sums = Tumbling::of(seconds(5)), .pre_aggregated(),
    .capacity(NonZeroUsize::new(3).unwrap()));
windows!(sliding_sums = Sliding::of(seconds(6)).every(seconds(2)), .pre_aggregated());

simulated! {
    sessions_find_what_belongs_together: simulate_settled(sessions, net);
    sessions_take_back_what_they_gave: simulate_settled(late_sessions, net);
    sessions_with_early_results: simulate_settled(early_sessions, net);
    sessions_by_the_clock_lose_nothing: simulate_settled(sessions_by_clock, totals);
    count_windows_in_order: simulate_in_order(counts);
    count_windows_of_several_sources_lose_nothing: simulate_settled(all_counts, totals);
    overlapping_count_windows_in_order: simulate_in_order(overlapping_counts);
    triggers_of_tumbling_windows: simulate_settled(early_tumbling, net);
    triggers_of_sliding_windows_with_late_items: simulate_settled(late_sliding, net);
    tumbling_windows_by_the_clock_lose_nothing: simulate_settled(tumbling_by_clock, totals);
    windows_by_the_clock_that_are_kept_lose_nothing: simulate_settled(kept_by_clock, totals);
    sliding_windows_by_the_clock_lose_nothing: simulate_settled(sliding_by_clock, totals);
    triggers_by_the_clock_lose_nothing: simulate_settled(early_by_clock, totals);
    global_windows_lose_nothing: simulate_settled(global, totals);
    sums_before_the_exchange: simulate(tumbling_sums);
    sums_of_sliding_windows_before_the_exchange: simulate(sliding_sums);
}

/// A function that does not merge, in order.
fn collected(flow: &Flow, feed: &Feed<Item>, outside: &Outside<(u8, Vec<Item>)>) {
    let outside = outside.clone();
    flow.source("items", feed.clone())
        .partitions(1)
        .stream()
        .key_by(|(key, _): &Item| *key)
        .window(Count::of(5).every(2))
        .aggregate(collect())
        .map(|result| (result.key, result.value))
        .deliver(move |delivery| outside.take(delivery));
}

simulated! {
    count_windows_keep_the_order_of_items: simulate_in_order(collected);
}
