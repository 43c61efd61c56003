//! Operators driven by hand: what they give out, item by item, and how much they hold.

use std::collections::VecDeque;
use std::time::Duration;

use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::{
    Count, CountLate, CountWindows, Revision, Session, SessionWindows, Sliding, SlidingWindows,
    Trigger, Triggered, TriggeredWindows, Tumbling, TumblingWindows, Windowed,
};
use crate::function::{collect, count, fold};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn held<T>(operator: &impl Operator<T>) -> usize {
    let mut counts = Vec::new();
    operator.state_items(&mut counts);
    counts.iter().map(|(_, items)| items).sum()
}

/// Items of a million users who come and go: user n is there from second n / 500 for about 20 seconds. Five million
/// items pass; what is held must stay within `bound`.
fn assert_constant_state<O>(mut operator: O, bound: usize)
where
    O: Operator<u64, Out = Windowed<u64, u64>>,
{
    const ITEMS: u64 = 5_000_000;
    const ITEMS_PER_SECOND: u64 = 5_000;
    let (mut random, mut most, mut counted) = (1u64, 0, 0);
    let mut out = |_: Timestamp, result: Windowed<u64, u64>| counted += result.value;
    for number in 0..ITEMS {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let second = number / ITEMS_PER_SECOND;
        let jitter = (random >> 33) as i64 % 3_000_000;
        let time = Timestamp::from_seconds(second as i64).0 - jitter;
        let user = second * 500 + (random >> 40) % 10_000;
        operator.item(Timestamp(time), user, &mut out);
        if number.is_multiple_of(ITEMS_PER_SECOND) {
            operator.watermark(Timestamp::from_seconds(second as i64 - 3), &mut out);
            most = most.max(held(&operator));
        }
    }
    assert!(most <= bound, "{most} items held at most");
    assert!(most * 10 > bound, "the bound says nothing: {most} held");
    operator.watermark(Timestamp::MAX, &mut out);
    assert_eq!(held(&operator), 0);
    assert!(counted >= ITEMS, "{counted}");
}

fn itself(item: &u64) -> u64 {
    *item
}

#[test]
fn five_million_items_in_tumbling_windows_hold_constant_state() {
    let window = Tumbling::of(secs(10)).allowed_lateness(secs(5));
    // Users of about 28 seconds at 500 per second in each of three windows at most.
    let operator = TumblingWindows::new(window, itself, count(), CountLate::new());
    assert_constant_state(operator, 3 * 15_000);
}

#[test]
fn five_million_items_in_sliding_windows_hold_constant_state() {
    let window = Sliding::of(secs(10)).every(secs(2));
    let operator = SlidingWindows::new(window, itself, count(), CountLate::new());
    assert_constant_state(operator, 8 * 12_000);
}

#[test]
fn five_million_items_in_sessions_hold_constant_state() {
    let window = Session::gap(secs(4));
    let operator = SessionWindows::new(window, itself, count(), CountLate::new());
    assert_constant_state(operator, 80_000);
}

#[test]
fn late_results_are_taken_back_first_if_that_is_asked_for() {
    let mut results = Vec::new();
    let mut out = |_: Timestamp, result: Windowed<u64, u64>| {
        results.push((
            result.window.start.as_micros() / 1_000_000,
            result.value,
            result.revision,
        ));
    };
    let window = Tumbling::of(secs(10))
        .allowed_lateness(secs(60))
        .retracting();
    let mut tumbling = TumblingWindows::new(window, itself, count(), CountLate::new());
    tumbling.item(Timestamp::from_seconds(1), 7, &mut out);
    tumbling.watermark(Timestamp::from_seconds(10), &mut out);
    tumbling.item(Timestamp::from_seconds(2), 7, &mut out);
    let window = Sliding::of(secs(10))
        .every(secs(5))
        .allowed_lateness(secs(60))
        .retracting();
    let mut sliding = SlidingWindows::new(window, itself, count(), CountLate::new());
    sliding.item(Timestamp::from_seconds(6), 7, &mut out);
    sliding.watermark(Timestamp::from_seconds(20), &mut out);
    sliding.item(Timestamp::from_seconds(2), 7, &mut out);
    let expected = [
        (0, 1, Revision::OnTime),
        (0, 1, Revision::Retraction),
        (0, 2, Revision::Late),
        (0, 1, Revision::OnTime),
        (5, 1, Revision::OnTime),
        (0, 1, Revision::Retraction),
        (-5, 1, Revision::Late),
        (0, 2, Revision::Late),
    ];
    assert_eq!(results, expected);
}

/// Windows of `size` items, one beginning every `every`, of the numbers below `items`.
fn count_model(items: u64, size: u64, every: u64, unfinished: bool) -> VecDeque<(Vec<u64>, bool)> {
    let starts = (0..items).step_by(every as usize);
    let windows = starts.map(|start| {
        let end = start + size;
        ((start..end.min(items)).collect(), end <= items)
    });
    windows
        .filter(|(_, is_full)| *is_full || unfinished)
        .collect()
}

proptest! {
    #[test]
    fn count_windows_agree_with_the_model(
        items in 0u64..60, size in 1u64..12, every in 1u64..15, unfinished in any::<bool>(), keys in 1u64..4
    ) {
        let window = Count::of(size).every(every);
        let window = if unfinished { window.with_unfinished() } else { window };
        let key = move |item: &u64| item % keys;
        let mut merging = CountWindows::new(window, key, collect(), CountLate::new());
        let fold = fold(Vec::new(), |all: &mut Vec<u64>, item: &u64| all.push(*item));
        let mut plain = CountWindows::new(window, key, fold, CountLate::new());
        let (mut merged, mut folded) = (Vec::new(), Vec::new());
        let time = |number: u64| Timestamp::from_seconds(1_000 - number as i64);
        for number in 0..items * keys {
            merging.item(time(number), number, &mut |_: Timestamp, result: Windowed<u64, Vec<u64>>| merged.push(result));
            plain.item(time(number), number, &mut |_: Timestamp, result: Windowed<u64, Vec<u64>>| folded.push(result));
        }
        merging.watermark(Timestamp::MAX, &mut |_: Timestamp, result: Windowed<u64, Vec<u64>>| merged.push(result));
        plain.watermark(Timestamp::MAX, &mut |_: Timestamp, result: Windowed<u64, Vec<u64>>| folded.push(result));
        prop_assert_eq!((held(&merging), held(&plain)), (0, 0));
        for results in [merged, folded] {
            for key in 0..keys {
                let mut expected = count_model(items, size, every, unfinished);
                for result in results.iter().filter(|result| result.key == key) {
                    let (numbers, is_full) = expected.pop_front().expect("no more windows than in the model");
                    let numbers: Vec<u64> = numbers.iter().map(|number| number * keys + key).collect();
                    prop_assert_eq!(result.window.last(), time(numbers[0]));
                    prop_assert_eq!(result.window.start, time(numbers[numbers.len() - 1]));
                    prop_assert_eq!(&result.value, &numbers);
                    prop_assert_eq!(result.revision == Revision::OnTime, is_full);
                }
                prop_assert!(expected.is_empty());
            }
        }
    }
}

#[test]
fn a_window_with_a_trigger_gives_early_results() {
    let trigger = Trigger::at_watermark().early_count(2);
    let window = Triggered::new(Tumbling::of(secs(10)), trigger).retracting();
    let mut operator = TriggeredWindows::new(window, itself, count(), CountLate::new());
    let mut results = Vec::new();
    let mut out = |_: Timestamp, result: Windowed<u64, u64>| {
        results.push((result.value, result.revision));
    };
    for second in 0..3 {
        operator.item(Timestamp::from_seconds(second), 7, &mut out);
    }
    operator.watermark(Timestamp::from_seconds(10), &mut out);
    let expected = [
        (2, Revision::Early),
        (2, Revision::Retraction),
        (3, Revision::OnTime),
    ];
    assert_eq!(results, expected);
    assert_eq!(held(&operator), 0);
}

/// What came of `operator`: window ends in seconds, values and revisions.
fn driven<O>(mut operator: O, steps: &[(&str, i64, u64)]) -> Vec<(u64, i64, u64, Revision)>
where
    O: Operator<u64, Out = Windowed<u64, u64>>,
{
    let mut results = Vec::new();
    let mut out = |_: Timestamp, result: Windowed<u64, u64>| {
        let end = result.window.end.as_micros() / 1_000_000;
        results.push((result.key, end, result.value, result.revision));
    };
    for &(step, second, key) in steps {
        let time = if second == i64::MAX {
            Timestamp::MAX
        } else {
            Timestamp::from_seconds(second)
        };
        match step {
            "item" => operator.item(time, key, &mut out),
            _ => operator.watermark(time, &mut out),
        }
    }
    results
}

#[test]
fn what_an_item_does_to_windows_that_are_over_depends_on_its_key_alone() {
    let window = Sliding::of(secs(10))
        .every(secs(5))
        .allowed_lateness(secs(5));
    let sliding = || SlidingWindows::new(window, itself, count(), CountLate::new());
    let alone = [
        ("watermark", 12, 0),
        ("item", 6, 7),
        ("watermark", i64::MAX, 0),
    ];
    let mut beside = vec![("item", 1, 8)];
    beside.extend(alone);
    let mut of_both = driven(sliding(), &beside);
    of_both.retain(|(key, ..)| *key == 7);
    assert_eq!(driven(sliding(), &alone), of_both);
    let expected = [(7, 10, 1, Revision::Late), (7, 15, 1, Revision::OnTime)];
    assert_eq!(of_both, expected);
}

#[test]
fn times_near_the_end_of_time_come_to_an_end() {
    let near = Timestamp(i64::MAX - 3);
    let window = Sliding::of(secs(10)).every(secs(5));
    let fold = fold(0u64, |sum: &mut u64, _: &u64| *sum += 1);
    let (mut results, mut out_of_fold) = (Vec::new(), Vec::new());
    let mut merging = SlidingWindows::new(window, itself, count(), CountLate::new());
    let mut alone = SlidingWindows::new(window, itself, fold, CountLate::new());
    for watermark in [Timestamp(i64::MAX - 1), Timestamp::MAX] {
        let mut out = |_: Timestamp, result: Windowed<u64, u64>| results.push(result.value);
        merging.item(near, 1, &mut out);
        merging.item(Timestamp::MAX, 1, &mut out);
        merging.watermark(watermark, &mut out);
        let mut out = |_: Timestamp, result: Windowed<u64, u64>| out_of_fold.push(result.value);
        alone.item(near, 1, &mut out);
        alone.watermark(watermark, &mut out);
    }
    assert!(!results.is_empty() && results.len() <= 3, "{results:?}");
    assert!(!out_of_fold.is_empty() && out_of_fold.len() <= 3);
    assert_eq!((held(&merging), held(&alone)), (0, 0));
}

#[test]
fn lateness_without_an_end_costs_no_windows_without_items() {
    for lateness in [secs(1_000_000_000), Duration::MAX] {
        let window = Sliding::of(secs(2))
            .every(secs(1))
            .allowed_lateness(lateness);
        let mut operator = SlidingWindows::new(window, itself, count(), CountLate::new());
        let mut results = 0;
        let mut out = |_: Timestamp, _: Windowed<u64, u64>| results += 1;
        operator.item(Timestamp::from_seconds(1), 1, &mut out);
        // A walk from slide to slide would take hours.
        operator.watermark(Timestamp::from_seconds(500_000_000_000), &mut out);
        operator.watermark(Timestamp::MAX, &mut out);
        assert_eq!((results, held(&operator)), (2, 0));
    }
}

/// An item at 7 s by the clock, and nothing else: its window ends at 10 s and is kept for 5 s more. What the clock is
/// asked for must suffice to be rid of it.
fn assert_lateness_ends_by_the_clock<O>(mut operator: O)
where
    O: Operator<u64, Out = Windowed<u64, u64>>,
{
    let mut results = 0;
    let mut out = |_: Timestamp, _: Windowed<u64, u64>| results += 1;
    operator.begin(&millstream_engine::flow::Turn {
        now: Timestamp::from_seconds(7),
        monotonic: Duration::ZERO,
    });
    operator.item(Timestamp::EPOCH, 1, &mut out);
    let mut last = Timestamp::MIN;
    while let Some(due) = operator.next_due() {
        assert!(due > last, "the clock is asked for {due} again");
        last = due;
        operator.processing_time(due, &mut out);
    }
    assert_eq!(last, Timestamp::from_seconds(15));
    assert_eq!((results, held(&operator)), (1, 0));
}

#[test]
fn lateness_ends_by_the_clock_where_windows_go_by_it() {
    let window = Tumbling::of(secs(10)).allowed_lateness(secs(5));
    let window = window.in_processing_time();
    let late = CountLate::new;
    assert_lateness_ends_by_the_clock(TumblingWindows::new(window, itself, count(), late()));
    let window = Sliding::of(secs(10)).every(secs(10));
    let window = window.allowed_lateness(secs(5)).in_processing_time();
    assert_lateness_ends_by_the_clock(SlidingWindows::new(window, itself, count(), late()));
    let fold = fold(0u64, |sum: &mut u64, _: &u64| *sum += 1);
    assert_lateness_ends_by_the_clock(SlidingWindows::new(window, itself, fold, late()));
}
