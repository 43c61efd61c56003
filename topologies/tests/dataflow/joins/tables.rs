//! Joins that go by arrival: pairs of everything, and tables, of which the last state counts.

use std::collections::{BTreeMap, BTreeSet};

use millstream::dataflow::{Collected, Dataflow, Driver, Feed};
use millstream_operators::join::{Change, Update};
use proptest::prelude::*;

use super::support::{TwoCases, last_rows, sorted, two_cases};
use crate::support::{Case, Item, seconds, secs};

fn key(item: &Item) -> u8 {
    item.0
}

/// A third of the values are deletions.
fn update(item: Item) -> Update<u8, i64> {
    match item.1 % 3 {
        0 => Update::delete(item.0),
        _ => Update::upsert(item.0, item.1),
    }
}

/// The rows that an input leaves.
fn rows(case: &Case) -> BTreeMap<u8, i64> {
    let mut rows = BTreeMap::new();
    for (_, item, _) in case.items() {
        match update(item).change {
            Change::Upsert(value) => rows.insert(item.0, value),
            Change::Delete => rows.remove(&item.0),
        };
    }
    rows
}

fn found<V: Send + 'static>(results: &Collected<Update<u8, V>>) -> BTreeMap<u8, V> {
    let changes = results.take_items().into_iter();
    last_rows(changes.map(|update| match update.change {
        Change::Upsert(value) => (update.key, Some(value)),
        Change::Delete => (update.key, None),
    }))
}

fn all_pairs(cases: &TwoCases) -> Vec<(i64, (u8, i64, i64))> {
    let mut pairs = Vec::new();
    for left in cases.left.items() {
        for right in cases.right.items() {
            if left.1.0 == right.1.0 {
                pairs.push((left.0.max(right.0), (left.1.0, left.1.1, right.1.1)));
            }
        }
    }
    pairs.sort_unstable();
    pairs
}

macro_rules! join_tables {
    ($cases:expr, $kind:ident, $function:expr) => {
        found(&$cases.run(|flow, left, right| {
            let right = flow.source("right", right.clone()).stream().map(update);
            let left = flow.source("left", left.clone()).stream().map(update);
            let right = right.key_by(|update| update.key);
            left.key_by(|update| update.key)
                .join_tables(right)
                .$kind($function)
                .collect()
        }))
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn unbounded_joins_give_all_pairs(cases in two_cases(30)) {
        let results = cases.run(|flow, left, right| {
            let right = flow.source("right", right.clone()).stream().key_by(key);
            let left = flow.source("left", left.clone()).stream().key_by(key);
            left.join_unbounded(right).inner(|key, left, right| (*key, left.1, right.1)).collect()
        });
        prop_assert_eq!(sorted(&results), all_pairs(&cases));
    }

    #[test]
    fn unique_joins_give_all_pairs(cases in two_cases(30)) {
        let cases = cases.unique_right();
        let results = cases.run(|flow, left, right| {
            let right = flow.source("right", right.clone()).stream().key_by(key);
            let left = flow.source("left", left.clone()).stream().key_by(key);
            let join = left.join_unbounded(right).unique_right();
            join.inner(|key, left, right| (*key, left.1, right.1)).collect()
        });
        prop_assert_eq!(sorted(&results), all_pairs(&cases));
    }

    #[test]
    fn joined_tables_end_as_the_join_of_the_last_rows(cases in two_cases(40)) {
        let cases = cases.in_order_of_keys();
        let (lefts, rights) = (rows(&cases.left), rows(&cases.right));
        let keys: BTreeSet<_> = lefts.keys().chain(rights.keys()).copied().collect();
        let rows = keys.iter().map(|key| (*key, (lefts.get(key).copied(), rights.get(key).copied())));
        let mut expected: BTreeMap<_, _> = rows.collect();
        let full = join_tables!(cases, full, |_, left, right| (left.copied(), right.copied()));
        prop_assert_eq!(full, expected.clone());
        expected.retain(|_, (left, _)| left.is_some());
        let left = join_tables!(cases, left, |_, left, right| (Some(*left), right.copied()));
        prop_assert_eq!(left, expected.clone());
        expected.retain(|_, (_, right)| right.is_some());
        let inner = join_tables!(cases, inner, |_, left, right| (Some(*left), Some(*right)));
        prop_assert_eq!(inner, expected);
    }

    #[test]
    fn foreign_key_joins_end_as_the_join_of_the_last_rows(cases in two_cases(40), outer: bool) {
        let cases = cases.in_order_of_keys();
        let (lefts, rights) = (rows(&cases.left), rows(&cases.right));
        let foreign = |row: &i64| row.rem_euclid(5) as u8;
        let results = cases.run(|flow, left, right| {
            let right = flow.source("right", right.clone()).stream().map(update);
            let left = flow.source("left", left.clone()).stream().map(update);
            // Another number of partitions than the left side: it exchanges by itself.
            let right = right.key_by(|update| update.key).partitions(3);
            let join = left.key_by(|update| update.key).join_foreign(right, foreign);
            if outer {
                join.left(|key, left, right| (*key, *left, right.copied())).collect()
            } else {
                join.inner(|key, left, right| (*key, *left, Some(*right))).collect()
            }
        });
        let rows = lefts.iter().map(|(key, left)| (*key, (*key, *left, rights.get(&foreign(left)).copied())));
        let expected = rows.filter(|(_, (_, _, right))| outer || right.is_some());
        prop_assert_eq!(found(&results), expected.collect::<BTreeMap<_, _>>());
    }
}

#[test]
fn the_latest_row_is_met_until_its_time_is_over() {
    let (left, right) = (Feed::<Item>::new(1), Feed::<Item>::new(1));
    let mut results = None;
    let dataflow = Dataflow::build("test", |flow| {
        let rights = flow.source("right", right.clone()).stream().key_by(key);
        let lefts = flow.source("left", left.clone()).stream().key_by(key);
        let join = lefts
            .join_latest(rights)
            .time_to_live(secs(60))
            .deleted_by(|item| item.1 < 0);
        results = Some(
            join.left(|_, left, right| (left.1, right.map(|item| item.1)))
                .collect(),
        );
    });
    let results = results.unwrap();
    let mut driver = Driver::new(dataflow.unwrap()).unwrap();
    let mut meet = |rights: &[(i64, i64)], watermark: i64| {
        for (time, value) in rights {
            right.push(0, seconds(*time), (1, *value));
        }
        right.watermark(0, seconds(watermark));
        left.watermark(0, seconds(watermark));
        driver.run().unwrap();
        left.push(0, seconds(watermark), (1, watermark));
        driver.run().unwrap();
        results.take_items()[0].1
    };
    assert_eq!(meet(&[], 0), None);
    assert_eq!(
        meet(&[(10, 100), (5, 50)], 20),
        Some(100),
        "the later time counts"
    );
    assert_eq!(meet(&[], 70), Some(100));
    assert_eq!(meet(&[], 71), None, "its time is over");
    assert_eq!(meet(&[(80, 800)], 81), Some(800));
    assert_eq!(meet(&[(82, -1)], 83), None, "deleted");
    assert_eq!(meet(&[(84, 840)], 140), Some(840));
    assert_eq!(meet(&[], 144), Some(840));
    assert_eq!(meet(&[], 145), None);
}
