//! Watermarks: idleness, what is filtered away, alignment, marks in the data.

use millstream::dataflow::{Collected, Dataflow, Driver, Feed, Flow, FlowOptions};
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

/// A dataflow that counts, and what comes out of it.
fn counting(options: FlowOptions, declare: impl FnOnce(&Flow) -> Counts) -> (Counts, Driver) {
    let (dataflow, results) = Dataflow::declare_with("test", options, declare).unwrap();
    (results, Driver::new(dataflow).unwrap())
}

/// Counts of ten seconds by key; a split that is silent for 30 is not waited for.
fn silent_for_30_s(options: FlowOptions, feed: &Feed<Item>) -> (Counts, Driver) {
    counting(options, |flow| {
        let items = flow
            .source("items", feed.clone())
            .watermarks(Ascending::new())
            .idle_after(secs(30))
            .stream();
        let windows = items.key_by(|item| item.0).window(Tumbling::of(secs(10)));
        windows.aggregate(count()).collect()
    })
}

#[test]
fn a_silent_split_holds_windows_back_until_it_counts_as_idle() {
    let feed: Feed<Item> = Feed::new(2);
    let (results, mut driver) = silent_for_30_s(options(), &feed);
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
fn a_split_that_moves_by_its_watermark_alone_can_be_idle_again() {
    let feed: Feed<Item> = Feed::new(2);
    let (results, mut driver) = silent_for_30_s(options(), &feed);
    feed.push(0, seconds(1), (1, 0));
    driver.run().unwrap();
    driver.advance(secs(31)).unwrap();
    feed.watermark(1, seconds(2));
    driver.run().unwrap();
    feed.push(0, seconds(12), (1, 0));
    driver.advance(secs(29)).unwrap();
    assert!(results.is_empty(), "split 1 has spoken 29 s ago");
    driver.advance(secs(1)).unwrap();
    feed.push(0, seconds(13), (1, 0));
    driver.run().unwrap();
    assert_eq!(counts(&results), [(0, 1, 1)]);
}

/// More partitions than splits, a split that ends, and the rest silent for a while: nothing that is complete may take
/// that for the end of time, or everything would be late from then on.
#[test]
fn idle_splits_come_back_beside_complete_ones() {
    for (partitions, splits) in [(4, 2), (1, 2), (2, 3), (3, 3)] {
        let feed: Feed<Item> = Feed::new(splits);
        let options = FlowOptions {
            partitions,
            ..FlowOptions::default()
        };
        let (results, mut driver) = silent_for_30_s(options, &feed);
        for split in 0..splits {
            feed.push(split, seconds(1), (1, 0));
        }
        driver.run().unwrap();
        driver.advance(secs(31)).unwrap();
        assert!(
            results.is_empty(),
            "{partitions} partitions: no more is to come"
        );
        feed.end(0);
        driver.run().unwrap();
        driver.advance(secs(31)).unwrap();
        assert!(
            results.is_empty(),
            "{partitions} partitions: a split has ended"
        );
        for time in [2, 11] {
            // All are back before the first of them goes on: those that are idle are not waited for.
            (1..splits).for_each(|split| feed.push(split, seconds(time), (1, 0)));
            driver.run().unwrap();
        }
        let items = 2 * splits as u64 - 1;
        assert_eq!(counts(&results), [(0, 1, items)], "{partitions} partitions");
        feed.end_all();
        driver.run().unwrap();
        assert!(driver.is_ended());
        assert_eq!(counts(&results), [(10, 1, splits as u64 - 1)]);
    }
}

#[test]
fn history_that_ends_beside_a_silent_live_stream_closes_nothing_too_early() {
    let (history, live): (Feed<Item>, Feed<Item>) = (Feed::new(1), Feed::new(1));
    let (results, mut driver) = counting(options(), |flow| {
        let source = flow.source("history", history.clone());
        let past = source.watermarks(Ascending::new()).stream();
        let source = flow.source("live", live.clone()).idle_after(secs(5));
        let now = source.watermarks(Ascending::new()).stream();
        let windows = past.merge(now).key_by(|item| item.0);
        let windows = windows.window(Tumbling::of(secs(10)));
        windows.aggregate(count()).collect()
    });
    driver.run().unwrap();
    driver.advance(secs(6)).unwrap();
    for time in [1, 12, 13] {
        history.push(0, seconds(time), (1, 0));
    }
    driver.run().unwrap();
    history.end(0);
    driver.run().unwrap();
    assert_eq!(counts(&results), [(0, 1, 1)]);
    live.push(0, seconds(14), (1, 0));
    live.push(0, seconds(20), (1, 0));
    driver.run().unwrap();
    assert_eq!(counts(&results), [(10, 1, 3)]);
}

#[test]
fn watermarks_pass_where_all_items_are_filtered_away() {
    let (some, none): (Feed<Item>, Feed<Item>) = (Feed::new(1), Feed::new(1));
    let (results, mut driver) = counting(options(), |flow| {
        let read = |name, feed: &Feed<Item>| {
            let source = flow.source(name, feed.clone());
            source.watermarks(Ascending::new()).stream()
        };
        let none = read("none", &none).filter(|_| false);
        let windows = read("some", &some)
            .merge(none)
            .key_by(|item| item.0)
            .window(Tumbling::of(secs(10)));
        windows.aggregate(count()).collect()
    });
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
    let (results, mut driver) = counting(options(), |flow| {
        let items = flow
            .source("items", feed.clone())
            .watermarks(Ascending::new())
            .aligned(secs(100))
            .stream();
        let windows = items.key_by(|item| item.0).window(Tumbling::of(secs(10)));
        windows.aggregate(count()).collect()
    });
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
    let (results, mut driver) = counting(options(), |flow| {
        let mark = |time, item: &Item| (item.1 < 0).then_some(time);
        let items = flow
            .source("items", feed.clone())
            .watermarks(Punctuated::new(mark))
            .stream();
        let windows = items.key_by(|item| item.0).window(Tumbling::of(secs(10)));
        windows.aggregate(count()).collect()
    });
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
    let (results, mut driver) = counting(options(), |flow| {
        let items = flow
            .source("items", feed.clone())
            .watermarks(BoundedOutOfOrderness::new(secs(5)))
            .stream();
        let windows = items.key_by(|item| item.0).window(Tumbling::of(secs(10)));
        windows.aggregate(count()).collect()
    });
    for time in [14, 9, 15, 9] {
        feed.push(0, seconds(time), (1, 0));
    }
    driver.run().unwrap();
    // The second 9 came when the watermark was at 10.
    assert_eq!(counts(&results), [(0, 1, 1)]);
}

/// Results of the clock come out of a stage whose input is silent. That its watermark need not be waited for is still true.
#[test]
fn what_the_clock_gives_out_does_not_wake_an_idle_input() {
    let (clicks, sales): (Feed<Item>, Feed<Item>) = (Feed::new(1), Feed::new(1));
    let (results, mut driver) = counting(options(), |flow| {
        let source = flow.source("clicks", clicks.clone()).idle_after(secs(5));
        let clicks = source.watermarks(Ascending::new()).stream();
        let by_clock = Tumbling::of(secs(10)).in_processing_time();
        let clicks = clicks.key_by(|item| item.0).window(by_clock).named("clock");
        let clicks = clicks.aggregate(count());
        let clicks = clicks.map(|window: Windowed<u8, u64>| (window.key, window.value as i64));
        let source = flow.source("sales", sales.clone());
        let sales = source.watermarks(Ascending::new()).stream();
        let windows = sales.merge(clicks).key_by(|item| item.0);
        let windows = windows.window(Tumbling::of(secs(10))).named("both");
        windows.aggregate(count()).collect()
    });
    clicks.push(0, seconds(1), (1, 0));
    driver.run().unwrap();
    driver.advance(secs(6)).unwrap();
    sales.push(0, seconds(3), (2, 0));
    driver.run().unwrap();
    driver.advance(secs(4)).unwrap();
    sales.push(0, seconds(12), (2, 0));
    driver.run().unwrap();
    // The one of the clicks has the time of its window by the clock.
    assert_eq!(counts(&results), [(0, 1, 1), (0, 2, 1)]);
    // The input comes back, and is waited for.
    clicks.push(0, seconds(13), (1, 0));
    driver.run().unwrap();
    sales.push(0, seconds(30), (2, 0));
    driver.run().unwrap();
    assert!(results.is_empty());
    driver.advance(secs(6)).unwrap();
    assert_eq!(counts(&results), [(10, 2, 1)], "it is silent again");
}
