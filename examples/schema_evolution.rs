//! Events outlive the code that wrote them: version 1 is written, version 3 reads it.
//!
//! Version 1 had whole euros. Version 2 renamed the event and counts cents. Version 3 splits the payer's
//! name, and has a field with a default, which alone would have needed no version.
//!
//! `cargo run -p millstream-examples --example schema_evolution`

use millstream::prelude::*;
use serde::{Deserialize, Serialize};

mod v1 {
    use super::{Deserialize, Event, Serialize};

    /// What the program of long ago wrote.
    #[derive(Serialize, Deserialize)]
    pub(crate) enum Invoice {
        Payed { euros: u64, by: String },
    }
    impl Event for Invoice {}
}

/// What the program of today knows.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Invoice {
    Paid {
        cents: u64,
        first_name: String,
        last_name: String,
        #[serde(default)]
        reference: Option<String>,
    },
}

impl Event for Invoice {
    const VERSION: u32 = 3;

    fn upcasters() -> Upcasters {
        Upcasters::none()
            .step("Payed", 1, |mut event| {
                let euros = event.remove("euros").and_then(|euros| euros.as_u64());
                event.set("cents", euros.unwrap_or(0) * 100)?;
                event.rename("Paid")?;
                Ok(event)
            })
            .step("Paid", 2, |mut event| {
                let name = event.remove("by");
                let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or("");
                let (first, last) = name.split_once(' ').unwrap_or(("", name));
                event.set("first_name", first)?;
                event.set("last_name", last)?;
                Ok(event)
            })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(folder.path())
        .run(Topology::named("invoices").build()?)
        .await?;
    let stream: StreamId = "invoice-7".parse()?;
    let old = v1::Invoice::Payed {
        euros: 12,
        by: "Ada Lovelace".into(),
    };
    let new = Invoice::Paid {
        cents: 50,
        first_name: "Charles".into(),
        last_name: "Babbage".into(),
        reference: Some("B-1".into()),
    };
    let appender = engine.appender();
    appender
        .append(
            stream.clone(),
            Expected::NoStream,
            vec![NewEvent::typed(old)],
        )
        .await?;
    appender
        .append(
            stream.clone(),
            Expected::Exact(0),
            vec![NewEvent::typed(new)],
        )
        .await?;

    let events = engine.events::<Invoice>(&stream, 0, 10)?;
    for event in &events {
        println!("{} {:?}", event.version, event.payload);
    }
    assert_eq!(
        events[0].payload,
        Invoice::Paid {
            cents: 1_200,
            first_name: "Ada".into(),
            last_name: "Lovelace".into(),
            reference: None,
        }
    );
    assert_eq!(events.len(), 2);
    engine.shutdown().await?;
    Ok(())
}
