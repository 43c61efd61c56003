//! Windows whose items are summed up before the exchange give what they give without, and fewer items cross.

use std::num::NonZeroUsize;

use millstream::dataflow::{Dataflow, DataflowFault, Driver, Feed, FlowOptions, WindowKind};
use millstream_engine::flow::Ascending;
use millstream_operators::function::{count, fold};
use millstream_operators::window::{Slicing, Sliding, Tumbling};
use proptest::prelude::*;

use crate::aligned_windows::model;
use crate::revisions::{Outcome, Sums, assert_no_state, dense_case, outcome};
use crate::support::{Case, Item, Shape, seconds, secs};

fn run<W: WindowKind + Into<Slicing> + Copy>(case: &Case, window: W, capacity: usize) -> Outcome {
    let capacity = NonZeroUsize::new(capacity).unwrap();
    let (given, loads) = case.shape.run_and_look(&case.input(), |flow, feed| {
        let late = flow.side_output::<Item>("late");
        let results = feed
            .source(flow)
            .stream()
            .key_by(|item| item.0)
            .window(window)
            .late_to(&late)
            .pre_aggregated()
            .capacity(capacity)
            .aggregate(Sums)
            .collect();
        (results, flow.side(&late).collect())
    });
    outcome(&given, &loads, false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn tumbling_windows_agree_with_the_model(
        case in dense_case(60), size in 1u64..12, lateness in 0u64..12, capacity in 1usize..20
    ) {
        let window = Tumbling::of(secs(size)).allowed_lateness(secs(lateness));
        let expected = model(&case, size as i64, size as i64, lateness as i64);
        prop_assert_eq!(run(&case, window, capacity), expected);
    }

    #[test]
    fn sliding_windows_agree_with_the_model(
        case in dense_case(60), size in 1u64..15, slide in 1u64..8, lateness in 0u64..12, capacity in 1usize..20
    ) {
        let window = Sliding::of(secs(size)).every(secs(slide)).allowed_lateness(secs(lateness));
        let expected = model(&case, size as i64, slide as i64, lateness as i64);
        prop_assert_eq!(run(&case, window, capacity), expected);
    }
}

/// A sender that was idle sums up what the others take for late: it is counted, as it would be without summing up.
#[test]
fn sums_of_a_sender_that_was_idle_may_be_late() {
    for (partitions, pre_aggregated) in [(2, true), (1, true), (2, false)] {
        let feed: Feed<Item> = Feed::new(2);
        let options = FlowOptions {
            partitions,
            ..FlowOptions::default()
        };
        let mut results = None;
        let dataflow = Dataflow::build_with("test", options, |flow| {
            let items = flow
                .source("items", feed.clone())
                .watermarks(Ascending::new())
                .idle_after(secs(30))
                .stream();
            let windows = items.key_by(|item| item.0).window(Tumbling::of(secs(10)));
            results = Some(if pre_aggregated {
                windows.pre_aggregated().aggregate(count()).collect()
            } else {
                windows.aggregate(count()).collect()
            });
        });
        let results = results.unwrap();
        let mut driver = Driver::new(dataflow.unwrap()).unwrap();
        let push = |split, time| feed.push(split, seconds(time), (1, 0));
        push(0, 50);
        push(1, 50);
        driver.run().unwrap();
        driver.advance(secs(30)).unwrap();
        push(0, 100);
        driver.run().unwrap();
        push(1, 60);
        push(1, 61);
        push(1, 105);
        driver.run().unwrap();
        feed.end_all();
        driver.run().unwrap();
        assert!(driver.is_ended());
        assert_no_state(&driver.loads());
        let results = results.take_items().into_iter();
        let mut counts: Vec<_> = results
            .map(|window| (window.window.start.as_millis() / 1_000, window.value))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [(50, 2), (100, 2)]);
    }
}

/// 10,000 items of a few hot keys in ten windows: those that reach the stage behind the exchange.
fn crossing(pre_aggregated: bool) -> (u64, u64) {
    let input = (0..10_000i64).map(|number| {
        let key = if number % 10 < 9 {
            0
        } else {
            (number % 100 / 10) as u8
        };
        (seconds(number / 100), Some((key, 1)))
    });
    let shape = Shape {
        partitions: 2,
        ..Shape::plain(256, 100_000)
    };
    let (results, loads) = shape.run_and_look(&[input.collect()], |flow, feed| {
        let windowed = feed
            .source(flow)
            .stream()
            .key_by(|item: &Item| item.0)
            .window(Tumbling::of(secs(10)));
        if pre_aggregated {
            windowed.pre_aggregated().aggregate(count()).collect()
        } else {
            windowed.aggregate(count()).collect()
        }
    });
    let counted = results.take_items().iter().map(|result| result.value).sum();
    let behind = loads.iter().filter(|load| load.stage.ends_with("window"));
    (behind.map(|load| load.items_total).sum(), counted)
}

#[test]
fn fewer_items_cross_the_exchange() {
    assert_eq!(crossing(false), (10_000, 10_000));
    // Ten keys in ten windows; the slices of a key are sent once or, when the source goes idle between, twice.
    let (sent, counted) = crossing(true);
    assert_eq!(counted, 10_000);
    assert!(sent <= 200, "{sent} crossed");
}

#[test]
fn what_cannot_be_summed_up_ahead_is_refused() {
    let faults = |window: Tumbling, merges: bool| {
        let dataflow = Dataflow::build("test", |flow| {
            let windowed = flow
                .source("items", Feed::<Item>::new(1))
                .stream()
                .key_by(|item| item.0)
                .window(window)
                .pre_aggregated();
            if merges {
                windowed.aggregate(count()).collect();
            } else {
                let sum = fold(0, |sum: &mut i64, item: &Item| *sum += item.1);
                windowed.aggregate(sum).collect();
            }
        });
        dataflow.map_or_else(|invalid| invalid.faults, |_| Vec::new())
    };
    let window = Tumbling::of(secs(1));
    assert_eq!(faults(window, true), []);
    for (window, merges) in [(window, false), (window.in_processing_time(), true)] {
        let faults = faults(window, merges);
        assert!(
            matches!(&faults[..], [DataflowFault::Impossible { reason, .. }] if reason.contains("leave out")),
            "{faults:?}"
        );
    }
}
