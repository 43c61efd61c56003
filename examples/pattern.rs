//! A pattern: a small payment with a card, and within ten minutes a large one, without a call of its owner between.
//!
//! `cargo run -p millstream-examples --example pattern`

use std::time::Duration;

use millstream::dataflow::Dataflow;
use millstream_engine::flow::BoundedOutOfOrderness;
use millstream_engine::time::Timestamp;
use millstream_operators::pattern::Pattern;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Payment(u64),
    Call,
}
use Event::{Call, Payment};

/// Card and what happened.
type Of = (u32, Event);

/// In the order of arrival; the second of card 1 comes after its third.
const EVENTS: [(i64, Of); 8] = [
    (0, (1, Payment(1))),
    (1, (2, Payment(2))),
    (3, (1, Payment(900))),
    (2, (1, Payment(30))),
    (4, (2, Call)),
    (5, (2, Payment(800))),
    (6, (3, Payment(1))),
    (20, (3, Payment(700))),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (dataflow, found) = Dataflow::declare("cards", |flow| {
        let events = EVENTS.map(|(minute, event)| (Timestamp::from_seconds(minute * 60), event));
        let probe = Pattern::begin("probe", |(_, event): &Of| matches!(event, Payment(..10)))
            .not_followed_by(|(_, event)| *event == Call)
            .followed_by("strike", |(_, event)| matches!(event, Payment(500..)))
            .within(Duration::from_secs(600));
        flow.timed_items(events)
            // Items are looked at in the order of their times, once the watermark has passed them.
            .watermarks(BoundedOutOfOrderness::new(Duration::from_secs(120)))
            .stream()
            .key_by(|(card, _): &Of| *card)
            .pattern(probe)
            .matches()
            .collect()
    })?;
    dataflow.run().await?;

    let found = found.take_items();
    for probed in &found {
        let (probe, strike) = (probed.items("probe"), probed.items("strike"));
        println!("card {}: {probe:?}, then {strike:?}", probed.key);
    }
    // Card 2 called, and card 3 took too long.
    let [only] = &found[..] else {
        anyhow::bail!("one was expected: {found:?}");
    };
    assert_eq!(only.items("strike"), [(1, Payment(900))]);
    Ok(())
}
