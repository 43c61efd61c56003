//! What joins hold, and when it is gone.

use std::time::Duration;

use millstream_engine::flow::{Operator, Turn};
use millstream_engine::time::Timestamp;

use super::support::{Driven, Item, KeepLate, key};
use crate::join::{AsOf, AsOfJoin, Inner, SlidingJoin, TumblingJoin, UniqueJoin};
use crate::window::{Sliding, Tumbling};

fn pair(_: &u8, left: &Item, right: &Item) -> (i64, i64) {
    (left.1, right.1)
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn values_are_dropped_when_a_later_one_is_valid() {
    let table = AsOf::new().deleted_by(|item: &Item| item.1 == 0);
    let join = AsOfJoin::new(table, key, key, Inner(pair), KeepLate::default());
    let mut join = Driven::new(join);
    for time in 1..=10 {
        join.right(time, (1, time));
    }
    join.right(5, (2, 50));
    join.right(8, (2, 0));
    assert_eq!(join.state(), 12);
    join.watermark(7);
    assert_eq!(join.state(), 6, "of key 1 those from 7 on, of key 2 both");
    join.watermark(8);
    assert_eq!(
        join.state(),
        3,
        "a deletion that is valid is dropped as well"
    );
    join.left(9, (1, 100));
    join.watermark(10);
    assert_eq!(join.take(), [(9, (100, 9))]);
    assert_eq!(join.state(), 1);
}

#[test]
fn a_unique_partner_frees_those_who_waited() {
    let mut join = Driven::new(UniqueJoin::new(key, key, Inner(pair)));
    join.left(3, (1, 10));
    join.left(1, (1, 11));
    assert_eq!(join.state(), 2);
    join.right(2, (1, 20));
    assert_eq!(join.state(), 1);
    join.left(4, (1, 12));
    assert_eq!(join.state(), 1);
    assert_eq!(join.take(), [(2, (11, 20)), (3, (10, 20)), (4, (12, 20))]);
}

#[test]
fn windows_can_go_by_the_clock() {
    let tumbling = Tumbling::of(micros(10)).in_processing_time();
    let sliding = Sliding::of(micros(10))
        .every(micros(5))
        .in_processing_time();
    let mut tumbling = TumblingJoin::new(tumbling, key, key, Inner(pair), KeepLate::default());
    let mut sliding = SlidingJoin::new(sliding, key, key, Inner(pair), KeepLate::default());
    by_the_clock(&mut tumbling, &[10]);
    by_the_clock(&mut sliding, &[10, 15]);
}

/// Two partners at 7: their windows are given out when the clock reaches their ends.
fn by_the_clock<V, J>(join: &mut J, ends: &[i64])
where
    J: Operator<millstream_engine::flow::Side<Item, Item>, Out = crate::window::Windowed<u8, V>>,
{
    use millstream_engine::flow::Side;
    let mut found = Vec::new();
    let mut out = |time: Timestamp, _| found.push(time.0 + 1);
    join.begin(&Turn {
        now: Timestamp(7),
        monotonic: Duration::ZERO,
    });
    join.item(Timestamp(0), Side::Left((1, 1)), &mut out);
    join.item(Timestamp(0), Side::Right((1, 2)), &mut out);
    for end in ends {
        assert!(join.next_due().is_some_and(|due| due.0 <= *end));
        join.processing_time(Timestamp(end - 1), &mut out);
        assert_eq!(join.next_due(), Some(Timestamp(*end)));
        join.processing_time(Timestamp(*end), &mut out);
    }
    assert_eq!(join.next_due(), None);
    assert_eq!(found, ends);
}

#[test]
fn sliding_windows_near_the_end_of_time_come_to_an_end() {
    let sliding = Sliding::of(micros(10)).every(micros(5));
    let late = KeepLate::default();
    let join = SlidingJoin::new(sliding, key, key, Inner(pair), late.clone());
    let mut join = Driven::new(join);
    for (number, time) in [i64::MAX - 12, i64::MAX - 3, i64::MAX]
        .into_iter()
        .enumerate()
    {
        join.left(time, (number as u8, 1));
        join.right(time, (number as u8, 2));
    }
    join.watermark(i64::MAX - 1);
    join.watermark(i64::MAX);
    assert_eq!(join.state(), 0);
    let results = join.out.len();
    assert!((2..=5).contains(&results), "{results} results");
    assert_eq!(
        late.0.lock().unwrap().len(),
        2,
        "no window has the last time"
    );
}

/// Story: left items of the end of time were never given out, since no watermark comes after them.
#[test]
fn left_items_of_the_end_of_time_find_their_rows() {
    let join = AsOfJoin::new(AsOf::new(), key, key, Inner(pair), KeepLate::default());
    let mut join = Driven::new(join);
    join.right(7, (1, 20));
    for time in [i64::MAX, i64::MAX - 1, i64::MAX] {
        join.left(time, (1, time - i64::MAX));
    }
    join.watermark(i64::MAX - 1);
    assert_eq!(join.take(), []);
    join.watermark(i64::MAX);
    let (last, max) = (i64::MAX - 1, i64::MAX);
    let all = [(last, (-1, 20)), (max, (0, 20)), (max, (0, 20))];
    assert_eq!(join.take(), all);
    assert_eq!(join.state(), 0);
}

#[test]
fn what_was_deleted_does_not_come_back_by_a_late_value() {
    let table = AsOf::new().deleted_by(|item: &Item| item.1 == 0);
    let late = KeepLate::default();
    let keep =
        |_: &u8, left: &Item, right: Option<&Item>| (left.1, right.map_or(-1, |right| right.1));
    let join = AsOfJoin::new(table, key, key, crate::join::LeftOuter(keep), late.clone());
    let mut join = Driven::new(join);
    join.right(1, (1, 0));
    join.watermark(2);
    assert_eq!(join.state(), 0);
    join.late(1, 0, millstream_engine::flow::Side::Right((1, 7)));
    join.late(i64::MIN, 24, millstream_engine::flow::Side::Left((1, 10)));
    join.watermark(30);
    assert_eq!(join.take(), [(24, (10, -1))]);
    assert_eq!(late.0.lock().unwrap().len(), 1);
}
