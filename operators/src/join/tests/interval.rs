use std::time::Duration;

use millstream_engine::flow::{Operator, Side};
use millstream_engine::time::Timestamp;

use super::support::{Driven, Item, KeepLate, key};
use crate::join::{Bounds, FullOuter, Inner, IntervalJoin};
use crate::restart::Saves;

fn bounds(before: u64, after: u64) -> Bounds {
    Bounds::between(Duration::from_micros(before), Duration::from_micros(after))
}

fn both(_: &u8, left: Option<&Item>, right: Option<&Item>) -> (Option<i64>, Option<i64>) {
    (left.map(|item| item.1), right.map(|item| item.1))
}

#[test]
fn bounds_are_inclusive_and_the_later_time_is_the_pairs() {
    let pair = |_: &u8, left: &Item, right: &Item| (left.1, right.1);
    let late = KeepLate::default();
    let mut join = Driven::new(IntervalJoin::new(
        bounds(5, 10),
        key,
        key,
        Inner(pair),
        late,
    ));
    join.left(100, (1, 1));
    for (time, value) in [(94, 94), (95, 95), (100, 100), (110, 110), (111, 111)] {
        join.right(time, (1, value));
    }
    join.right(100, (2, 0));
    assert_eq!(
        join.take(),
        [(100, (1, 95)), (100, (1, 100)), (110, (1, 110))]
    );
    assert_eq!(join.state(), 7);
    join.watermark(111);
    assert_eq!(
        join.state(),
        2,
        "the left item and those at 94 to 100 are over"
    );
    join.watermark(i64::MAX);
    assert_eq!(join.state(), 0);
}

#[test]
fn what_met_none_is_given_out_when_its_interval_is_over() {
    let late = KeepLate::default();
    let mut join = Driven::new(IntervalJoin::new(
        bounds(5, 10),
        key,
        key,
        FullOuter(both),
        late,
    ));
    join.left(100, (1, 1));
    join.left(103, (1, 2));
    join.right(112, (1, 3));
    join.right(100, (2, 4));
    join.watermark(110);
    assert_eq!(
        join.take(),
        [(100, (None, Some(4))), (112, (Some(2), Some(3)))]
    );
    join.watermark(111);
    assert_eq!(join.take(), [(100, (Some(1), None))]);
    join.watermark(i64::MAX);
    assert_eq!(join.take(), []);
    assert_eq!(join.join.output_watermark(Timestamp(50)), Timestamp(40));
    assert_eq!(join.join.output_watermark(Timestamp::MAX), Timestamp::MAX);
}

#[test]
fn a_late_item_meets_whom_its_source_had_not_left_behind() {
    let sink = KeepLate::default();
    let mut join = Driven::new(IntervalJoin::new(
        bounds(5, 5),
        key,
        key,
        FullOuter(both),
        sink.clone(),
    ));
    join.right(100, (1, 1));
    join.right(104, (1, 2));
    join.watermark(90);
    join.late(107, 101, Side::Left((1, 3)));
    assert_eq!(
        join.take(),
        [(104, (Some(3), Some(2)))],
        "100 + 5 is before 107"
    );
    join.late(112, 101, Side::Left((1, 4)));
    assert_eq!(*sink.0.lock().unwrap(), [(101, Side::Left((1, 4)))]);
}

/// Once what is due only at the end of time was never looked at: it was held, and not given out, when the input was
/// complete.
#[test]
fn an_interval_without_end_is_over_with_the_input() {
    let join = || {
        let bounds = Bounds::between(Duration::MAX, Duration::MAX);
        let late = KeepLate::default();
        Driven::new(IntervalJoin::new(bounds, key, key, FullOuter(both), late))
    };
    let mut before = join();
    // Of one key more than an entry has.
    for value in 0..9 {
        before.left(10 + value, (1, value));
    }
    before.right(20, (2, 20));
    before.right(i64::MAX, (3, 30));
    before.left(5, (4, 40));
    before.right(1_000_000, (4, 41));
    before.watermark(1_000_000_000);
    assert_eq!(before.take(), [(1_000_000, (Some(40), Some(41)))]);
    assert_eq!(before.state(), 13);
    let mut saves = Saves::default();
    saves.save(&mut before.join);
    let mut after = join();
    saves.restore(&mut after.join);
    for mut join in [before, after] {
        join.watermark(i64::MAX);
        let mut expected: Vec<_> = (0..9)
            .map(|value| (10 + value, (Some(value), None)))
            .collect();
        expected.extend([(20, (None, Some(20))), (i64::MAX, (None, Some(30)))]);
        assert_eq!(join.take(), expected);
        assert_eq!(join.state(), 0);
    }
}
