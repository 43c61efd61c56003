//! Items that come late: within the bound, within the allowed lateness, and after that.
//!
//! `cargo run -p millstream-examples --example late_events`

use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed};
use millstream_engine::flow::BoundedOutOfOrderness;
use millstream_engine::time::Timestamp;
use millstream_operators::function::count;
use millstream_operators::window::{Revision, Tumbling};

/// Seconds and what happened, in the order of arrival. The watermark is the latest time less 10 seconds.
const EVENTS: [(i64, &str); 7] = [
    (5, "first"),
    (62, "of the second minute"),
    (55, "out of order, in time: the watermark is at 52"),
    (75, "lets the watermark pass the end of the first minute"),
    (30, "late but allowed: the watermark is at 65"),
    (
        130,
        "lets the watermark pass 90, where the patience with the first minute ends",
    ),
    (31, "too late"),
];

/// Runs on one thread with a source that is fed by hand, so that what comes when is known.
fn main() -> anyhow::Result<()> {
    let events = Feed::new(1);
    let (dataflow, (minutes, late)) = Dataflow::declare("minutes", |flow| {
        let late = flow.side_output("late");
        let minutes = flow
            .source("events", events.clone())
            .watermarks(BoundedOutOfOrderness::new(Duration::from_secs(10)))
            .stream()
            .key_by(|_: &&str| ())
            .window(Tumbling::of(Duration::from_secs(60)).allowed_lateness(Duration::from_secs(30)))
            .late_to(&late)
            .aggregate(count())
            .collect();
        (minutes, flow.side(&late).collect())
    })?;
    let mut driver = Driver::new(dataflow)?;
    for (second, event) in EVENTS {
        events.push(0, Timestamp::from_seconds(second), event);
        // Each by itself. Of items that come in one batch, a late one may be in the first result already: how often a
        // result is revised depends on that; what is too late, and the last result of a window, do not.
        driver.run()?;
    }
    events.end_all();
    driver.run()?;

    let results: Vec<_> = minutes
        .take_items()
        .into_iter()
        .map(|minute| {
            let start = minute.window.start.as_micros() / 1_000_000;
            (start, minute.value, minute.revision)
        })
        .collect();
    for (start, count, revision) in &results {
        println!("from second {start}: {count} ({revision:?})");
    }
    assert_eq!(
        results,
        [
            (0, 2, Revision::OnTime),
            // The same window again, with what came late; it replaces the result before.
            (0, 3, Revision::Late),
            (60, 2, Revision::OnTime),
            (120, 1, Revision::OnTime),
        ]
    );
    assert_eq!(late.take_items(), ["too late"]);
    Ok(())
}
