//! A dataflow inside an engine: what customers spend per month, in windows over an aggregate's events, kept in a table.
//!
//! `cargo run -p millstream-examples --example dataflow`

use std::time::Duration;

use millstream::dataflow::FlowOptions;
use millstream::prelude::*;
use millstream_engine::flow::BoundedOutOfOrderness;
use millstream_operators::function::sum;
use millstream_operators::window::Tumbling;
use serde::{Deserialize, Serialize};

/// A customer's purchases.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Customer {
    purchases: u64,
}

/// Buys something, on a day since the beginning of trade.
struct Buy {
    day: i64,
    cents: u64,
}

#[derive(Serialize, Deserialize)]
struct Bought {
    day: i64,
    cents: u64,
}
impl Event for Bought {}

#[derive(Debug, thiserror::Error)]
#[error("a purchase costs something")]
struct Free;

impl Aggregate for Customer {
    const CATEGORY: &'static str = "customer";
    const VERSION: u32 = 1;
    type Command = Buy;
    type Event = Bought;
    type Rejection = Free;

    fn decide(&self, buy: Buy, out: &mut Decision<'_, Self>) -> Result<(), Free> {
        if buy.cents == 0 {
            return Err(Free);
        }
        out.emit(Bought {
            day: buy.day,
            cents: buy.cents,
        });
        Ok(())
    }

    fn evolve(&mut self, _event: &Bought) {
        self.purchases += 1;
    }
}

/// Cents per customer and month: `anna/0`.
const SPENT: Table<String, u64> = Table::named("spent");

const DAY: Duration = Duration::from_secs(86_400);

fn topology() -> Result<Topology, millstream::InvalidTopology> {
    // Each start computes all of it anew: with checkpoints, what has come to its end once is done.
    let options = FlowOptions {
        checkpoints: None,
        ..FlowOptions::default()
    };
    Topology::named("spending")
        .aggregate::<Customer>()
        .dataflow_with("months", options, |flow| {
            // With their streams, which say whose they are.
            flow.records::<Bought>()
                // What is in the log now; without it the dataflow goes on with what comes.
                .until_durable_end()
                .timestamps(|bought| Timestamp::from_seconds(bought.payload.day * 86_400))
                .watermarks(BoundedOutOfOrderness::new(DAY * 365))
                .stream()
                .key_by(|bought: &Recorded<Bought>| bought.stream.id().to_owned())
                .window(Tumbling::of(DAY * 30))
                .aggregate(sum(|bought: &Recorded<Bought>| bought.payload.cents))
                .to_table(&SPENT, |month| {
                    let number = month.window.start.as_micros() / DAY.as_micros() as i64 / 30;
                    let cents = u64::try_from(month.value).unwrap_or(u64::MAX);
                    (format!("{}/{number}", month.key), Some(cents))
                });
        })
        .build()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(folder.path()).run(topology()?).await?;
    for day in 0..90 {
        let customer = if day % 3 == 0 { "anna" } else { "ben" };
        let buy = Buy { day, cents: 100 };
        engine.send::<Customer>(customer, buy).await?;
    }
    engine.shutdown().await?;
    drop(engine);

    // A start reads the log again; what was computed before is made anew, to the same.
    let engine = Engine::open(folder.path()).run(topology()?).await?;
    engine.dataflow("months").wait().await?;
    for (key, cents) in engine.query(&SPENT).rows().await? {
        println!("{key}: {cents} cents");
    }
    let rows = engine.query(&SPENT).rows().await?;
    let expected: Vec<_> = [("anna", 1_000), ("ben", 2_000)]
        .into_iter()
        .flat_map(|(name, cents)| (0..3).map(move |month| (format!("{name}/{month}"), cents)))
        .collect();
    assert_eq!(rows, expected);
    engine.shutdown().await?;
    Ok(())
}
