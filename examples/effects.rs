//! A mail for each order, sent once the order is on disk, tried again when the mail server is down, and never in a rebuild.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};

use millstream::prelude::*;
use millstream_engine::codec::Event;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Placed {
    item: String,
}

impl Event for Placed {}

const MAILS: Outbox<String> = Outbox::named("mails");

struct Confirmations;

impl Projection for Confirmations {
    const NAME: &'static str = "confirmations";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "order";
    type Event = Placed;
    type Tables = (Outbox<String>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (MAILS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Placed>,
        (mails,): &mut (OutboxMut<String>,),
    ) -> Result<(), Infallible> {
        mails.send(format!(
            "Order {}: {} is on its way.",
            event.id, event.payload.item
        ));
        Ok(())
    }
}

/// Down for the first call.
static CALLS: AtomicU32 = AtomicU32::new(0);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (sent, mut inbox) = tokio::sync::mpsc::channel(8);
    let shop = Topology::named("shop")
        .projection(Confirmations)
        .deliver(&MAILS, move |mail: Effect<String>| {
            let sent = sent.clone();
            async move {
                if CALLS.fetch_add(1, Ordering::Relaxed) == 0 {
                    return Err("the mail server is down".to_owned());
                }
                // The server would tell a repeat by `mail.id`.
                let mail = (mail.attempt, mail.value);
                sent.send(mail).await.map_err(|error| error.to_string())
            }
        })
        .build()?;
    let engine = Engine::open(folder.path()).run(shop).await?;
    let order = StreamId::new("order", "7")?;
    let placed = Placed {
        item: "a kettle".to_owned(),
    };
    let event = NewEvent::typed(placed);
    engine
        .appender()
        .append(order, Expected::NoStream, vec![event])
        .await?;

    let (attempt, mail) = inbox.recv().await.expect("the mail is tried again");
    println!("{mail} (try {attempt})");
    assert_eq!((attempt, &*mail), (2, "Order 7: a kettle is on its way."));
    engine.shutdown().await?;
    Ok(())
}
