//! Joins that are saved and restored at any step give what they give undisturbed.

use std::fmt::Debug;
use std::time::Duration;

use millstream_engine::flow::{Operator, Side, Turn};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::support::{Item, KeepLate, key};
use crate::join::{
    AsOf, AsOfJoin, Bounds, Change, ForeignJoin, ForeignKeys, FullOuter, Inner, IntervalJoin,
    Latest, LatestJoin, LeftOuter, Reference, Settle, Settling, SlidingJoin, TableJoin,
    TumblingJoin, UnboundedJoin, UniqueJoin, Update,
};
use crate::restart::Saves;
use crate::window::{Sliding, Tumbling};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An item of the left side or the right one, of a source with this watermark.
    Item(bool, i64, i64, Item),
    Watermark(i64),
    /// The join is saved, and goes on.
    Save,
    /// The join is saved, and another one goes on.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let raw = (0_u8..10, any::<bool>(), 0_u8..4, -12_i64..30, 0_i64..4);
    prop::collection::vec(raw, 0..120).prop_map(|raw| {
        let mut clock = 0;
        let step = |(kind, is_left, key, offset, value): (u8, bool, u8, i64, i64)| match kind {
            0 => {
                clock += offset.abs();
                Step::Watermark(clock)
            }
            1 => Step::Restart,
            2 => Step::Save,
            _ => Step::Item(is_left, clock + value, clock + offset, (key, value)),
        };
        raw.into_iter().map(step).collect()
    })
}

/// The same operator with the state of `operator`, as a stage restores it.
fn restored<In, O: Operator<In> + Clone>(operator: &mut O, saves: &mut Saves, watermark: i64) -> O {
    saves.save(operator);
    let mut fresh = operator.clone();
    saves.restore(&mut fresh);
    let mut none = |_: Timestamp, _: O::Out| panic!("nothing is given out by restoring");
    if watermark > i64::MIN {
        fresh.late_before(Timestamp(watermark));
        fresh.watermark(Timestamp(watermark), &mut none);
    }
    fresh
}

/// What comes of each step, and how much is held at the end.
type Given<Out> = (Vec<Vec<(i64, Out)>>, Vec<(&'static str, usize)>);

fn drive<In, O: Operator<In> + Clone>(
    mut operator: O,
    steps: &[Step],
    item: impl Fn(bool, Item) -> In,
    restarts: bool,
) -> Given<O::Out>
where
    O::Out: Debug,
{
    let mut watermark = i64::MIN;
    let mut saves = Saves::default();
    let mut given = Vec::new();
    for step in steps.iter().copied().chain([Step::Watermark(i64::MAX)]) {
        let mut out = Vec::new();
        let mut emit = |time: Timestamp, item| out.push((time.0, item));
        match step {
            Step::Item(is_left, limit, time, of) => {
                operator.late_before(Timestamp(limit));
                operator.item(Timestamp(time), item(is_left, of), &mut emit);
            }
            Step::Watermark(time) => {
                watermark = time;
                let now = Timestamp(time);
                let monotonic = Duration::ZERO;
                operator.begin(&Turn { now, monotonic });
                if operator.next_due().is_some_and(|due| due <= now) {
                    operator.processing_time(now, &mut emit);
                }
                operator.watermark(now, &mut emit);
                if time == i64::MAX {
                    operator.end(&mut emit);
                }
            }
            Step::Save if restarts => saves.save(&mut operator),
            Step::Restart if restarts => {
                operator = restored(&mut operator, &mut saves, watermark);
            }
            Step::Save | Step::Restart => {}
        }
        // Keys that are due at the same time may come in another order.
        out.sort_by_cached_key(|(time, out)| (*time, format!("{out:?}")));
        given.push(out);
    }
    let mut held = Vec::new();
    operator.state_items(&mut held);
    (given, held)
}

/// Drives the operator with and without restarts.
fn compare<In, O>(make: impl Fn(KeepLate) -> O, steps: &[Step], item: impl Fn(bool, Item) -> In)
where
    O: Operator<In, Out: Debug + PartialEq> + Clone,
{
    let (late, late_too) = (KeepLate::default(), KeepLate::default());
    let undisturbed = drive(make(late.clone()), steps, &item, false);
    let restarted = drive(make(late_too.clone()), steps, &item, true);
    assert_eq!(restarted, undisturbed);
    assert_eq!(*late_too.0.lock().unwrap(), *late.0.lock().unwrap());
}

fn side(is_left: bool, item: Item) -> Side<Item, Item> {
    if is_left {
        Side::Left(item)
    } else {
        Side::Right(item)
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

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// Changes of a table: the value 0 deletes the row.
fn update(item: Item) -> Update<u8, Option<i64>> {
    match item {
        (key, 0) => Update::delete(key),
        // A row that is `None` is a row.
        (key, 1) => Update::upsert(key, None),
        (key, value) => Update::upsert(key, Some(value)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn joins_in_time(steps in steps()) {
        let bounds = Bounds::between(micros(7), micros(11));
        compare(|late| IntervalJoin::new(bounds, key, key, FullOuter(full), late), &steps, side);
        compare(|late| IntervalJoin::new(bounds, key, key, Inner(pair), late), &steps, side);
        let tumbling = Tumbling::of(micros(10)).allowed_lateness(micros(5));
        compare(|late| TumblingJoin::new(tumbling, key, key, FullOuter(full), late), &steps, side);
        let sliding = Sliding::of(micros(12)).every(micros(5)).allowed_lateness(micros(3));
        compare(|late| SlidingJoin::new(sliding, key, key, FullOuter(full), late), &steps, side);
    }

    #[test]
    fn joins_by_the_clock(steps in steps()) {
        let tumbling = Tumbling::of(micros(10)).in_processing_time();
        compare(|late| TumblingJoin::new(tumbling, key, key, FullOuter(full), late), &steps, side);
        let sliding = Sliding::of(micros(12)).every(micros(5)).in_processing_time();
        compare(|late| SlidingJoin::new(sliding, key, key, FullOuter(full), late), &steps, side);
    }

    #[test]
    fn joins_with_a_table_in_time(steps in steps()) {
        let late_too = AsOf::new().allowed_lateness(micros(6)).deleted_by(|item: &Item| item.1 == 0);
        for table in [AsOf::new(), late_too] {
            compare(|late| AsOfJoin::new(table, key, key, LeftOuter(left), late), &steps, side);
        }
        let over = Latest::new().time_to_live(micros(15));
        for table in [Latest::new(), over] {
            for table in [table, table.deleted_by(|item: &Item| item.1 == 0)] {
                compare(|_| LatestJoin::new(table, key, key, LeftOuter(left)), &steps, side);
            }
        }
    }

    #[test]
    fn joins_that_hold_everything(steps in steps()) {
        compare(|_| UnboundedJoin::new(key, key, Inner(pair)), &steps, side);
        compare(|_| UniqueJoin::new(key, key, Inner(pair)), &steps, side);
    }

    #[test]
    fn joins_of_tables(steps in steps()) {
        let rows = |_: &u8, left: Option<&Option<i64>>, right: Option<&Option<i64>>| {
            (left.copied(), right.copied())
        };
        let changes = |is_left, item| {
            if is_left { Side::Left(update(item)) } else { Side::Right(update(item)) }
        };
        compare(|_| TableJoin::new(FullOuter(rows)), &steps, changes);
    }

    #[test]
    fn foreign_joins(steps in steps()) {
        let foreign = |row: &Option<i64>| row.map_or(7, |row| row as u8);
        compare(|_| ForeignKeys::new(foreign), &steps, |_, item| update(item));
        let result = |_: &u8, left: &Option<i64>, right: Option<&Option<i64>>| {
            (*left, right.copied())
        };
        // One left row per foreign key, so that the order of hashes does not show.
        let changes = |is_left, item: Item| {
            if is_left {
                let Update { key, change } = update(item);
                Side::Left(Reference { key, foreign: key, number: 3, change })
            } else {
                Side::Right(update(item))
            }
        };
        compare(|_| ForeignJoin::new(LeftOuter(result)), &steps, changes);
        let settling = |is_newer, (key, value): Item| Settling {
            key,
            number: value as u64 / 2 + u64::from(is_newer),
            change: if value == 0 { Change::Delete } else { Change::Upsert(value) },
        };
        compare(|_| Settle::new(), &steps, settling);
    }
}
