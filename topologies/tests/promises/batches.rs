//! Promise: a projection that takes events in batches leaves the rows that it leaves one by one, whatever fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::TopologyFault;
use millstream_operators::projection::same_in_batches;

use millstream::prelude::*;

use crate::support::failing::{self, *};
use crate::support::*;

const SUMMED: Table<String, SumRow> = Table::named("summed");
/// Fails in a batch, and goes well alone.
const ALONE: i64 = 1_002;

/// Batches that were applied, in this process.
static BATCHES: AtomicU64 = AtomicU64::new(0);

/// The sums of tallies, with one look-up per stream and batch.
struct Summed;

impl Projection for Summed {
    const NAME: &'static str = "summed";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    const BATCH: usize = 5;
    type Event = Happened;
    type Tables = (Table<String, SumRow>,);
    type Error = NotSummed;

    fn tables(&self) -> Self::Tables {
        (SUMMED,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (summed,): &mut (TableMut<String, SumRow>,),
    ) -> Result<(), NotSummed> {
        summed.update(&event.id.to_owned(), |row| row.add(event.payload));
        failing::summed(event.payload)
    }

    fn project_batch(
        &self,
        events: &[ProjectedEvent<'_, Happened>],
        (summed,): &mut (TableMut<String, SumRow>,),
    ) -> Result<(), NotSummed> {
        assert!((1..=Self::BATCH).contains(&events.len()));
        let mut sums = BTreeMap::<_, SumRow>::new();
        for event in events {
            let row = sums.entry(event.id.to_owned()).or_default();
            row.add(event.payload);
        }
        for (id, more) in sums {
            summed.update(&id, |row| {
                row.sum += more.sum;
                row.events += more.events;
            });
        }
        if events.iter().any(|event| change(event.payload) == PANICS) {
            panics("summing panics");
        }
        if events
            .iter()
            .any(|event| [FAILS, ALONE].contains(&change(event.payload)))
        {
            return Err(NotSummed);
        }
        BATCHES.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

fn topology() -> Topology {
    Topology::named("summed")
        .aggregate::<Tally>()
        .projection_with(Summed, failing_at_once())
        .build()
        .unwrap()
}

/// A batch that fails is seen, although each of its events goes well alone and nothing is parked.
#[tokio::test]
async fn a_batch_that_fails_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open_with(folder.path(), config(), topology()).await;
    for (values, failures) in [(vec![1, 2, 3], 0), (vec![1, ALONE, 3], 1)] {
        let sum: i64 = values.iter().sum();
        let id = failures.to_string();
        let added = engine.send::<Tally>(&id, Ask::AddAll(values));
        let token = added.await.unwrap().token();
        let query = engine.query(&SUMMED).at_least(&token).deadline(PATIENCE);
        let row = within(query.get(id.as_str())).await.unwrap();
        assert_eq!(row.unwrap().sum, sum);
        let version = engine.projections().remove(0);
        assert_eq!(version.failures, failures);
    }
    let letters = engine.state().dead_letters(None, None, 10).unwrap();
    assert_eq!(letters, []);
    close(engine).await;
}

/// Goal: rows are those of a fold that leaves out what fails and what waits behind it, and a replay, one by one, has the same.
/// Method: random commands of up to twelve events, some of which fail, panic, or fail in a batch alone, and restarts.
#[tokio::test]
async fn batches_leave_the_rows_of_a_fold() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut engine = open_with(folder.path(), config(), topology()).await;
    let (mut model, mut waiting) = (BTreeMap::<String, SumRow>::new(), BTreeSet::new());
    for _ in 0..60 {
        let id = format!("t{}", random.below(8));
        let values = (0..1 + random.below(12)).map(|_| match random.below(60) {
            0 => FAILS,
            1 => PANICS,
            2..6 => ALONE,
            other => i64::try_from(other).unwrap(),
        });
        let values: Vec<_> = values.collect();
        for value in &values {
            if is_failed_on(*value) {
                waiting.insert(id.clone());
            }
            if !waiting.contains(&id) {
                let row = model.entry(id.clone()).or_default();
                row.sum += value;
                row.events += 1;
            }
        }
        engine
            .send::<Tally>(&id, Ask::AddAll(values))
            .await
            .unwrap();
        if random.below(20) == 0 {
            close(engine).await;
            engine = open_with(folder.path(), config(), topology()).await;
        }
    }
    let token = engine.durable();
    let rows = within(
        engine
            .query(&SUMMED)
            .at_least(&token)
            .deadline(PATIENCE)
            .rows(),
    )
    .await
    .unwrap();
    assert_eq!(rows.into_iter().collect::<BTreeMap<_, _>>(), model);
    assert!(
        BATCHES.load(Ordering::Acquire) > 0,
        "no batch was ever applied"
    );
    let verification = within(engine.verify(Summed)).await.unwrap();
    assert!(
        verification.tables.iter().all(|table| table.is_good()),
        "{verification:?}"
    );
    close(engine).await;
}

#[test]
fn the_kit_knows_the_law() {
    let events = |count: i64| {
        let ids = ["a", "b", "c"].into_iter().cycle();
        ids.zip((0..count).map(|n| match n {
            7 => added(FAILS),
            11 => added(ALONE),
            n => added(n),
        }))
    };
    same_in_batches(|| Summed, events(60));
    let broken = std::panic::catch_unwind(|| same_in_batches(|| Largest, events(60)));
    let cause = *broken.unwrap_err().downcast::<String>().unwrap();
    assert!(cause.contains("are others than one by one"), "{cause}");
}

/// Breaks the law: it counts batches.
struct Largest;

impl Projection for Largest {
    const NAME: &'static str = "largest";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    const BATCH: usize = 4;
    type Event = Happened;
    type Tables = (Table<u64, u64>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (Table::named("largest"),)
    }

    fn project(
        &self,
        _: &ProjectedEvent<'_, Happened>,
        (largest,): &mut (TableMut<u64, u64>,),
    ) -> Result<(), Self::Error> {
        largest.update(&0, |count| *count += 1);
        Ok(())
    }

    fn project_batch(
        &self,
        _: &[ProjectedEvent<'_, Happened>],
        (largest,): &mut (TableMut<u64, u64>,),
    ) -> Result<(), Self::Error> {
        largest.update(&0, |count| *count += 1);
        Ok(())
    }
}

/// Versioned: each event leaves a version.
struct Versioned;

impl Projection for Versioned {
    const NAME: &'static str = "versioned";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    const BATCH: usize = 2;
    type Event = Happened;
    type Tables = (Table<u64, u64>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (Table::named("versioned").versioned(Retention::FOREVER),)
    }

    fn project(
        &self,
        _: &ProjectedEvent<'_, Happened>,
        _: &mut (TableMut<u64, u64>,),
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn tables_that_need_each_event_have_no_batches() {
    let built = Topology::named("versioned").projection(Versioned).build();
    let projection = "versioned";
    assert_eq!(
        built.unwrap_err().faults,
        [TopologyFault::BatchOfEach { projection }]
    );
}
