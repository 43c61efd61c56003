//! Danger: a handler makes a row that cannot be written, or whose writing panics. The event is undone and parked like
//! one that the handler fails on; others go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millstream::prelude::*;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use serde::{Deserialize, Serialize};

use crate::failing_events::{letters, projected, quick};
use crate::support::*;

/// A sum that may hold what cannot be written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Ledger {
    sum: i64,
    odd: Option<Odd>,
}

const LEDGERS: Table<String, Ledger> = Table::named("ledgers");
const TOTALS: Table<String, i64> = Table::named("totals");

/// Adds; 666 makes a row whose writing fails, 667 one whose writing panics, in the last of three changes.
struct Ledgers;

impl Projection for Ledgers {
    const NAME: &'static str = "ledgers";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, i64>, Table<String, Ledger>);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (TOTALS, LEDGERS)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (totals, ledgers): &mut (TableMut<String, i64>, TableMut<String, Ledger>),
    ) -> Result<(), Self::Error> {
        if let Happened::Added { by } = *event.payload {
            let id = event.id.to_owned();
            totals.update(&"all".to_owned(), |total| *total += by);
            ledgers.update(&id, |ledger| ledger.sum += by);
            ledgers.update(&id, |ledger| {
                ledger.odd = match by {
                    666 => Some(Odd::Fails),
                    667 => Some(Odd::Panics),
                    _ => None,
                };
            });
        }
        Ok(())
    }
}

async fn ledgers(folder: &Path) -> Engine {
    let topology = Topology::named("ledgers")
        .aggregate::<Tally>()
        .projection_with(Ledgers, quick(2))
        .build()
        .unwrap();
    open_with(folder, config(), topology).await
}

/// Story: a row was written for the first time when it was stored, batches after its event, so one that could not be
/// written ended the projection. Goal: its event alone is a dead letter, its changes are seen nowhere, its stream
/// waits, others go on, also after a restart. Method: more such events than the supervisor takes failures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_written_parks_its_event() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = ledgers(folder.path()).await;
    for n in 0..20 {
        for by in [1, 666 + n % 2, 3] {
            let id = format!("bad{n}");
            engine.send::<Tally>(&id, Ask::Add(by)).await.unwrap();
        }
        engine.send::<Tally>("good", Ask::Add(10)).await.unwrap();
    }
    for opened in 0..2 {
        projected(&engine).await;
        // What follows a letter is stored with the position behind it.
        until("all are dead, and what follows them is counted", || {
            let letters = letters(&engine);
            let is_over = |letter: &DeadLetter| {
                letter.status == DeadLetterStatus::Dead && letter.followers == 1
            };
            letters.len() == 20 && letters.iter().all(is_over)
        })
        .await;
        for letter in letters(&engine) {
            assert!(
                letter.cause[0] == "panicked: writing panics"
                    || letter.cause[0].contains("this cannot be written"),
                "{:?}",
                letter.cause
            );
        }
        let rows: BTreeMap<_, _> = engine
            .query(&LEDGERS)
            .rows()
            .await
            .unwrap()
            .into_iter()
            .collect();
        assert_eq!(rows.len(), 21);
        for (id, row) in rows {
            let sum = if id == "good" { 200 + opened } else { 1 };
            assert_eq!(row, Ledger { sum, odd: None }, "{id}");
        }
        let total = engine.query(&TOTALS).get("all").await.unwrap();
        assert_eq!(total, Some(220 + opened));
        close(engine).await;
        engine = ledgers(folder.path()).await;
        engine.send::<Tally>("good", Ask::Add(1)).await.unwrap();
    }
    close(engine).await;
}

/// A row whose reading waits until it is let go.
#[derive(Clone, Debug, Default, Serialize)]
struct Slow;

/// The gate that reading a [`Slow`] passes, while there is one.
static READING: std::sync::Mutex<Option<Gate>> = std::sync::Mutex::new(None);

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Slow")]
        struct Plain;
        Plain::deserialize(from)?;
        let gate = READING.lock().unwrap().take();
        if let Some(gate) = gate {
            let _ = gate.entered.send(());
            let waited = gate.leave.recv_timeout(std::time::Duration::from_secs(60));
            waited.expect("the runtime goes on while rows are read");
        }
        Ok(Self)
    }
}

const SLOW: Table<String, Slow> = Table::named("slow");

/// A row per tally.
struct Slows;

impl Projection for Slows {
    const NAME: &'static str = "slows";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, Slow>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (SLOW,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (slow,): &mut (TableMut<String, Slow>,),
    ) -> Result<(), Self::Error> {
        slow.put(&event.id.to_owned(), Slow);
        Ok(())
    }
}

/// Story: a query for all rows read the store inside its future, so a large table held up all tasks of that thread.
/// Method: a runtime of one thread; the row's reading waits for a task that must run meanwhile.
#[tokio::test]
async fn reading_all_rows_does_not_hold_up_the_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let open = || async {
        let topology = Topology::named("slow")
            .aggregate::<Tally>()
            .projection(Slows)
            .build()
            .unwrap();
        open_with(folder.path(), config(), topology).await
    };
    let engine = open().await;
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    projected(&engine).await;
    close(engine).await;
    // Opened again, the row is in the store alone.
    let engine = Arc::new(open().await);
    let (gate, keeper) = gate();
    *READING.lock().unwrap() = Some(gate);
    let query = engine.query(&SLOW);
    let rows = tokio::spawn(query.rows());
    let opens = tokio::spawn(async move { keeper.open() });
    assert_eq!(within(rows).await.unwrap().unwrap().len(), 1);
    within(opens).await.unwrap();
    close(Arc::into_inner(engine).unwrap()).await;
}
