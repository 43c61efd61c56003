//! Windows that are saved and restored between any two steps.

use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;
use proptest::prelude::*;
use serde::Serialize;

use super::{
    Count, CountLate, CountWindows, Global, Revision, Session, SessionWindows, Sliding,
    SlidingWindows, Trigger, Triggered, TriggeredWindows, Tumbling, TumblingWindows, Windowed,
};
use crate::function::{collect, sum};
use crate::restart::{Item, Saves, assert_survives, item, key, micros, steps};

fn number(item: &Item) -> i64 {
    item.1
}

fn early() -> Trigger {
    Trigger::at_watermark()
        .early_every(micros(7))
        .early_count(3)
}

/// Each kind of window, with functions that merge, that invert, and that do neither.
macro_rules! survive {
    ($steps:ident: $($operator:ident::$make:ident($window:expr, $function:expr);)*) => {
        $(
            let make = || $operator::$make($window, key, $function, CountLate::new());
            assert_survives(make, item, &$steps)?;
        )*
    };
}

proptest! {
    #[test]
    fn aligned_windows_go_on_as_if_nothing_had_happened(steps in steps()) {
        let tumbling = Tumbling::of(micros(10));
        let sliding = Sliding::of(micros(12)).every(micros(4));
        survive!(steps:
            TumblingWindows::new(tumbling, collect());
            TumblingWindows::new(tumbling.allowed_lateness(micros(9)).retracting(), sum(number));
            TumblingWindows::new(tumbling.in_processing_time(), sum(number));
            SlidingWindows::new(sliding, collect());
            SlidingWindows::new(sliding.allowed_lateness(micros(9)).retracting(), sum(number));
            SlidingWindows::new(sliding.in_processing_time(), sum(number));
        );
    }

    #[test]
    fn sessions_go_on_as_if_nothing_had_happened(steps in steps()) {
        let window = Session::gap(micros(5));
        let late = window.allowed_lateness(micros(9));
        survive!(steps:
            SessionWindows::new(window, sum(number));
            SessionWindows::new(late.retracting(), sum(number));
            SessionWindows::new(late, sum(number));
            SessionWindows::new(window.in_processing_time(), sum(number));
            SessionWindows::triggered(Triggered::new(late.retracting(), early()), sum(number));
            SessionWindows::triggered(Triggered::new(window.in_processing_time(), early()), sum(number));
        );
    }

    #[test]
    fn count_windows_go_on_as_if_nothing_had_happened(steps in steps()) {
        survive!(steps:
            CountWindows::new(Count::of(3).with_unfinished(), collect());
            CountWindows::new(Count::of(6).every(4).with_unfinished(), collect());
            CountWindows::new(Count::of(6).every(4).with_unfinished(), sum(number));
            CountWindows::new(Count::of(2).every(5), sum(number));
        );
    }

    #[test]
    fn triggered_windows_go_on_as_if_nothing_had_happened(steps in steps()) {
        let tumbling = Tumbling::of(micros(10)).allowed_lateness(micros(9));
        let sliding = Sliding::of(micros(12)).every(micros(4)).allowed_lateness(micros(9));
        survive!(steps:
            TriggeredWindows::new(Triggered::new(tumbling, early()), collect());
            TriggeredWindows::new(Triggered::new(tumbling, early().late_each()).retracting(), sum(number));
            TriggeredWindows::new(Triggered::new(tumbling.in_processing_time(), early()), sum(number));
            TriggeredWindows::new(Triggered::new(sliding, early()).retracting(), sum(number));
            TriggeredWindows::new(Triggered::new(Global::new(), early()).retracting(), sum(number));
        );
    }
}

/// What earlier versions saved beside the sessions.
#[derive(Serialize)]
struct WithoutGap {
    dirty: Vec<String>,
    early_at: Option<i64>,
    watermark: i64,
    now: Timestamp,
}

/// Story: sessions of another gap than those that are stored were taken. They ended elsewhere than those that had been given out, so
/// windows were taken back that nobody had got, and those that somebody had got stayed.
#[test]
fn sessions_of_another_gap_are_refused() {
    let sessions = |gap| {
        let window = Session::gap(micros(gap)).allowed_lateness(micros(9));
        SessionWindows::new(window, key, sum(number), CountLate::new())
    };
    let (mut before, mut saves) = (sessions(5), Saves::default());
    before.item(Timestamp(3), item(1, 2), &mut |_, _| {});
    before.watermark(Timestamp(9), &mut |_, _| {});
    saves.save(&mut before);
    assert_eq!(saves.refusal(&mut sessions(5)), None);
    let said = saves.refusal(&mut sessions(6)).unwrap();
    assert!(
        said.contains("of a gap of 5 µs, the stage now has a gap of 6 µs"),
        "{said}"
    );
    let earlier = WithoutGap {
        dirty: Vec::new(),
        early_at: None,
        watermark: 9,
        now: Timestamp::MIN,
    };
    saves.replace("session windows", &earlier);
    assert_eq!(saves.refusal(&mut sessions(6)), None, "they do not say it");
}

/// What versions saved beside tumbling windows that did not say which time those went by.
#[derive(Serialize)]
struct WithoutTime {
    shape: (i64, i64, i64),
    watermark: i64,
    now: Timestamp,
}

/// Story: windows that went by the engine's clock went by the items' times after a change, with that clock as their watermark: all
/// items were late.
#[test]
fn windows_of_another_time_are_refused() {
    let window = Tumbling::of(micros(10));
    let tumbling = |window| TumblingWindows::new(window, key, sum(number), CountLate::new());
    let (mut before, mut saves) = (tumbling(window.in_processing_time()), Saves::default());
    before.item(Timestamp(3), item(1, 2), &mut |_, _| {});
    saves.save(&mut before);
    let same = saves.refusal(&mut tumbling(window.in_processing_time()));
    assert_eq!(same, None);
    let said = saves.refusal(&mut tumbling(window)).unwrap();
    let expected = "of 10 µs every 10 µs from 0 µs, by the engine's clock, the stage now has 10 µs every 10 µs from 0 µs";
    assert!(said.contains(expected), "{said}");
    let earlier = WithoutTime {
        shape: (10, 10, 0),
        watermark: 9,
        now: Timestamp::MIN,
    };
    saves.replace("tumbling windows", &earlier);
    assert_eq!(
        saves.refusal(&mut tumbling(window)),
        None,
        "they do not say it"
    );

    let window = Session::gap(micros(5));
    let sessions = |window| SessionWindows::new(window, key, sum(number), CountLate::new());
    let (mut before, mut saves) = (sessions(window), Saves::default());
    before.item(Timestamp(3), item(1, 2), &mut |_, _| {});
    saves.save(&mut before);
    assert_eq!(saves.refusal(&mut sessions(window)), None);
    let said = saves.refusal(&mut sessions(window.in_processing_time()));
    let said = said.unwrap();
    assert!(
        said.contains("a gap of 5 µs, by the engine's clock"),
        "{said}"
    );
}

/// Story: of two partitions that became one the first had given out a window that the second had not come to. An item for it,
/// of a key of the first one, opened it anew: its result had that item alone, and replaced the one with all of them.
#[test]
fn a_window_that_another_partition_has_given_out_is_revised() {
    let window = Tumbling::of(micros(10)).allowed_lateness(micros(90));
    let windows = || TumblingWindows::new(window, key, sum(number), CountLate::new());
    let mut given = Vec::new();
    let mut out = |_: Timestamp, result: Windowed<String, i128>| {
        given.push((result.key, result.value, result.revision));
    };
    let save = |key, watermark, out: &mut dyn FnMut(Timestamp, Windowed<String, i128>)| {
        let (mut partition, mut saves) = (windows(), Saves::default());
        partition.item(Timestamp(3), item(key, 100), &mut |time, result| {
            out(time, result);
        });
        partition.watermark(Timestamp(watermark), &mut |time, result| out(time, result));
        saves.save(&mut partition);
        saves
    };
    let all = [save(1, 50, &mut out), save(2, 5, &mut out)];
    let mut together = windows();
    Saves::restore_of(&all, &mut together, 0, 1);
    together.watermark(Timestamp(5), &mut out);
    for key in [2, 1, 3, 1] {
        together.item(Timestamp(7), item(key, 1), &mut out);
    }
    together.watermark(Timestamp(50), &mut out);
    together.item(Timestamp(8), item(3, 1), &mut out);
    let expected = [
        ("1", 100, Revision::OnTime),
        ("1", 101, Revision::Late),
        ("1", 102, Revision::Late),
        ("2", 101, Revision::OnTime),
        ("3", 1, Revision::OnTime),
        ("3", 2, Revision::Late),
    ];
    let expected = expected.map(|(key, sum, revision)| (key.to_owned(), sum, revision));
    given[3..5].sort_by(|one, other| one.0.cmp(&other.0)); // As a hash map has them.
    assert_eq!(given, expected);
}
