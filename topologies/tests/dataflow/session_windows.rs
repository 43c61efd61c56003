//! Session windows against a model that sorts all items of a key.

use std::collections::BTreeMap;

use millstream::dataflow::{Dataflow, DataflowFault, Driver, Feed, Retracting, WindowKind};
use millstream_operators::function::{fold, reduce};
use millstream_operators::window::{Revision, Session, Trigger, Triggered};
use proptest::prelude::*;

use crate::revisions::{Outcome, Sums, Value, dense_case, outcome, trigger};
use crate::support::{Case, Item, seconds, secs};

/// An item is late if a session of its own would have been over; all others are sorted and split at the gaps.
fn model(case: &Case, gap: i64, lateness: i64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut keys: BTreeMap<u8, Vec<(i64, i64)>> = BTreeMap::new();
    for (time, item, watermark) in case.items() {
        if time + gap + lateness <= watermark {
            outcome.late.push((time, item));
        } else {
            keys.entry(item.0).or_default().push((time, item.1));
        }
    }
    for (key, mut items) in keys {
        items.sort_unstable();
        let mut sessions: Vec<(i64, i64, Value)> = Vec::new();
        for (time, value) in items {
            match sessions.last_mut() {
                Some((_, end, sums)) if time < *end => {
                    *end = time + gap;
                    *sums = (sums.0 + value, sums.1 + 1);
                }
                _ => sessions.push((time, time + gap, (value, 1))),
            }
        }
        for (start, end, sums) in sessions {
            outcome.windows.insert((key, start, end), sums);
        }
    }
    outcome.late.sort_unstable();
    outcome
}

fn run<W: WindowKind>(case: &Case, window: W, retracting: bool) -> Outcome {
    let (given, loads) = case.shape.run_and_look(&case.input(), |flow, feed| {
        let late = flow.side_output::<Item>("late");
        let results = feed
            .source(flow)
            .stream()
            .key_by(|item| item.0)
            .window(window)
            .late_to(&late)
            .aggregate(Sums)
            .collect();
        (results, flow.side(&late).collect())
    });
    outcome(&given, &loads, retracting)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn sessions_agree_with_the_model(
        case in dense_case(60), gap in 1u64..8, lateness in 0u64..8, retracting in any::<bool>()
    ) {
        let mut window = Session::gap(secs(gap)).allowed_lateness(secs(lateness));
        if retracting {
            window = window.retracting();
        }
        let expected = model(&case, gap as i64, lateness as i64);
        prop_assert_eq!(run(&case, window, retracting), expected);
    }

    #[test]
    fn triggered_sessions_agree_with_the_model(
        case in dense_case(60), gap in 1u64..8, lateness in 0u64..8, retracting in any::<bool>(), trigger in trigger()
    ) {
        let window = Session::gap(secs(gap)).allowed_lateness(secs(lateness));
        let mut window = Triggered::new(window, trigger);
        if retracting {
            window = Retracting::retracting(window);
        }
        let expected = model(&case, gap as i64, lateness as i64);
        prop_assert_eq!(run(&case, window, retracting), expected);
    }
}

/// Start, end, count and revision of each result for items without values, at the clock's own pace.
fn told(
    window: impl WindowKind,
    drive: impl FnOnce(&Feed<Item>, &mut dyn FnMut(u64)),
) -> Vec<(i64, i64, u64, Revision)> {
    let feed = Feed::new(1);
    let mut results = None;
    let dataflow = Dataflow::build("test", |flow| {
        let stream = flow.source("items", feed.clone()).stream();
        let keyed = stream.key_by(|item: &Item| item.0).partitions(1);
        results = Some(keyed.window(window).aggregate(Sums).collect());
    });
    let mut driver = Driver::new(dataflow.unwrap()).unwrap();
    drive(&feed, &mut |pass| driver.advance(secs(pass)).unwrap());
    let results = results.unwrap().take_items();
    let told = results.iter().map(|result| {
        let start = result.window.start.as_micros() / 1_000_000;
        let end = result.window.end.as_micros() / 1_000_000;
        (start, end, result.value.1, result.revision)
    });
    told.collect()
}

#[test]
fn a_late_item_that_joins_two_sessions_takes_both_back() {
    let window = Session::gap(secs(10)).allowed_lateness(secs(60));
    let told = told(window, |feed, step| {
        feed.push(0, seconds(0), (1, 0));
        feed.push(0, seconds(15), (1, 0));
        feed.watermark(0, seconds(30));
        step(0);
        feed.push(0, seconds(8), (1, 0));
        feed.push(0, seconds(9), (1, 0));
        step(0);
    });
    let expected = [
        (0, 10, 1, Revision::OnTime),
        (15, 25, 1, Revision::OnTime),
        (0, 10, 1, Revision::Retraction),
        (15, 25, 1, Revision::Retraction),
        (0, 25, 3, Revision::Late),
        (0, 25, 4, Revision::Late),
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_item_that_is_behind_but_not_late_goes_on_with_a_session_that_was_given_out() {
    let told = told(Session::gap(secs(10)), |feed, step| {
        feed.push(0, seconds(0), (1, 0));
        feed.watermark(0, seconds(12));
        step(0);
        feed.push(0, seconds(5), (1, 0));
        step(0);
        feed.watermark(0, seconds(15));
        step(0);
    });
    let expected = [
        (0, 10, 1, Revision::OnTime),
        (0, 10, 1, Revision::Retraction),
        (0, 15, 2, Revision::OnTime),
    ];
    assert_eq!(told, expected);
}

#[test]
fn early_results_come_by_count_and_by_the_clock() {
    let trigger = Trigger::at_watermark().early_every(secs(5)).early_count(2);
    let told = told(
        Triggered::new(Session::gap(secs(10)), trigger),
        |feed, step| {
            feed.push(0, seconds(0), (1, 0));
            feed.push(0, seconds(0), (1, 0));
            feed.push(0, seconds(1), (1, 0));
            step(1);
            step(4);
            step(20);
            feed.watermark(0, seconds(11));
            step(0);
        },
    );
    let expected = [
        (0, 10, 2, Revision::Early),
        (0, 10, 2, Revision::Retraction),
        (0, 11, 3, Revision::Early),
        (0, 11, 3, Revision::OnTime),
    ];
    assert_eq!(told, expected);
}

#[test]
fn sessions_in_processing_time_end_when_nothing_comes_for_the_gap() {
    let window = Session::gap(secs(10)).in_processing_time();
    let told = told(window, |feed, step| {
        feed.push(0, seconds(500), (1, 0));
        step(3);
        feed.push(0, seconds(100), (1, 0));
        step(4);
        step(9);
        step(1);
        feed.push(0, seconds(100), (1, 0));
        step(0);
        step(9);
        step(1);
    });
    let expected = [(0, 13, 2, Revision::OnTime), (17, 27, 1, Revision::OnTime)];
    assert_eq!(told, expected);
}

#[test]
fn a_function_that_does_not_merge_is_refused() {
    let build = |merges: bool| {
        Dataflow::build("test", |flow| {
            let keyed = flow
                .source("items", Feed::<Item>::new(1))
                .stream()
                .key_by(|item| item.0)
                .named("visits")
                .window(Session::gap(secs(1)));
            if merges {
                keyed
                    .aggregate(reduce(|a: &Item, b: &Item| (*a).max(*b)))
                    .collect();
            } else {
                keyed
                    .aggregate(fold(0, |sum: &mut i64, item: &Item| *sum += item.1))
                    .collect();
            }
        })
    };
    assert!(build(true).is_ok());
    let faults = build(false).unwrap_err().faults;
    let [DataflowFault::Impossible { place, reason }] = &faults[..] else {
        panic!("{faults:?}");
    };
    assert_eq!(place, "a window named \"visits\"");
    assert!(reason.contains("does not merge"), "{reason}");
}
