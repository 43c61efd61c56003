//! What is built on keyed state: duplicates dropped, throttles, running aggregates.

use std::collections::BTreeMap;
use std::convert::Infallible;

use millstream_engine::flow::{Operator, stateless};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::{at, micros, state};
use crate::function::sum;
use crate::keyed::*;

proptest! {
    #[test]
    fn no_two_that_pass_are_near_and_none_is_dropped_without_one(
        steps in prop::collection::vec((0i64..5, -6i64..1, 0u8..3, any::<bool>()), 1..80),
        within in 1i64..10,
    ) {
        let key = |item: &(u8, i64)| item.0;
        let mut dedup = Process::new(key, Dedup::new(micros(within as u64)), Collect::default());
        let mut found = Vec::new();
        let mut emit = |_, item: (u8, i64)| found.push(item);
        let (mut now, mut limit) = (0, i64::MIN);
        let (mut expected, mut late) = (Vec::<(u8, i64)>::new(), Vec::new());
        for (forward, jitter, key, mark) in steps {
            now += forward;
            if mark {
                limit = limit.max(now - 3);
                dedup.watermark(at(limit), &mut emit);
            }
            let time = now + jitter;
            dedup.late_before(at(limit));
            dedup.item(at(time), (key, time), &mut emit);
            if time + within <= limit {
                late.push((key, time));
            } else if !expected.iter().any(|one| one.0 == key && (one.1 - time).abs() < within) {
                expected.push((key, time));
            }
        }
        dedup.watermark(at(now + 3 * within), &mut emit);
        prop_assert_eq!(state(&dedup), [0, 0]);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(&dedup.side().0, &late);
    }

    #[test]
    fn a_throttle_passes_the_first_of_each_span(
        steps in prop::collection::vec((0i64..4, -6i64..1, 0u8..2, any::<bool>()), 1..80),
        items in 0u64..4,
        per in 1i64..12,
    ) {
        let key = |item: &(u8, i64)| item.0;
        let throttle = Throttle::new(items, micros(per as u64));
        let mut throttle = Process::new(key, throttle, Collect::default());
        let mut found = Vec::new();
        let mut emit = |_, item: (u8, i64)| found.push(item);
        let (mut now, mut limit) = (0, i64::MIN);
        let (mut counts, mut expected, mut others) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (forward, jitter, key, mark) in steps {
            now += forward;
            if mark {
                limit = limit.max(now - 3);
                throttle.watermark(at(limit), &mut emit);
            }
            let time = now + jitter;
            throttle.late_before(at(limit));
            throttle.item(at(time), (key, time), &mut emit);
            let span = time.div_euclid(per);
            let count = counts.entry((key, span)).or_insert(0);
            if *count < items && (span + 1) * per > limit {
                *count += 1;
                expected.push((key, time));
            } else {
                others.push((key, time));
            }
        }
        throttle.watermark(at(now + 2 * per), &mut emit);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(&throttle.side().0, &others);
        if items > 0 {
            prop_assert_eq!(state(&throttle), [0, 0]);
        }
    }
}

/// A side output in memory.
#[derive(Default)]
struct Collect(Vec<(u8, i64)>);

impl Operator<(u8, i64)> for Collect {
    type Out = Infallible;

    fn item<E: millstream_engine::flow::Emit<Infallible>>(
        &mut self,
        _time: Timestamp,
        item: (u8, i64),
        _out: &mut E,
    ) {
        self.0.push(item);
    }

    stateless!();
}

#[test]
fn running_aggregates_give_the_value_after_each_item_and_forget_silent_keys() {
    let ttl = Ttl::Event(micros(10));
    let running = Running::new(sum(|item: &(u8, i64)| item.1), ttl);
    let mut running = Process::new(|item: &(u8, i64)| item.0, running, NoSide);
    let mut found = Vec::new();
    let mut emit = |time: Timestamp, item| found.push((time.0, item));
    for (time, key, value) in [(0, 1, 5), (5, 1, 6), (6, 2, 1), (15, 1, 7), (15, 2, 2)] {
        running.item(at(time), (key, value), &mut emit);
    }
    running.watermark(at(25), &mut emit);
    assert_eq!(state(&running), [0, 0]);
    let expected = [
        (0, (1, 5)),
        (5, (1, 11)),
        (6, (2, 1)),
        (15, (1, 7)),
        (15, (2, 3)),
    ];
    assert_eq!(found, expected);

    let reducing = Reducing::new(|a: (u8, i64), b: (u8, i64)| a.max(b), Ttl::Never);
    let mut reducing = Process::new(|item: &(u8, i64)| item.0, reducing, NoSide);
    let mut found = Vec::new();
    let mut emit = |_, (key, item): (u8, (u8, i64))| found.push((key, item.1));
    for value in [3, 2, 9] {
        reducing.item(at(0), (1, value), &mut emit);
    }
    assert_eq!(found, [(1, 3), (1, 3), (1, 9)]);
}

/// The second item is out of order: without it the sum would live until 110.
#[test]
fn an_item_out_of_order_does_not_shorten_a_life() {
    let mut sums = Vec::new();
    let running = Running::new(sum(|item: &(u8, i64)| item.1), Ttl::Event(micros(10)));
    let mut running = Process::new(|item: &(u8, i64)| item.0, running, NoSide);
    let reducing = Reducing::new(
        |one: (u8, i64), two: (u8, i64)| (one.0, one.1 + two.1),
        Ttl::Event(micros(10)),
    );
    let mut reducing = Process::new(|item: &(u8, i64)| item.0, reducing, NoSide);
    let mut reduced = Vec::new();
    for (time, value) in [(100, 1), (92, 2), (109, 4), (119, 8)] {
        running.item(at(time), (1, value), &mut |_, (_, sum)| sums.push(sum));
        reducing.item(at(time), (1, value), &mut |_, (_, (_, sum))| {
            reduced.push(sum)
        });
    }
    assert_eq!(reduced, [1, 3, 7, 8]);
    assert_eq!(sums, [1, 3, 7, 8]);
    running.watermark(at(128), &mut |_, _| {});
    assert_eq!(state::<(u8, i64), _>(&running)[0], 1);
    running.watermark(at(129), &mut |_, _| {});
    assert_eq!(state::<(u8, i64), _>(&running)[0], 0);
}
