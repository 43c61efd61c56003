//! Joins over crashes.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream::dataflow::{Feed, Flow};
use millstream_engine::time::Timestamp;
use millstream_operators::function::count;
use millstream_operators::join::{Change, Update};
use millstream_operators::sink::ResultId;
use millstream_operators::window::{Sliding, Tumbling};

use crate::simulation::{Item, Outside, seeds, simulate, simulate_part, sorted};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

type Pair = (u8, Option<i64>, Option<i64>);

fn full(key: &u8, left: Option<&Item>, right: Option<&Item>) -> Pair {
    (*key, left.map(|item| item.1), right.map(|item| item.1))
}

fn left(key: &u8, left: &Item, right: Option<&Item>) -> Pair {
    (*key, Some(left.1), right.map(|item| item.1))
}

/// Declares a dataflow that joins even numbers with odd ones.
macro_rules! joins {
    ($name:ident, |$left:ident, $right:ident| $join:expr) => {
        fn $name(flow: &Flow, feed: &Feed<Item>, outside: &Outside<Pair>) {
            let outside = outside.clone();
            let items = flow.source("items", feed.clone()).partitions(1).stream();
            let ($left, $right) = items.split(|(_, number): &Item| number % 2 == 0);
            let $left = $left.key_by(|(key, _): &Item| *key);
            let $right = $right.key_by(|(key, _): &Item| *key);
            $join.deliver(move |delivery| outside.take(delivery));
        }
    };
}

joins!(interval, |evens, odds| evens
    .interval_join(odds)
    .between(seconds(4), seconds(9))
    .full(full));
joins!(tumbling, |evens, odds| evens
    .join(odds)
    .window(Tumbling::of(seconds(7)))
    .full(full)
    .map(|window| window.value));
joins!(sliding, |evens, odds| evens
    .join(odds)
    .window(Sliding::of(seconds(12)).every(seconds(5)))
    .full(full)
    .map(|window| window.value));
joins!(as_of, |evens, odds| evens.join_as_of(odds).left(left));
joins!(unbounded, |evens, odds| evens
    .join_unbounded(odds)
    .inner(|key, left, right| (*key, Some(left.1), Some(right.1))));

/// Items with how many there are in their window, of which there is one.
fn unique(flow: &Flow, feed: &Feed<Item>, outside: &Outside<Pair>) {
    let outside = outside.clone();
    let items = flow.source("items", feed.clone()).partitions(1).stream();
    let twice = items.flat_map(|(key, number): Item| {
        let item = (key, number % 4);
        [(item, true), (item, false)]
    });
    let (items, counted) = twice.split(|(_, is_item): &(Item, bool)| *is_item);
    let (items, counted) = (items.map(|(item, _)| item), counted.map(|(item, _)| item));
    let counts = counted
        .key_by(|item: &Item| *item)
        .window(Tumbling::of(seconds(1_000_000)).offset(seconds(900_000)))
        .named("counts")
        .aggregate(count())
        .map(|window| (window.key, window.value as i64))
        .key_by(|(item, _): &(Item, i64)| *item);
    items
        .key_by(|item: &Item| *item)
        .join_unbounded(counts)
        .unique_right()
        .named("unique")
        .inner(|item, _, (_, count)| (item.0, Some(item.1), Some(*count)))
        .deliver(move |delivery| outside.take(delivery));
}

type Joined = (u8, Change<Pair>);

/// Every eighth number deletes a row.
fn update((key, number): Item) -> Update<u8, i64> {
    if number % 8 < 2 {
        Update::delete(key)
    } else {
        Update::upsert(key, number)
    }
}

/// Declares a dataflow that joins the table of even numbers with that of odd ones.
macro_rules! table_joins {
    ($name:ident, |$left:ident, $right:ident| $join:expr) => {
        fn $name(flow: &Flow, feed: &Feed<Item>, outside: &Outside<Joined>) {
            let outside = outside.clone();
            let items = flow.source("items", feed.clone()).partitions(1).stream();
            let ($left, $right) = items.split(|(_, number): &Item| number % 2 == 0);
            let $right = $right.map(update);
            let $right = $right.key_by(|update: &Update<u8, i64>| update.key);
            let $left = $left.map(update);
            let $left = $left.key_by(|update: &Update<u8, i64>| update.key);
            $join
                .map(|Update { key, change }| (key, change))
                .deliver(move |delivery| outside.take(delivery));
        }
    };
}

table_joins!(tables, |evens, odds| evens.join_tables(odds).full(
    |key: &u8, left: Option<&i64>, right: Option<&i64>| (*key, left.copied(), right.copied())
));
table_joins!(foreign, |evens, odds| evens
    .join_foreign(odds, |number: &i64| (number / 2 % 6) as u8)
    .left(|key: &u8, left: &i64, right: Option<&i64>| (
        *key,
        Some(*left),
        right.copied()
    )));

/// The table that the changes end as. Numbers of a partition go on over restarts, in any number of partitions.
fn rows(results: &BTreeMap<ResultId, (Timestamp, Joined)>) -> Vec<(u8, Pair)> {
    let mut last = BTreeMap::new();
    for (id, (_, (key, change))) in results {
        let (number, kept) = last.entry(*key).or_insert((id.number, *change));
        if id.number >= *number {
            (*number, *kept) = (id.number, *change);
        }
    }
    let rows = last
        .into_iter()
        .filter_map(|(key, (_, change))| match change {
            Change::Upsert(row) => Some((key, row)),
            Change::Delete => None,
        });
    rows.collect()
}

/// Tests of a join: with the same partitions, and with others after each crash.
macro_rules! tests {
    ($($name:ident, $rescaled:ident: $join:ident;)+) => {$(
        #[test]
        pub(crate) fn $name() {
            for seed in seeds(40) {
                simulate(seed, $join, false);
            }
        }

        #[test]
        pub(crate) fn $rescaled() {
            for seed in seeds(40) {
                simulate(seed, $join, true);
            }
        }
    )+};
}

tests! {
    interval_joins, interval_joins_in_other_partitions: interval;
    tumbling_joins, tumbling_joins_in_other_partitions: tumbling;
    sliding_joins, sliding_joins_in_other_partitions: sliding;
    unbounded_joins, unbounded_joins_in_other_partitions: unbounded;
    unique_joins, unique_joins_in_other_partitions: unique;
}

/// Of two values of the same time the one that came last counts.
#[test]
pub(crate) fn as_of_joins() {
    for seed in seeds(80) {
        simulate_part(seed, as_of, seed % 2 == 0, sorted);
    }
}

#[test]
pub(crate) fn joined_tables_end_the_same() {
    for seed in seeds(40) {
        simulate_part(seed, tables, seed % 2 == 0, rows);
    }
}

#[test]
pub(crate) fn tables_joined_by_a_foreign_key_end_the_same() {
    for seed in seeds(40) {
        simulate_part(seed, foreign, seed % 2 == 0, rows);
    }
}
