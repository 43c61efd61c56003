//! Patterns in dataflows of random shape: what is found depends on the items alone.

use millstream::dataflow::{Dataflow, DataflowFault, Feed};
use millstream_engine::time::Timestamp;
use millstream_operators::pattern::{Pattern, Skip};
use proptest::prelude::*;

use crate::support::{Item, case, seconds, secs};

fn fall_and_rise() -> Pattern<Item> {
    Pattern::begin("high", |item: &Item| item.1 > 0)
        .followed_by("low", |item| item.1 < 0)
        .followed_by("higher", |_| true)
        .given(|item, matched| matched.last("high").is_some_and(|high| item.1 > high.1))
        .within(secs(8))
}

/// All triples, each as the pattern says.
fn model(items: &[(i64, Item)], late_limit: impl Fn(usize) -> i64) -> Vec<(u8, [i64; 3])> {
    let mut found = Vec::new();
    for key in 0..8 {
        let mut of_key: Vec<_> = items
            .iter()
            .enumerate()
            .filter(|(at, (time, item))| item.0 == key && *time >= late_limit(*at))
            .map(|(_, (time, item))| (*time, item.1))
            .collect();
        of_key.sort_by_key(|(time, _)| *time);
        for (at, &(start, high)) in of_key.iter().enumerate().filter(|(_, item)| item.1 > 0) {
            let rest = &of_key[at + 1..];
            let Some(low) = rest.iter().position(|item| item.1 < 0) else {
                continue;
            };
            let higher = rest[low + 1..].iter().find(|item| item.1 > high);
            if let Some(&(end, higher)) = higher.filter(|(end, _)| end - start < 8) {
                let _ = end;
                found.push((key, [high, rest[low].1, higher]));
            }
        }
    }
    found.sort_unstable();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn matches_depend_on_the_items_alone(case in case(60)) {
        // Of one time the order of arrival counts, so there must be one.
        let input = vec![case.input().swap_remove(0)];
        let (matches, late) = case.shape.run(&input, |flow, feed| {
            let late = flow.side_output("late");
            let matches = flow
                .source("items", feed.clone())
                .stream()
                .key_by(|item: &Item| item.0)
                .pattern(fall_and_rise())
                .late_to(&late)
                .matches()
                .collect();
            (matches, flow.side(&late).collect())
        });
        let (mut items, mut limits, mut watermark) = (Vec::new(), Vec::new(), i64::MIN);
        for (time, item) in &input[0] {
            let time = time.0.div_euclid(1_000_000);
            match item {
                None => watermark = watermark.max(time),
                Some(item) => {
                    items.push((time, *item));
                    limits.push(watermark);
                }
            }
        }
        let lates = items.iter().zip(&limits).filter(|((time, _), limit)| time < limit).count();
        prop_assert_eq!(late.len(), lates);
        let mut found: Vec<_> = matches
            .take()
            .into_iter()
            .map(|(time, found)| {
                assert_eq!(time, found.end);
                let value = |step: &str| found.items(step)[0].1;
                (found.key, [value("high"), value("low"), value("higher")])
            })
            .collect();
        found.sort_unstable();
        prop_assert_eq!(found, model(&items, |at| limits[at]));
    }
}

#[test]
fn a_pattern_without_a_bound_is_a_fault() {
    let error = Dataflow::build("endless", |flow| {
        let feed = Feed::<Item>::new(1);
        let stream = flow.source("items", feed).stream();
        let pattern = Pattern::begin("a", |_: &Item| true).skip(Skip::ToNext);
        stream
            .key_by(|item: &Item| item.0)
            .pattern(pattern)
            .matches()
            .collect();
    })
    .unwrap_err();
    let [DataflowFault::Impossible { place, reason }] = &error.faults[..] else {
        panic!("{error}");
    };
    assert!(
        place.contains("\"a\"") && reason.contains("within"),
        "{error}"
    );
    assert!(seconds(1) > Timestamp::EPOCH);
}
