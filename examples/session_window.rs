//! Session windows: visits to a site, each ending when its visitor has been silent for half an hour.
//!
//! `cargo run -p millstream-examples --example session_window`

use std::time::Duration;

use millstream::dataflow::Dataflow;
use millstream_engine::flow::BoundedOutOfOrderness;
use millstream_engine::time::Timestamp;
use millstream_operators::function::{count, distinct};
use millstream_operators::window::Session;

/// Minute, visitor, page. The one of minute 20 comes late, and joins what would have been two visits.
const CLICKS: [(i64, (&str, &str)); 8] = [
    (0, ("anna", "home")),
    (5, ("ben", "home")),
    (40, ("anna", "basket")),
    (20, ("anna", "lamps")),
    (45, ("anna", "pay")),
    (44, ("anna", "basket")),
    (100, ("anna", "home")),
    (101, ("ben", "lamps")),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (dataflow, visits) = Dataflow::declare("visits", |flow| {
        let clicks = CLICKS.map(|(minute, click)| (Timestamp::from_seconds(minute * 60), click));
        flow.timed_items(clicks)
            .watermarks(BoundedOutOfOrderness::new(Duration::from_secs(30 * 60)))
            .stream()
            .key_by(|(visitor, _): &(&str, &str)| visitor.to_string())
            .window(Session::gap(Duration::from_secs(30 * 60)))
            // A tuple of functions is a function.
            .aggregate((
                count(),
                distinct(|(_, page): &(&str, &str)| page.to_string()),
            ))
            .collect()
    })?;
    dataflow.run().await?;

    let mut visits = visits.take_items();
    visits.sort_unstable();
    let minute = |time: Timestamp| time.as_micros() / 60_000_000;
    let visits: Vec<_> = visits
        .into_iter()
        .map(|visit| {
            let (clicks, pages) = visit.value;
            // A session's window ends a gap after its last item.
            let (from, until) = (minute(visit.window.start), minute(visit.window.end) - 30);
            println!(
                "{} from {from} to {until}: {clicks} clicks on {pages} pages",
                visit.key
            );
            (visit.key, from, until, clicks, pages)
        })
        .collect();
    assert_eq!(
        visits,
        [
            ("anna".to_owned(), 0, 45, 5, 4),
            ("anna".to_owned(), 100, 100, 1, 1),
            ("ben".to_owned(), 5, 5, 1, 1),
            ("ben".to_owned(), 101, 101, 1, 1),
        ]
    );
    Ok(())
}
