//! Count and global windows, windows over all items, and windows over the results of windows.

use std::collections::BTreeMap;

use millstream::dataflow::{Dataflow, DataflowFault, Driver, Feed};
use millstream_engine::time::Timestamp;
use millstream_operators::function::{count, sum};
use millstream_operators::window::{Count, Global, Revision, Trigger, Tumbling, Windowed};
use proptest::prelude::*;

use crate::revisions::{Sums, Value, assert_no_state, dense_case, in_seconds};
use crate::support::{Case, Item, seconds, secs};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Items of one key from several splits meet in any order, but each is in one window, and all but the last
    /// window of a key are full.
    #[test]
    fn count_windows_take_every_item_once(case in dense_case(40), size in 1u64..7) {
        let window = Count::of(size).with_unfinished();
        let (results, loads) = case.shape.run_and_look(&case.input(), |flow, feed| {
            let keyed = feed.source(flow).stream().key_by(|item| item.0);
            keyed.window(window).aggregate(Sums).collect()
        });
        assert_no_state(&loads);
        let mut found: BTreeMap<u8, Value> = BTreeMap::new();
        let mut unfinished = Vec::new();
        for result in results.take_items() {
            let sums = found.entry(result.key).or_default();
            *sums = (sums.0 + result.value.0, sums.1 + result.value.1);
            if result.revision == Revision::Early {
                prop_assert!(result.value.1 < size);
                unfinished.push(result.key);
            } else {
                prop_assert_eq!(result.value.1, size);
            }
        }
        unfinished.sort_unstable();
        let distinct: Vec<_> = found.iter().filter(|(_, sums)| sums.1 % size > 0).map(|(key, _)| *key).collect();
        prop_assert_eq!(unfinished, distinct);
        prop_assert_eq!(found, by_key(&case, |_, _| true));
    }

    #[test]
    fn a_global_window_has_all_items_in_the_end(case in dense_case(40), enough in 1u64..7, every in 1u64..4) {
        let trigger = Trigger::at_watermark().early_count(enough).early_every(secs(every));
        let (results, loads) = case.shape.run_and_look(&case.input(), |flow, feed| {
            let keyed = feed.source(flow).stream().key_by(|item| item.0);
            keyed.window(Global::new()).trigger(trigger).retracting().aggregate(Sums).collect()
        });
        assert_no_state(&loads);
        let mut standing: BTreeMap<u8, Windowed<u8, Value>> = BTreeMap::new();
        for result in results.take_items() {
            if result.revision == Revision::Retraction {
                prop_assert_eq!(standing.remove(&result.key).map(|before| before.value), Some(result.value));
            } else {
                prop_assert!(standing.insert(result.key, result).is_none());
            }
        }
        prop_assert!(standing.values().all(|result| result.revision == Revision::OnTime));
        let found: BTreeMap<_, _> = standing.into_iter().map(|(key, result)| (key, result.value)).collect();
        prop_assert_eq!(found, by_key(&case, |_, _| true));
    }

    /// What a window gives out at the watermark is not late for the windows that follow, whatever came before it.
    #[test]
    fn windows_of_windows_lose_nothing(case in dense_case(60), size in 1u64..6, times in 1u64..4) {
        let outer_size = size * times;
        let ((totals, late), loads) = case.shape.run_and_look(&case.input(), |flow, feed| {
            let late = flow.side_output("late counts");
            let totals = feed
                .source(flow)
                .stream()
                .key_by(|item| item.0)
                .named("inner")
                .window(Tumbling::of(secs(size)))
                .aggregate(count())
                .window_all(Tumbling::of(secs(outer_size)))
                .named("outer")
                .late_to(&late)
                .aggregate(sum(|inner: &Windowed<u8, u64>| inner.value))
                .collect();
            (totals, flow.side(&late).collect())
        });
        assert_no_state(&loads);
        prop_assert_eq!(late.take(), Vec::<(Timestamp, Windowed<u8, u64>)>::new());
        let mut expected: BTreeMap<i64, u128> = BTreeMap::new();
        for (time, _, watermark) in case.items() {
            let size = size as i64;
            if (time.div_euclid(size) + 1) * size > watermark {
                let start = time.div_euclid(outer_size as i64) * outer_size as i64;
                *expected.entry(start).or_default() += 1;
            }
        }
        let totals = totals.take_items().into_iter();
        let found: BTreeMap<_, _> =
            totals.map(|result| (in_seconds(result.window.start), result.value)).collect();
        prop_assert_eq!(found, expected);
    }
}

fn by_key(case: &Case, wanted: impl Fn(i64, i64) -> bool) -> BTreeMap<u8, Value> {
    let mut sums: BTreeMap<u8, Value> = BTreeMap::new();
    for (time, (key, value), watermark) in case.items() {
        if wanted(time, watermark) {
            let sums = sums.entry(key).or_default();
            *sums = (sums.0 + value, sums.1 + 1);
        }
    }
    sums
}

#[test]
fn a_global_window_without_a_trigger_is_refused() {
    let dataflow = Dataflow::build("test", |flow| {
        let stream = flow.source("items", Feed::<Item>::new(1)).stream();
        stream
            .window_all(Global::new())
            .aggregate(count())
            .collect();
    });
    let faults = dataflow.unwrap_err().faults;
    assert!(
        matches!(&faults[..], [DataflowFault::Impossible { place, reason }]
            if place == "a window" && reason.contains(".trigger(")),
        "{faults:?}"
    );
}

#[test]
fn windows_over_all_items_have_one_result_each() {
    let feed = Feed::new(3);
    let mut counts = None;
    let dataflow = Dataflow::build("test", |flow| {
        let stream = flow.source("items", feed.clone()).stream();
        let windowed = stream.window_all(Tumbling::of(secs(10))).pre_aggregated();
        counts = Some(windowed.aggregate(count()).collect());
    });
    let mut driver = Driver::new(dataflow.unwrap()).unwrap();
    for split in 0..3 {
        for second in 0..20 {
            feed.push(split, seconds(second), second);
        }
    }
    feed.end_all();
    driver.run().unwrap();
    let counts = counts.unwrap().take_items();
    let mut counts: Vec<_> = counts
        .iter()
        .map(|result| (in_seconds(result.window.start), result.value))
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [(0, 30), (10, 30)]);
}
