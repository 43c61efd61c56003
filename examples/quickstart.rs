//! An aggregate and a projection of one's own: counters that may not fall below zero.
//!
//! `cargo run -p millstream-examples --example quickstart`

use std::convert::Infallible;

use millstream::prelude::*;
use serde::{Deserialize, Serialize};

/// The state that commands are decided on; its default is before the first event.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Stock {
    units: u32,
}

enum StockCommand {
    Receive(u32),
    Ship(u32),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum StockEvent {
    Received { units: u32 },
    Shipped { units: u32 },
}
impl Event for StockEvent {}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("only {in_stock} in stock")]
struct NotEnough {
    in_stock: u32,
}

impl Aggregate for Stock {
    const CATEGORY: &'static str = "stock";
    const VERSION: u32 = 1;
    type Command = StockCommand;
    type Event = StockEvent;
    type Rejection = NotEnough;

    fn decide(&self, command: StockCommand, out: &mut Decision<'_, Self>) -> Result<(), NotEnough> {
        match command {
            StockCommand::Receive(units) => out.emit(StockEvent::Received { units }),
            StockCommand::Ship(units) if units > self.units => {
                return Err(NotEnough {
                    in_stock: self.units,
                });
            }
            StockCommand::Ship(units) => out.emit(StockEvent::Shipped { units }),
        }
        Ok(())
    }

    fn evolve(&mut self, event: &StockEvent) {
        match event {
            StockEvent::Received { units } => self.units += units,
            StockEvent::Shipped { units } => self.units -= units,
        }
    }
}

/// A table of what was shipped per product, kept by the projection below.
const SHIPPED: Table<String, u64> = Table::named("shipped");
struct Shipments;

impl Projection for Shipments {
    const NAME: &'static str = "shipments";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "stock";
    type Event = StockEvent;
    type Tables = (Table<String, u64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (SHIPPED,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, StockEvent>,
        (shipped,): &mut (TableMut<String, u64>,),
    ) -> Result<(), Infallible> {
        if let StockEvent::Shipped { units } = event.payload {
            shipped.update(&event.id.to_owned(), |sum| *sum += u64::from(*units));
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Without an engine: the rules alone.
    given::<Stock>([StockEvent::Received { units: 5 }])
        .when(StockCommand::Ship(7))
        .then_rejected(NotEnough { in_stock: 5 });

    let folder = tempfile::tempdir()?;
    let topology = Topology::named("warehouse")
        .aggregate::<Stock>()
        .projection(Shipments)
        .build()?;
    let engine = Engine::open(folder.path()).run(topology).await?;

    engine
        .send::<Stock>("lamp", StockCommand::Receive(5))
        .await?;
    let ack = engine.send::<Stock>("lamp", StockCommand::Ship(3)).await?; // On disk when it returns.
    let refused = engine.send::<Stock>("lamp", StockCommand::Ship(3)).await;

    // `at_least` waits until the table shows what this caller has just done.
    let shipped = engine
        .query(&SHIPPED)
        .at_least(&ack.token())
        .get("lamp")
        .await?;
    println!(
        "shipped {shipped:?}, then: {}",
        refused.as_ref().expect_err("only 2 are left")
    );
    assert_eq!(shipped, Some(3));
    assert!(matches!(
        refused,
        Err(CommandError::Rejected(NotEnough { in_stock: 2 }))
    ));

    engine.shutdown().await?;
    Ok(())
}
