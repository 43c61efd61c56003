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

/// Times of its own for each item: of one time the order of arrival counts, which differs between splits. The place in the
/// input is put behind the seconds, so that what is late stays late.
fn apart(mut input: Vec<Vec<(Timestamp, Option<Item>)>>) -> Vec<Vec<(Timestamp, Option<Item>)>> {
    for (number, split) in input.iter_mut().enumerate() {
        for (place, (time, item)) in split.iter_mut().enumerate() {
            if item.is_some() {
                time.0 += (number * 1_000 + place) as i64;
            }
        }
    }
    input
}

/// All triples, each as the pattern says. Times in microseconds.
fn model(items: &[(i64, Item)]) -> Vec<(u8, [i64; 3])> {
    let mut found = Vec::new();
    for key in 0..8 {
        let mut of_key: Vec<_> = items
            .iter()
            .filter(|(_, item)| item.0 == key)
            .map(|(time, item)| (*time, item.1))
            .collect();
        of_key.sort_by_key(|(time, _)| *time);
        for (at, &(start, high)) in of_key.iter().enumerate().filter(|(_, item)| item.1 > 0) {
            let rest = &of_key[at + 1..];
            let Some(low) = rest.iter().position(|item| item.1 < 0) else {
                continue;
            };
            let higher = rest[low + 1..].iter().find(|item| item.1 > high);
            if let Some(&(_, higher)) = higher.filter(|(end, _)| end - start < 8_000_000) {
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
        let input = apart(case.input());
        let (matches, late) = case.shape.run(&input, |flow, feed| {
            let late = flow.side_output("late");
            let matches = feed
                .source(flow)
                .stream()
                .key_by(|item: &Item| item.0)
                .pattern(fall_and_rise())
                .late_to(&late)
                .matches()
                .collect();
            (matches, flow.side(&late).collect())
        });
        let (mut items, mut lates) = (Vec::new(), 0);
        for split in &input {
            let mut watermark = Timestamp::MIN;
            for (time, item) in split {
                match item {
                    None => watermark = watermark.max(*time),
                    Some(_) if *time < watermark => lates += 1,
                    Some(item) => items.push((time.0, *item)),
                }
            }
        }
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
        prop_assert_eq!(found, model(&items));
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
