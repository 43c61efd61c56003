//! Joins by event time: what comes out must not depend on how the sides are interleaved.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream::dataflow::{Dataflow, DataflowFault, Driver, Feed};
use millstream_engine::flow::Side;
use millstream_operators::function::sum;
use millstream_operators::window::{Sliding, Tumbling, Windowed};
use proptest::prelude::*;

use super::support::{LateItems, Seen, TwoCases, in_seconds, late_items, sorted, two_cases};
use crate::support::{Item, case, seconds, secs};

/// Key, left value, right value.
type Pair = (u8, Option<i64>, Option<i64>);

fn pair(key: &u8, left: Option<&Item>, right: Option<&Item>) -> Pair {
    (*key, left.map(|item| item.1), right.map(|item| item.1))
}

fn key(item: &Item) -> u8 {
    item.0
}

struct Expected<T> {
    results: Vec<T>,
    late: LateItems,
}

fn interval_model(cases: &TwoCases, before: i64, after: i64, outer: bool) -> Expected<(i64, Pair)> {
    let is_late = |seen: &Seen| seen.0 + before + after < seen.2;
    let (lefts, rights) = (cases.left.items(), cases.right.items());
    let mut results = Vec::new();
    let mut matched = vec![false; rights.len()];
    for left in lefts.iter().filter(|seen| !is_late(seen)) {
        let mut is_matched = false;
        for (at, right) in rights.iter().enumerate().filter(|(_, seen)| !is_late(seen)) {
            let near = (left.0 - before..=left.0 + after).contains(&right.0);
            let in_time = right.2 <= left.0 + after && left.2 <= right.0 + before;
            if left.1.0 == right.1.0 && near && in_time {
                (is_matched, matched[at]) = (true, true);
                let pair = (left.1.0, Some(left.1.1), Some(right.1.1));
                results.push((left.0.max(right.0), pair));
            }
        }
        if outer && !is_matched {
            results.push((left.0, (left.1.0, Some(left.1.1), None)));
        }
    }
    for (right, _) in rights
        .iter()
        .zip(matched)
        .filter(|(seen, matched)| outer && !matched && !is_late(seen))
    {
        results.push((right.0, (right.1.0, None, Some(right.1.1))));
    }
    results.sort_unstable();
    let late = late_of(&lefts, &rights, is_late);
    Expected { results, late }
}

fn late_of(lefts: &[Seen], rights: &[Seen], is_late: impl Fn(&Seen) -> bool) -> LateItems {
    let late = |side: &[Seen]| {
        let late = side.iter().filter(|seen| is_late(seen));
        let mut late: Vec<_> = late.map(|seen| (seen.0, seen.1)).collect();
        late.sort_unstable();
        late
    };
    (late(lefts), late(rights))
}

/// Window end, key, left value, right value.
type InWindow = (i64, Pair);

fn window_model(cases: &TwoCases, size: i64, slide: i64, lateness: i64) -> Expected<InWindow> {
    let mut windows: BTreeMap<(i64, u8), (Vec<i64>, Vec<i64>)> = BTreeMap::new();
    let ends = |seen: &Seen| {
        let mut start = seen.0.div_euclid(slide) * slide;
        let mut ends = Vec::new();
        while start + size > seen.0 {
            ends.push(start + size);
            start -= slide;
        }
        ends
    };
    let (lefts, rights) = (cases.left.items(), cases.right.items());
    for (side, items) in [(0, &lefts), (1, &rights)] {
        for seen in items {
            for end in ends(seen).into_iter().filter(|end| end + lateness > seen.2) {
                let window = windows.entry((end, seen.1.0)).or_default();
                let values = if side == 0 {
                    &mut window.0
                } else {
                    &mut window.1
                };
                values.push(seen.1.1);
            }
        }
    }
    let mut results = Vec::new();
    for ((end, key), (lefts, rights)) in windows {
        let some = |values: Vec<i64>| match values.is_empty() {
            true => vec![None],
            false => values.into_iter().map(Some).collect(),
        };
        let (lefts, rights) = (some(lefts), some(rights));
        for left in &lefts {
            results.extend(rights.iter().map(|right| (end, (key, *left, *right))));
        }
    }
    results.sort_unstable();
    let is_late = |seen: &Seen| {
        let ends = ends(seen);
        !ends.is_empty() && ends.iter().all(|end| end + lateness <= seen.2)
    };
    let late = late_of(&lefts, &rights, is_late);
    Expected { results, late }
}

macro_rules! window_join {
    ($cases:expr, $window:expr, $kind:ident, $function:expr) => {{
        let (results, late) = $cases.run(|flow, left, right| {
            let late = flow.side_output::<Side<Item, Item>>("late");
            let right = flow.source("right", right.clone()).stream().key_by(key);
            let left = flow.source("left", left.clone()).stream().key_by(key);
            let joined = left
                .join(right)
                .window($window)
                .late_to(&late)
                .$kind($function);
            (joined.collect(), flow.side(&late).collect())
        });
        let results = results.take().into_iter().map(|(time, result)| {
            assert_eq!(time, result.window.last());
            (in_seconds(result.window.end), result.value)
        });
        let mut results: Vec<_> = results.collect();
        results.sort();
        (results, late_items(&late))
    }};
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn interval_joins_agree_with_the_model(
        cases in two_cases(40), before in 0u64..8, after in 0u64..8, outer: bool
    ) {
        let expected = interval_model(&cases, before as i64, after as i64, outer);
        let (results, late) = cases.run(|flow, left, right| {
            let late = flow.side_output::<Side<Item, Item>>("late");
            let right = flow.source("right", right.clone()).stream().key_by(key);
            let left = flow.source("left", left.clone()).stream().key_by(key);
            let join = left.interval_join(right).between(secs(before), secs(after)).late_to(&late);
            let results = if outer {
                join.full(pair).collect()
            } else {
                join.inner(|key, left, right| pair(key, Some(left), Some(right))).collect()
            };
            (results, flow.side(&late).collect())
        });
        prop_assert_eq!(sorted(&results), expected.results);
        prop_assert_eq!(late_items(&late), expected.late);
    }

    #[test]
    fn tumbling_joins_agree_with_the_model(
        cases in two_cases(40), size in 1u64..12, lateness in 0u64..8
    ) {
        let window = Tumbling::of(secs(size)).allowed_lateness(secs(lateness));
        let expected = window_model(&cases, size as i64, size as i64, lateness as i64);
        let full = window_join!(cases, window, full, pair);
        prop_assert_eq!(&full.0, &expected.results);
        prop_assert_eq!(&full.1, &expected.late);
        let mut pairs = expected.results;
        pairs.retain(|(_, (_, left, _))| left.is_some());
        let left = window_join!(cases, window, left, |key, left, right| pair(key, Some(left), right));
        prop_assert_eq!(&left.0, &pairs);
        pairs.retain(|(_, (_, _, right))| right.is_some());
        let inner = window_join!(cases, window, inner, |key, left, right| pair(key, Some(left), Some(right)));
        prop_assert_eq!(&inner.0, &pairs);
    }

    #[test]
    fn sliding_joins_agree_with_the_model(
        cases in two_cases(40), size in 1u64..12, slide in 1u64..8, lateness in 0u64..8
    ) {
        let window = Sliding::of(secs(size)).every(secs(slide)).allowed_lateness(secs(lateness));
        let expected = window_model(&cases, size as i64, slide as i64, lateness as i64);
        let full = window_join!(cases, window, full, pair);
        prop_assert_eq!(&full.0, &expected.results);
        prop_assert_eq!(&full.1, &expected.late);
        let groups = window_join!(cases, window, apply, |key, _, left, right| {
            (*key, left.count(), right.count())
        });
        let mut counts = BTreeMap::new();
        for (end, (key, left, right)) in &expected.results {
            let count: &mut (usize, bool, bool) = counts.entry((*end, *key)).or_default();
            count.0 += 1;
            (count.1, count.2) = (left.is_some(), right.is_some());
        }
        for ((end, (key, left, right)), ((expected_end, expected_key), (pairs, has_left, has_right))) in
            groups.0.iter().zip(&counts)
        {
            prop_assert_eq!((end, key), (expected_end, expected_key));
            prop_assert_eq!(left.max(&1) * right.max(&1), *pairs);
            prop_assert_eq!((*left > 0, *right > 0), (*has_left, *has_right));
        }
        prop_assert_eq!(groups.0.len(), counts.len());
    }

    #[test]
    fn joins_as_of_a_time_agree_with_the_model(cases in two_cases(40), lateness in 0u64..8) {
        let is_late = |seen: &Seen| seen.0 + (lateness as i64) < seen.2;
        let (results, late) = cases.run(|flow, left, right| {
            let late = flow.side_output::<Side<Item, Item>>("late");
            let right = flow.source("right", right.clone()).stream().key_by(key);
            let left = flow.source("left", left.clone()).stream().key_by(key);
            let join = left
                .join_as_of(right)
                .allowed_lateness(secs(lateness))
                .deleted_by(|item| item.1 % 4 == 0)
                .late_to(&late);
            let results = join.left(|_, left, right| (*left, right.copied())).collect();
            (results, flow.side(&late).collect())
        });
        let (lefts, rights) = (cases.left.items(), cases.right.items());
        prop_assert_eq!(late_items(&late), late_of(&lefts, &rights, is_late));
        let results = sorted(&results);
        let mut given: Vec<_> = results.iter().map(|(time, (left, _))| (*time, *left)).collect();
        given.sort_unstable();
        let expected = lefts.iter().filter(|seen| !is_late(seen));
        let mut expected: Vec<_> = expected.map(|seen| (seen.0, seen.1)).collect();
        expected.sort_unstable();
        prop_assert_eq!(given, expected);
        for (time, (left, right)) in results {
            let valid = rights.iter().filter(|seen| {
                seen.1.0 == left.0 && !is_late(seen) && seen.0.max(seen.2) <= time
            });
            let latest = valid.clone().map(|seen| seen.0).max();
            // Of equal times of several splits either may win.
            let mut values = valid.filter(|seen| Some(seen.0) == latest).map(|seen| seen.1);
            match right {
                Some(right) => prop_assert!(values.any(|value| value == right)),
                None => prop_assert!(latest.is_none() || values.any(|value| value.1 % 4 == 0)),
            }
        }
    }

    #[test]
    fn what_a_window_gives_is_never_late_for_the_next_one(case in case(60), size in 1u64..6, times in 1u64..4) {
        let small = Tumbling::of(secs(size));
        let results = case.shape.run(&case.input(), |flow, feed| {
            let sums = feed.source(flow).stream().key_by(key).named("small").window(small);
            let sums = sums.aggregate(sum(|item: &Item| item.1));
            let all = sums.key_by(|_| ()).named("large").window(Tumbling::of(secs(size * times)));
            all.aggregate(sum(|result: &Windowed<u8, i128>| result.value)).collect()
        });
        let mut expected: BTreeMap<i64, i128> = BTreeMap::new();
        let (size, large) = (size as i64, (size * times) as i64);
        for (time, item, watermark) in case.items() {
            let end = (time.div_euclid(size) + 1) * size;
            if end > watermark {
                *expected.entry((time.div_euclid(large) + 1) * large).or_default() += i128::from(item.1);
            }
        }
        let found = results.take_items().into_iter().map(|result| (in_seconds(result.window.end), result.value));
        prop_assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
    }
}

/// A split that is silent must not hold back the windows of both sides.
#[test]
fn an_idle_split_of_one_side_does_not_stop_the_join() {
    let (left, right) = (Feed::new(1), Feed::new(2));
    let mut results = None;
    let dataflow = Dataflow::build("test", |flow| {
        let rights = flow
            .source("right", right.clone())
            .idle_after(secs(5))
            .stream()
            .key_by(key);
        let lefts = flow
            .source("left", left.clone())
            .idle_after(secs(5))
            .stream()
            .key_by(key);
        let join = lefts.join(rights).window(Tumbling::of(secs(10)));
        results = Some(join.full(pair).collect());
    });
    let mut driver = Driver::new(dataflow.unwrap()).unwrap();
    left.push(0, seconds(1), (1, 10));
    left.push(0, seconds(2), (2, 20));
    right.push(0, seconds(3), (1, 11));
    left.watermark(0, seconds(12));
    right.watermark(0, seconds(12));
    driver.run().unwrap();
    let results = results.unwrap();
    assert!(
        results.is_empty(),
        "the second split of the right side may have more"
    );
    driver.advance(Duration::from_secs(3)).unwrap();
    left.watermark(0, seconds(13));
    right.watermark(0, seconds(13));
    driver.run().unwrap();
    driver.advance(Duration::from_secs(3)).unwrap();
    let mut found: Vec<_> = results
        .take_items()
        .into_iter()
        .map(|result| result.value)
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(1, Some(10), Some(11)), (2, Some(20), None)]);
}

#[test]
fn sides_of_different_partitions_are_refused() {
    let feed = Feed::<Item>::new(1);
    let refused = Dataflow::build("test", |flow| {
        let left = flow
            .source("left", feed.clone())
            .stream()
            .key_by(key)
            .partitions(2);
        let right = flow
            .source("right", feed.clone())
            .stream()
            .key_by(key)
            .partitions(3);
        let joined = left
            .join_unbounded(right)
            .named("pairs")
            .inner(|_, left, right| (left.1, right.1));
        joined.for_each(|_, _| {});
    });
    let fault = DataflowFault::JoinPartitions {
        stage: "pairs".to_owned(),
        left: 2,
        right: 3,
    };
    assert_eq!(refused.unwrap_err().faults, [fault]);
}
