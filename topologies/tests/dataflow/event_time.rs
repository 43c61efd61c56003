//! Watermarks: idleness, what is filtered away, alignment, marks in the data.

use millstream::dataflow::{Collected, Dataflow, Driver, Feed, FlowOptions};
use millstream_engine::flow::{Ascending, BoundedOutOfOrderness, Punctuated};
use millstream_operators::function::count;
use millstream_operators::window::{Tumbling, Windowed};

use crate::support::{Item, seconds, secs};

type Counts = Collected<Windowed<u8, u64>>;

/// Start in seconds, key and count of what came out, in order.
fn counts(results: &Counts) -> Vec<(i64, u8, u64)> {
    let row = |result: Windowed<u8, u64>| {
        let start = result.window.start.as_millis() / 1_000;
        (start, result.key, result.value)
    };
    let mut rows: Vec<_> = results.take_items().into_iter().map(row).collect();
    rows.sort_unstable();
    rows
}

/// One partition per stage, so that what is told of a stage is told of all of it.
fn options() -> FlowOptions {
    FlowOptions {
        partitions: 1,
        ..FlowOptions::default()
    }
}

#[test]
fn a_silent_split_holds_windows_back_until_it_counts_as_idle() {
    let feed: Feed<Item> = Feed::new(2);
    let mut results = None;
    let dataflow = Dataflow::build_with("test", options(), |flow| {
        let items = flow
            .source("items", feed.clone())
            .watermarks(Ascending::new())
            .idle_after(secs(30))
            .stream();
        let windows = items.key_by(|item| item.0).window(Tumbling::of(secs(10)));
        results = Some(windows.aggregate(count()).collect());
    });
    let (results, mut driver) = (results.unwrap(), Driver::new(dataflow.unwrap()).unwrap());
    feed.push(0, seconds(1), (1, 0));
    feed.push(0, seconds(12), (1, 0));
    driver.run().unwrap();
    assert!(results.is_empty());
    driver.advance(secs(20)).unwrap();
    feed.push(0, seconds(13), (1, 0));
    driver.advance(secs(11)).unwrap();
    assert_eq!(counts(&results), [(0, 1, 1)], "31 s of silence in split 1");

    // It comes back with what is too late by now, and is waited for again.
    feed.push(1, seconds(5), (2, 0));
    feed.push(1, seconds(14), (2, 0));
    driver.run().unwrap();
    feed.push(0, seconds(25), (1, 0));
    driver.run().unwrap();
    assert!(results.is_empty());
    feed.push(1, seconds(21), (2, 0));
    driver.run().unwrap();
    assert_eq!(counts(&results), [(10, 1, 2), (10, 2, 1)]);
}

#[test]
fn watermarks_pass_where_all_items_are_filtered_away() {
    let (some, none): (Feed<Item>, Feed<Item>) = (Feed::new(1), Feed::new(1));
    let mut results = None;
    let dataflow = Dataflow::build_with("test", options(), |flow| {
        let read = |name, feed: &Feed<Item>| {
            let source = flow.source(name, feed.clone());
            source.watermarks(Ascending::new()).stream()
        };
        let none = read("none", &none).filter(|_| false);
        let windows = read("some", &some)
            .merge(none)
            .key_by(|item| item.0)
            .window(Tumbling::of(secs(10)));
        results = Some(windows.aggregate(count()).collect());
    });
    let (results, mut driver) = (results.unwrap(), Driver::new(dataflow.unwrap()).unwrap());
    some.push(0, seconds(1), (1, 0));
    some.push(0, seconds(11), (1, 0));
    driver.run().unwrap();
    assert!(results.is_empty());
    none.push(0, seconds(15), (9, 0));
    driver.run().unwrap();
    assert_eq!(counts(&results), [(0, 1, 1)]);
}

#[test]
fn a_split_that_is_ahead_waits_for_the_slowest() {
    let feed: Feed<Item> = Feed::new(2);
    let mut results = None;
    let dataflow = Dataflow::build_with("test", options(), |flow| {
        let items = flow
            .source("items", feed.clone())
            .watermarks(Ascending::new())
            .aligned(secs(100))
            .stream();
        let windows = items.key_by(|item| item.0).window(Tumbling::of(secs(10)));
        results = Some(windows.aggregate(count()).collect());
    });
    let (results, mut driver) = (results.unwrap(), Driver::new(dataflow.unwrap()).unwrap());
    let items = 100_000;
    for at in 0..items {
        feed.push(0, seconds(at), ((at % 7) as u8, 0));
    }
    feed.push(1, seconds(1), (200, 0));
    driver.run().unwrap();
    let state = |driver: &Driver| {
        driver
            .loads()
            .iter()
            .map(|load| load.state_items)
            .sum::<usize>()
    };
    let read = |driver: &Driver| driver.loads()[0].items_total;
    // As far as one pull goes past the bound.
    assert!(read(&driver) < 20_000, "{} items were read", read(&driver));
    assert!(state(&driver) < 20_000);
    feed.push(1, seconds(items), (200, 0));
    driver.advance(secs(1)).unwrap();
    assert_eq!(read(&driver), items as u64 + 2);
    feed.end_all();
    driver.advance(secs(1)).unwrap();
    assert!(driver.is_ended());
    let total: u64 = counts(&results).iter().map(|row| row.2).sum();
    assert_eq!(total, items as u64 + 2);
}

#[test]
fn marks_in_the_data_move_the_watermark() {
    let feed: Feed<Item> = Feed::new(1);
    let mut results = None;
    let dataflow = Dataflow::build_with("test", options(), |flow| {
        let mark = |time, item: &Item| (item.1 < 0).then_some(time);
        let items = flow
            .source("items", feed.clone())
            .watermarks(Punctuated::new(mark))
            .stream();
        let windows = items.key_by(|item| item.0).window(Tumbling::of(secs(10)));
        results = Some(windows.aggregate(count()).collect());
    });
    let (results, mut driver) = (results.unwrap(), Driver::new(dataflow.unwrap()).unwrap());
    feed.push(0, seconds(3), (1, 5));
    feed.push(0, seconds(40), (1, 5));
    driver.run().unwrap();
    assert!(results.is_empty(), "no item was a mark");
    feed.push(0, seconds(30), (1, -1));
    driver.run().unwrap();
    assert_eq!(counts(&results), [(0, 1, 1)]);
}

#[test]
fn an_item_as_far_behind_as_the_bound_is_not_late() {
    let feed: Feed<Item> = Feed::new(1);
    let mut results = None;
    let dataflow = Dataflow::build_with("test", options(), |flow| {
        let items = flow
            .source("items", feed.clone())
            .watermarks(BoundedOutOfOrderness::new(secs(5)))
            .stream();
        let windows = items.key_by(|item| item.0).window(Tumbling::of(secs(10)));
        results = Some(windows.aggregate(count()).collect());
    });
    let (results, mut driver) = (results.unwrap(), Driver::new(dataflow.unwrap()).unwrap());
    for time in [14, 9, 15, 9] {
        feed.push(0, seconds(time), (1, 0));
    }
    driver.run().unwrap();
    // The second 9 came when the watermark was at 10.
    assert_eq!(counts(&results), [(0, 1, 1)]);
}
