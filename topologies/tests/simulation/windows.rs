//! Windows over crashes.

use std::time::Duration;

use millstream::dataflow::{Feed, Flow};
use millstream_operators::function::{count, sum};
use millstream_operators::window::{Sliding, Tumbling};

use crate::simulation::{Item, Outside, seeds, simulate};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

type Row = (u8, i64, i128);

/// Counts per key in tumbling windows, added up over all keys in sliding ones.
pub(crate) fn two_stages(flow: &Flow, feed: &Feed<Item>, outside: &Outside<Row>) {
    let outside = outside.clone();
    flow.source("items", feed.clone())
        .partitions(1)
        .stream()
        .key_by(|(key, _): &Item| *key)
        .window(Tumbling::of(seconds(5)))
        .named("counts")
        .aggregate(count())
        .map(|window| (window.key % 2, window.value as i64))
        .key_by(|(half, _): &(u8, i64)| *half)
        .window(Sliding::of(seconds(20)).every(seconds(10)))
        .named("totals")
        .aggregate(sum(|(_, count): &(u8, i64)| *count))
        .map(|window| (window.key, window.window.start.as_millis(), window.value))
        .deliver(move |delivery| outside.take(delivery));
}

#[test]
pub(crate) fn windows_of_windows_give_each_result_once() {
    for seed in seeds(100) {
        simulate(seed, two_stages, false);
    }
}

#[test]
pub(crate) fn windows_of_windows_in_another_number_of_partitions() {
    for seed in seeds(100) {
        simulate(seed, two_stages, true);
    }
}
