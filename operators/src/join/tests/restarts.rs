//! Joins in time that are saved and restored between any two steps with their state on disk, in as many partitions or in
//! others; and what they save. In tests a key has many items when it has five.

use std::fmt::Debug;
use std::sync::Arc;

use millstream_engine::checkpoint::{Epoch, Saving};
use millstream_engine::flow::{Operator, Side, exchange_hash, target_of};
use millstream_engine::spill::SpillStore;
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::support::{Item, KeepLate, key};
use crate::join::{AsOf, AsOfJoin, Bounds, FullOuter, Inner, IntervalJoin, LeftOuter, SlidingJoin};
use crate::restart::{Saves, Step, assert_survives, micros, resources, steps, wiring, wiring_with};
use crate::window::{CountLate, Sliding};

fn side(key: u8, number: i64) -> Side<Item, Item> {
    if number % 2 == 0 {
        Side::Left((key, number))
    } else {
        Side::Right((key, number))
    }
}

fn of_side(item: &Side<Item, Item>) -> u8 {
    match item {
        Side::Left(item) | Side::Right(item) => item.0,
    }
}

fn pair(_: &u8, left: &Item, right: &Item) -> (Item, Item) {
    (*left, *right)
}

fn left(_: &u8, left: &Item, right: Option<&Item>) -> (Item, Option<Item>) {
    (*left, right.copied())
}

fn full(_: &u8, left: Option<&Item>, right: Option<&Item>) -> (Option<Item>, Option<Item>) {
    (left.copied(), right.copied())
}

/// Each of the joins, given to a macro.
macro_rules! each_join {
    ($check:ident) => {
        let bounds = Bounds::between(micros(17), micros(31));
        $check!(|late| IntervalJoin::new(bounds, key, key, FullOuter(full), late));
        $check!(|late| IntervalJoin::new(bounds, key, key, Inner(pair), late));
        let window = Sliding::of(micros(32)).every(micros(5));
        let late_too = window.allowed_lateness(micros(9));
        $check!(|late| SlidingJoin::new(late_too, key, key, FullOuter(full), late));
        let gaps = Sliding::of(micros(5)).every(micros(9));
        $check!(|late| SlidingJoin::new(gaps, key, key, FullOuter(full), late));
        let table = AsOf::new().allowed_lateness(micros(20));
        $check!(|late| AsOfJoin::new(table, key, key, LeftOuter(left), late));
        let deleted = table.deleted_by(|item: &Item| item.1 == 3);
        $check!(|late| AsOfJoin::new(deleted, key, key, LeftOuter(left), late));
    };
}

/// Drives a join in several partitions, with others after each restart, of which some lag behind; gives all results.
fn in_partitions<J>(make: impl Fn() -> J, steps: &[Step], is_restarted: bool) -> Vec<String>
where
    J: Operator<Side<Item, Item>, Out: Debug>,
{
    let opened = || {
        let mut join = make();
        join.open(&wiring()).unwrap();
        join
    };
    let mut given = Vec::new();
    let mut out = |time: Timestamp, item: J::Out| given.push(format!("{} {item:?}", time.0));
    let (mut joins, mut saves) = (vec![opened()], vec![Saves::default()]);
    // Of the sources, and up to where partitions have come.
    let (mut watermark, mut reached) = (0, [0; 3]);
    for step in steps.iter().chain([&Step::Watermark(i64::MAX)]) {
        match *step {
            Step::Item(time, key, number, ahead) => {
                let item = side(key, number);
                let at = target_of(exchange_hash(&of_side(&item)), joins.len());
                joins[at].late_before(Timestamp(watermark + ahead));
                joins[at].item(Timestamp(watermark + time), item, &mut out);
            }
            Step::Watermark(by) => {
                watermark = by.saturating_add(watermark);
                for (at, join) in joins.iter_mut().enumerate() {
                    let lag = if by < 1_000 { at as i64 % 2 * 6 } else { 0 };
                    reached[at] = reached[at].max(watermark - lag);
                    join.late_before(Timestamp(reached[at]));
                    join.watermark(Timestamp(reached[at]), &mut out);
                }
            }
            Step::Restart | Step::Clock(_) if !is_restarted => {}
            Step::Clock(_) => {
                for (saves, join) in saves.iter_mut().zip(&mut joins) {
                    saves.save(join);
                }
            }
            Step::Restart => {
                for (saves, join) in saves.iter_mut().zip(&mut joins) {
                    saves.save(join);
                }
                let partitions = 1 + joins.len() % 3;
                joins = (0..partitions).map(|_| opened()).collect();
                for (at, join) in joins.iter_mut().enumerate() {
                    Saves::restore_of(&saves, join, at, partitions);
                    join.late_before(Timestamp(watermark));
                    join.watermark(Timestamp(watermark), &mut out);
                }
                saves = vec![Saves::default(); partitions];
                reached = [watermark; 3];
            }
        }
        for join in &mut joins {
            join.flush(true).unwrap();
        }
    }
    given.sort();
    given
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn joins_on_disk_go_on_as_if_nothing_had_happened(steps in steps()) {
        macro_rules! survives {
            ($join:expr) => {{
                let join = $join;
                assert_survives(|| join(CountLate::new()), side, &steps)?;
            }};
        }
        each_join!(survives);
        let clock = Sliding::of(micros(32)).every(micros(5)).in_processing_time();
        survives!(|late| SlidingJoin::new(clock, key, key, FullOuter(full), late));
    }

    #[test]
    fn joins_go_on_in_other_partitions(steps in steps()) {
        macro_rules! goes_on {
            ($join:expr) => {{
                let join = $join;
                let make = || join(KeepLate::default());
                let (undisturbed, restarted) =
                    (in_partitions(make, &steps, false), in_partitions(make, &steps, true));
                prop_assert_eq!(undisturbed, restarted);
            }};
        }
        each_join!(goes_on);
    }
}

/// Bytes that a join gives at a barrier.
fn saved(join: &mut impl Operator<Side<Item, Item>>, epoch: u64) -> usize {
    let mut saving = Saving::new(Epoch(epoch));
    join.save(&mut saving).unwrap();
    let parts = saving.into_parts().into_iter();
    parts
        .map(|part| part.bytes.map_or(0, |bytes| bytes.len() as usize))
        .sum()
}

/// Of a key with many items, and of many keys, what is saved is what came.
fn assert_saves_what_came<J: Operator<Side<Item, Item>>>(make: impl Fn() -> J) {
    let item = |join: &mut J, number: u16, key: u8| {
        let mut out = |_: Timestamp, _: J::Out| {};
        join.item(
            Timestamp(i64::from(number)),
            Side::Right((key, 1)),
            &mut out,
        );
    };
    for keys in [1, 200] {
        let mut join = make();
        for number in 0..2_000_u16 {
            item(&mut join, number, (number % keys) as u8);
        }
        let all = saved(&mut join, 1);
        for epoch in 2..100 {
            item(&mut join, 2_000, 0);
            let bytes = saved(&mut join, epoch);
            // Of one key it is known of each piece where it begins and ends; a 64th is written in turn.
            let most = if keys == 1 { all / 2 } else { all / 20 };
            assert!(bytes < most, "{bytes} bytes of {all} with {keys} keys");
        }
    }
}

#[test]
fn what_is_saved_is_what_came() {
    let bounds = Bounds::between(micros(10_000), micros(10_000));
    let late = CountLate::new;
    assert_saves_what_came(|| IntervalJoin::new(bounds, key, key, Inner(pair), late()));
    let window = Sliding::of(micros(100_000)).every(micros(50_000));
    assert_saves_what_came(|| SlidingJoin::new(window, key, key, Inner(pair), late()));
    assert_saves_what_came(|| AsOfJoin::new(AsOf::new(), key, key, Inner(pair), late()));
}

/// A window that has been given out, and of which nothing is dropped, is not saved again.
#[test]
fn what_is_only_given_out_is_not_saved() {
    let window = Sliding::of(micros(1_000)).every(micros(10));
    let mut join = SlidingJoin::new(window, key, key, Inner(pair), CountLate::new());
    let mut out = |_: Timestamp, _| {};
    for key in 0..200 {
        join.item(Timestamp(500), Side::Left((key, 1)), &mut out);
    }
    let all = saved(&mut join, 1);
    join.watermark(Timestamp(600), &mut out);
    let bytes = saved(&mut join, 2);
    assert!(bytes < all / 10, "{bytes} bytes of {all}");
}

type Long = (u16, String);

fn long_key(item: &Long) -> u16 {
    item.0
}

/// What a join holds, of many keys and of one with many items, is in memory as far as its bound allows.
fn assert_keeps_to_memory<J: Operator<Side<Long, Long>>>(make: impl Fn() -> J) {
    let limit = 60_000;
    for keys in [1, 200] {
        let resources = resources(limit);
        let mut join = make();
        join.open(&wiring_with(Arc::clone(&resources))).unwrap();
        let store = resources.get::<SpillStore>().unwrap();
        let mut out = |_: Timestamp, _: J::Out| {};
        for number in 0..600_u16 {
            let item = (number % keys, "-".repeat(500));
            let item = if number % 2 == 0 {
                Side::Left(item)
            } else {
                Side::Right(item)
            };
            join.item(Timestamp(1_000 + i64::from(number)), item, &mut out);
            if number % 20 == 0 {
                join.flush(true).unwrap();
            }
        }
        join.flush(true).unwrap();
        let mut held = Vec::new();
        join.state_items(&mut held);
        let held: usize = held.iter().map(|(_, count)| count).sum();
        assert_eq!(held, 600);
        let (used, (written, _)) = (store.budget().used(), store.budget().traffic());
        assert!(
            used < limit * 5 / 4 && written > 100,
            "{used} bytes, {written} pages with {keys} keys"
        );
    }
}

#[test]
fn what_is_held_keeps_to_its_memory() {
    let bounds = Bounds::between(micros(0), micros(5_000));
    let late = CountLate::new;
    let none = Inner(|_: &u16, _: &Long, _: &Long| ());
    assert_keeps_to_memory(|| IntervalJoin::new(bounds, long_key, long_key, none, late()));
    let window = Sliding::of(micros(100_000)).every(micros(50_000));
    assert_keeps_to_memory(|| SlidingJoin::new(window, long_key, long_key, none, late()));
    assert_keeps_to_memory(|| AsOfJoin::new(AsOf::new(), long_key, long_key, none, late()));
}
