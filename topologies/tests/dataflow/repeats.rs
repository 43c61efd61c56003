//! What does not give the same at each start is refused before a sink that tells repetitions by their number, and
//! what would never give anything out is refused anywhere.

use millstream::dataflow::{Branch, Dataflow, DataflowFault, Files, Flow, FlowOptions, Generate};
use millstream::prelude::*;
use millstream_engine::flow::Ascending;
use millstream_operators::function::count;
use millstream_operators::keyed::Ttl;
use millstream_operators::paced::AsyncOptions;
use millstream_operators::window::{Count, Session, Trigger, Tumbling};
use serde::{Deserialize, Serialize};

use crate::support::*;

#[derive(Serialize, Deserialize)]
pub(crate) struct Told(pub(crate) u64);

impl Event for Told {}

pub(crate) fn told() -> (StreamId, Told) {
    ("told-1".parse().unwrap(), Told(1))
}

pub(crate) fn build(declare: impl FnOnce(&Flow)) -> Vec<DataflowFault> {
    let options = FlowOptions {
        partitions: 2,
        ..FlowOptions::default()
    };
    let built = Dataflow::build_with("told", options, declare);
    built.map_or_else(|invalid| invalid.faults, |_| Vec::new())
}

pub(crate) fn items(flow: &Flow, name: &str) -> Branch<Item> {
    let items = Generate::timed(|_, _| [(seconds(1), (1u8, 1i64))].into_iter());
    let items = flow.source(name, items.splits(1).repeatable());
    items.watermarks(Ascending::new()).stream().new_stage()
}

/// The places that a sink behind is refused for.
pub(crate) fn places(declare: impl FnOnce(&Flow)) -> Vec<String> {
    let faults = build(declare).into_iter().map(|fault| match fault {
        DataflowFault::NotDeterministic { place, .. } => place,
        other => panic!("{other}"),
    });
    faults.collect()
}

pub(crate) const fn key(item: &Item) -> u8 {
    item.0
}

#[test]
fn what_depends_on_the_clock_or_on_arrival_is_refused() {
    let told = |_| told();
    let minute = Tumbling::of(secs(60));
    let windowed = |flow: &Flow| items(flow, "items").key_by(key).named("w");
    assert_eq!(
        places(|flow| {
            let window = minute.in_processing_time();
            let counted = windowed(flow).window(window).aggregate(count());
            counted.to_log("told", |_| self::told());
        }),
        ["a window named \"w\""]
    );
    assert_eq!(
        places(|flow| {
            let trigger = Trigger::at_watermark().early_every(secs(1));
            let windows = windowed(flow).window(minute).trigger(trigger);
            windows.aggregate(count()).to_log("told", |_| self::told());
        }),
        ["a window named \"w\""]
    );
    assert_eq!(
        places(|flow| {
            let window = Session::gap(secs(5)).allowed_lateness(secs(5));
            let counted = windowed(flow).window(window).aggregate(count());
            counted.to_log("told", |_| self::told());
        }),
        ["a window named \"w\""]
    );
    assert_eq!(
        places(|flow| {
            let latest = windowed(flow).join_latest(items(flow, "table").key_by(key));
            let joined = latest.inner(|_, left, _| *left);
            joined.to_log("told", told);
        }),
        ["a join named \"w\""]
    );
    assert_eq!(
        places(|flow| {
            let ttl = Ttl::Processing(secs(1));
            let reduced = windowed(flow).reduce(ttl, |left, _| left);
            reduced.to_log("told", |_| self::told());
        }),
        ["a running aggregate"]
    );
    assert_eq!(
        places(|flow| items(flow, "a")
            .merge(items(flow, "b"))
            .to_log("told", told)),
        ["a merge"]
    );
    assert_eq!(
        places(|flow| {
            let called = items(flow, "items")
                .map_async(AsyncOptions::unordered(4), |item| async move {
                    Ok::<_, String>(item)
                });
            called.to_log("told", |_| self::told());
        }),
        ["map_async"]
    );
    assert_eq!(
        places(|flow| {
            let (left, right) = (items(flow, "items"), items(flow, "rules"));
            let joined = left.join_broadcast(right, (), |(), _| {}, |(), item| Some(item));
            joined.state_named("rules").to_log("told", told);
        }),
        ["join_broadcast"]
    );
}

#[test]
fn order_is_forgiven_behind_a_window_and_where_no_such_sink_is() {
    assert_eq!(
        build(|flow| {
            let merged = items(flow, "a").merge(items(flow, "b")).key_by(key);
            let counted = merged.named("w").window(Tumbling::of(secs(1)));
            counted.aggregate(count()).to_log("told", |_| told());
            // Not before the sink.
            let other = items(flow, "c").merge(items(flow, "d")).rebalance(3);
            other.for_each(|_, _| {});
        }),
        []
    );
    let merged = |flow: &Flow| items(flow, "a").merge(items(flow, "b")).key_by(key);
    assert_eq!(
        places(|flow| {
            let counted = merged(flow).named("w").window(Count::of(3));
            counted.aggregate(count()).to_log("told", |_| told());
        }),
        ["a merge"]
    );
}

#[test]
fn an_end_that_moves_closes_no_windows_before_such_a_sink() {
    let faults = build(|flow| {
        let sales = flow.events::<Told>().category("sale");
        let sales = sales.until_durable_end().stream();
        let keyed = sales.key_by(|told: &Told| told.0).named("w");
        let counted = keyed.window(Tumbling::of(secs(1))).aggregate(count());
        counted.to_log("told", |_| told());
    });
    let [fault @ DataflowFault::NotDeterministic { place, reason, .. }] = &faults[..] else {
        panic!("{faults:?}")
    };
    assert_eq!(place, "a window named \"w\"");
    assert!(reason.contains("\"events\""), "{fault}");
    // What gives nothing out at the end may have such an end, and windows may without one.
    assert_eq!(
        build(|flow| {
            let sales = flow.events::<Told>().category("sale").until_durable_end();
            sales
                .stream()
                .stage_named("copied")
                .to_log("copy", |told| ("copy-1".parse().unwrap(), told));
            let sales = flow.events::<Told>().category("sale").stream();
            let keyed = sales.key_by(|told: &Told| told.0).named("w");
            let counted = keyed.window(Tumbling::of(secs(1))).aggregate(count());
            counted.to_log("told", |_| told());
        }),
        []
    );
}

#[test]
fn an_endless_source_without_a_watermark_cannot_close_windows() {
    let lines = |flow: &Flow| {
        let lines = Files::json_lines("/nowhere/lines.jsonl").follow();
        flow.source("lines", lines.time(|item: &Item| seconds(item.1)))
    };
    let no_watermark = |place: &str| DataflowFault::NoWatermark {
        place: place.to_owned(),
        source_name: "lines".to_owned(),
    };
    let minute = Tumbling::of(secs(60));
    assert_eq!(
        build(|flow| {
            let counted = lines(flow).stream().key_by(key).window(minute);
            counted.aggregate(count()).for_each(|_, _| {});
        }),
        [no_watermark("a window")]
    );
    assert_eq!(
        build(|flow| {
            let right = items(flow, "items").key_by(key);
            let joined = lines(flow).stream().key_by(key).interval_join(right);
            let joined = joined.between(secs(1), secs(1)).named("near");
            joined.inner(|_, left, _| *left).for_each(|_, _| {});
        }),
        [no_watermark("a join named \"near\"")]
    );
    assert_eq!(
        build(|flow| {
            let told = flow.events::<Told>().category("told");
            let told = told.timestamps(|told| seconds(told.0 as i64)).stream();
            let counted = told.window_all(minute).aggregate(count());
            counted.for_each(|_, _| {});
        }),
        [DataflowFault::NoWatermark {
            place: "a window".to_owned(),
            source_name: "events".to_owned(),
        }]
    );
    // With a watermark, or without windows.
    assert_eq!(
        build(|flow| {
            let lines_in_order = lines(flow).watermarks(Ascending::new()).stream();
            let counted = lines_in_order.key_by(key).named("w").window(minute);
            counted.aggregate(count()).for_each(|_, _| {});
            items(flow, "others")
                .key_by(key)
                .dedup(secs(1))
                .state_named("d")
                .for_each(|_, _| {});
        }),
        []
    );
}
