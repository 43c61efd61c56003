//! The driver does what an engine does: it fails, stops, waits and keeps tables alike.

use std::collections::BTreeMap;

use millstream::dataflow::{Dataflow, Driver, Feed, Flow, FlowOptions};
use millstream::prelude::*;
use millstream_engine::flow::Resources;
use millstream_engine::log::frame::Encoding;
use millstream_engine::time::Clock as _;
use millstream_operators::function::count;
use millstream_operators::sink::FileSinkOptions;
use millstream_operators::window::{Tumbling, Windowed};

use crate::support::*;

fn build<T>(declare: impl FnOnce(&Flow) -> T) -> (Dataflow, T) {
    let options = FlowOptions {
        partitions: 2,
        ..FlowOptions::default()
    };
    let mut given = None;
    let flow = Dataflow::build_with("driven", options, |flow| given = Some(declare(flow)));
    (flow.unwrap(), given.unwrap())
}

#[test]
fn a_panic_is_a_failure_and_nothing_is_stepped_after_it() {
    let (good, bad) = (Feed::new(1), Feed::new(1));
    let (flow, given) = build(|flow| {
        let bad = flow.source("bad", bad.clone()).stream();
        bad.for_each(|_, item: Item| assert!(item.1 != 13, "unlucky"));
        let good = flow.source("good", good.clone()).stream();
        good.map(|item: Item| item.1).collect()
    });
    let mut driver = Driver::new(flow).unwrap();
    good.push(0, seconds(1), (1, 1));
    driver.run().unwrap();
    assert_eq!(given.take_items(), [1]);
    bad.push(0, seconds(1), (1, 13));
    let failure = driver.run().unwrap_err();
    assert!(failure.stage.starts_with("driven/bad/"), "{failure}");
    assert_eq!(failure.cause, "panicked: unlucky");
    good.push(0, seconds(2), (1, 2));
    assert_eq!(driver.run(), Err(failure.clone()));
    assert_eq!(driver.advance(secs(1)), Err(failure));
    assert!(given.is_empty() && driver.is_ended());
}

#[test]
fn a_stop_deals_with_what_was_read_and_leaves_windows_open() {
    let feed = Feed::new(1);
    let (flow, (seen, counted)) = build(|flow| {
        let items = flow.source("items", feed.clone()).stream();
        let [seen, counted] = <[_; 2]>::try_from(items.share(2)).unwrap();
        let counted = counted.key_by(|item: &Item| item.0);
        let counted = counted.window(Tumbling::of(secs(10))).aggregate(count());
        (seen.collect(), counted.collect())
    });
    let mut driver = Driver::new(flow).unwrap();
    feed.push(0, seconds(1), (1, 1));
    driver.run().unwrap();
    assert_eq!(driver.state_items("window"), 1);
    driver.stop().unwrap();
    assert!(driver.is_ended());
    feed.push(0, seconds(2), (1, 2));
    driver.run().unwrap();
    assert_eq!((seen.len(), counted.len()), (1, 0));
}

/// An early result for each item, at the whole minute that follows it.
#[test]
fn time_passes_step_by_step() {
    let feed = Feed::new(1);
    let (flow, counted) = build(|flow| {
        let items = flow.source("items", feed.clone()).stream();
        let keyed = items.key_by(|item: &Item| item.0);
        // Its clock says when each item came.
        let windows = keyed.window(Tumbling::of(secs(60)).in_processing_time());
        let minutes = windows.aggregate(count()).state_named("minutes");
        let hours = minutes
            .key_by(|minute: &Windowed<u8, u64>| minute.key)
            .named("hours");
        let hours = hours.window(Tumbling::of(secs(3_600)).in_processing_time());
        let hours = hours.aggregate(count());
        hours
            .map(|hour| (hour.window.end, hour.key, hour.value))
            .collect()
    });
    let mut driver = Driver::new(flow).unwrap();
    feed.push(0, seconds(0), (1, 1));
    driver.advance(secs(3_590)).unwrap();
    feed.push(0, seconds(0), (1, 1));
    // The minute is over at the hour's end, and belongs to the next one: each falls due in its turn.
    driver.advance(secs(24 * 3_600)).unwrap();
    assert_eq!(driver.clock().now(), seconds(24 * 3_600 + 3_590));
    let hours = counted.take_items();
    assert_eq!(hours, [(seconds(3_600), 1, 1), (seconds(7_200), 1, 1)]);
}

const TOTALS: Table<u64, i64> = Table::named("totals");

#[tokio::test]
async fn tables_are_kept_and_read_without_an_engine() {
    let feed = Feed::new(1);
    let (flow, ()) = build(|flow| {
        let items = flow.source("items", feed.clone()).stream();
        items.to_table(&TOTALS, |(key, value): Item| {
            (u64::from(key), (value != 0).then_some(value))
        });
    });
    let mut driver = Driver::with(flow, 3, Resources::new()).unwrap();
    let totals = driver.table(&TOTALS).unwrap();
    assert!(
        driver
            .table(&Table::<u64, String>::named("totals"))
            .is_none()
    );
    for (key, value) in [(1, 7), (2, 8), (3, 9), (2, 0)] {
        feed.push(0, seconds(1), (key, value));
    }
    driver.run().unwrap();
    assert_eq!(totals.rows().unwrap(), [(1, 7), (3, 9)]);
    assert_eq!(driver.state_items("table"), 3);
    feed.end_all();
    driver.wait().await.unwrap();
    assert!(driver.is_ended());
    assert_eq!(totals.rows().unwrap(), [(1, 7), (3, 9)]);
}

#[tokio::test]
async fn files_are_there_after_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let feed = Feed::new(1);
    let (flow, ()) = build(|flow| {
        let items = flow.source("items", feed.clone()).partitions(1).stream();
        items.to_csv(FileSinkOptions::new(folder.path(), "rows"));
    });
    let mut driver = Driver::new(flow).unwrap();
    for number in 0..20_000 {
        feed.push(0, seconds(1), (1, number));
    }
    feed.end_all();
    driver.wait().await.unwrap();
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
    let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
    assert_eq!(text.lines().count(), 20_000);
}

#[tokio::test]
async fn late_items_are_kept_as_dead_letters() {
    let feed = Feed::new(1);
    let (flow, ()) = build(|flow| {
        let items = flow.source("items", feed.clone()).stream();
        let keyed = items.key_by(|_: &Item| ()).partitions(1);
        let windows = keyed.window(Tumbling::of(secs(10)));
        let counted = windows.late_to_dead_letters().aggregate(count());
        counted.for_each(|_, _| {});
    });
    let mut driver = Driver::new(flow).unwrap();
    feed.watermark(0, seconds(100));
    for number in 0..10_005 {
        feed.push(0, seconds(1), (1, number));
    }
    feed.push(0, seconds(101), (1, 0));
    driver.settle().await.unwrap();
    let letters = driver.late_letters(20_000).unwrap();
    let values = letters.iter().map(|letter| {
        assert_eq!(letter.stage, "driven/window");
        let watermark = seconds(100).to_string();
        assert!(letter.cause[0].contains(&watermark), "{:?}", letter.cause);
        let (_, value): Item = serde_json::from_slice(&letter.payload).unwrap();
        value
    });
    // The oldest are given up.
    assert!(values.eq(5..10_005));
}

#[test]
fn late_items_are_counted_by_stage() {
    let feed = Feed::new(1);
    let (flow, ()) = build(|flow| {
        let items = flow.source("items", feed.clone()).stream();
        let keyed = items.key_by(|item: &Item| item.0);
        let counted = keyed.window(Tumbling::of(secs(10))).aggregate(count());
        counted.for_each(|_, _| {});
    });
    let mut driver = Driver::new(flow).unwrap();
    feed.watermark(0, seconds(100));
    for second in [95, 101, 1] {
        feed.push(0, seconds(second), (1, 1));
    }
    driver.run().unwrap();
    assert_eq!(driver.late_items("window"), 2);
    assert_eq!(driver.late_items("items"), 0);
    assert_eq!(driver.state_items("window"), 1);
}

/// An item of which no JSON can be made.
#[derive(Clone)]
enum Odd {
    /// No texts are its keys.
    Pairs(BTreeMap<(u8, u8), u8>),
    Panics,
}

impl serde::Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pairs(pairs) => pairs.serialize(serializer),
            Self::Panics => panic!("no item"),
        }
    }
}

/// Story: one late item of which no JSON can be made failed its dataflow at each start, since it came again.
#[tokio::test]
async fn late_items_without_json_have_letters_that_say_why() {
    let feed = Feed::new(1);
    let (flow, given) = build(|flow| {
        let items = flow.source("items", feed.clone()).stream();
        let keyed = items.key_by(|_: &Odd| ()).partitions(1);
        let windows = keyed.window(Tumbling::of(secs(10)));
        let counted = windows.late_to_dead_letters().aggregate(count());
        counted
            .map(|window: Windowed<(), u64>| window.value)
            .collect()
    });
    let mut driver = Driver::new(flow).unwrap();
    feed.watermark(0, seconds(100));
    let pairs = Odd::Pairs(BTreeMap::from([((1, 2), 3)]));
    feed.push(0, seconds(1), pairs.clone());
    feed.push(0, seconds(2), Odd::Panics);
    feed.push(0, seconds(101), pairs);
    feed.end_all();
    driver.wait().await.unwrap();
    assert_eq!(given.take_items(), [1]);
    let letters = driver.late_letters(10).unwrap();
    let [pairs, panics] = &letters[..] else {
        panic!("{letters:?}");
    };
    assert_eq!(pairs.cause[1], "it has no JSON");
    assert!(
        pairs.cause[2].contains("key must be a string"),
        "{:?}",
        pairs.cause
    );
    assert_eq!(pairs.kind.encoding, Encoding::Opaque);
    let saved: BTreeMap<(u8, u8), u8> = rmp_serde::from_slice(&pairs.payload).unwrap();
    assert_eq!(saved, BTreeMap::from([((1, 2), 3)]));
    assert_eq!(panics.cause[2], "panicked: no item");
    assert_eq!(panics.payload, b"");
}
