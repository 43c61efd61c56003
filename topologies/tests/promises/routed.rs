//! Promise: rows that are routed by key are those that one owner would make, whatever fails and
//! whenever the process is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use millstream::TopologyFault;
use millstream_operators::projection::same_by_key;

use millstream::prelude::*;

use crate::kills::{self, Answer};
use crate::processes;
use crate::support::failing::*;
use crate::support::*;

/// By last digit of what is added, which events of all tallies have.
const BY_DIGIT: Table<u64, SumRow> = Table::named("by-digit");

struct ByDigit;

fn digit(event: &Happened) -> u64 {
    change(event).rem_euclid(10) as u64
}

impl Projection for ByDigit {
    const NAME: &'static str = "by-digit";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByKey;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<u64, SumRow>,);
    type Error = NotSummed;

    fn tables(&self) -> Self::Tables {
        (BY_DIGIT,)
    }

    fn route(&self, event: &ProjectedEvent<'_, Happened>) -> Route {
        Route::of(digit(event.payload))
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (by_digit,): &mut (TableMut<u64, SumRow>,),
    ) -> Result<(), NotSummed> {
        by_digit.update(&digit(event.payload), |row| row.add(event.payload));
        summed(event.payload)
    }
}

/// Three owners, also of frames with few events; rows are stored and let go often.
fn topology() -> Topology {
    let shared = ProjectionConfig {
        owners: 3,
        shared_events_min: 2,
        store_every_ms: 2,
        hot_rows_max: 5,
        ..failing_at_once()
    };
    Topology::named("by-digit")
        .aggregate::<Tally>()
        .projection_with(ByDigit, shared)
        .build()
        .unwrap()
}

async fn open(folder: &Path) -> Engine {
    open_with(folder, config(), topology()).await
}

async fn rows(engine: &Engine) -> BTreeMap<u64, SumRow> {
    let token = engine.durable();
    let rows = within(
        engine
            .query(&BY_DIGIT)
            .at_least(&token)
            .deadline(PATIENCE)
            .rows(),
    )
    .await;
    rows.unwrap().into_iter().collect()
}

/// Goal: rows are those of a fold that leaves out what fails and what waits behind it, and a replay, in which all rows have one
/// owner, has the same. Method: random commands of up to twelve events, some of which fail or panic, and restarts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_leave_the_rows_of_a_fold() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut engine = open(folder.path()).await;
    let (mut model, mut waiting) = (BTreeMap::<u64, SumRow>::new(), BTreeSet::new());
    let mut shared = 0;
    for n in 0..80 {
        // What fails has the one actor apply all that comes behind it.
        let may_fail = n >= 50;
        let id = format!("t{}", random.below(12));
        let values = (0..1 + random.below(12)).map(|_| match random.below(150) {
            0 if may_fail => FAILS,
            1 if may_fail => PANICS,
            other => i64::try_from(other).unwrap(),
        });
        let values: Vec<_> = values.collect();
        for value in &values {
            if is_failed_on(*value) {
                waiting.insert(id.clone());
            }
            if !waiting.contains(&id) {
                let event = added(*value);
                model.entry(digit(&event)).or_default().add(&event);
            }
        }
        let sent = engine.send::<Tally>(&id, Ask::AddAll(values));
        sent.await.unwrap();
        if n % 8 == 0 {
            assert_eq!(rows(&engine).await, model);
        }
        if random.below(20) == 0 {
            shared += engine.table(&BY_DIGIT).unwrap().board().shared_frames().0;
            close(engine).await;
            engine = open(folder.path()).await;
        }
    }
    assert_eq!(rows(&engine).await, model);
    shared += engine.table(&BY_DIGIT).unwrap().board().shared_frames().0;
    assert!(shared > 0, "no frame was shared");
    let verification = within(engine.verify(ByDigit)).await.unwrap();
    assert!(
        verification.tables.iter().all(|table| table.is_good()),
        "{verification:?}"
    );
    close(engine).await;
}

/// Sends commands until it is killed, and says which were acknowledged. Does nothing by itself.
#[test]
fn victim() {
    let Some((folder, round)) = kills::told() else {
        return;
    };
    runtime().block_on(async {
        let engine = open(&folder).await;
        for n in 0.. {
            let (name, id, values) = kills::command(round, 0, n);
            let sent = engine.send_with::<Tally>(&id, Ask::AddAll(values), named(name));
            let version = sent.await.unwrap().version.unwrap();
            processes::acknowledge(format_args!("0 {n} {version}"));
        }
    });
}

/// Goal: after kill -9 at any moment rows have each event once. `KILLS=` rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routed_rows_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    for round in 0..processes::kills() {
        let answers = kills::killed("routed::victim", folder.path(), round, &mut random);
        let engine = open(folder.path()).await;
        let streams = streams(&engine);
        let mut expected = BTreeMap::<u64, SumRow>::new();
        for event in streams.values().flatten() {
            expected.entry(digit(event)).or_default().add(event);
        }
        for Answer(_, n, version) in answers {
            let (_, id, _) = kills::command(round, 0, n);
            assert!(streams[&format!("tally-{id}")].len() as u64 > version);
        }
        assert_eq!(rows(&engine).await, expected, "round {round}");
        close(engine).await;
    }
}

/// Breaks the law: its row is one that events of all routes change.
struct Last;

impl Projection for Last {
    const NAME: &'static str = "last";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByKey;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<u64, i64>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (Table::named("last").versioned(Retention::FOREVER),)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (last,): &mut (TableMut<u64, i64>,),
    ) -> Result<(), Self::Error> {
        last.put(&0, change(event.payload));
        Ok(())
    }
}

#[test]
fn the_kit_knows_the_law() {
    let events = || {
        let ids = ["a", "b", "c", "d", "e", "f"].into_iter().cycle();
        ids.zip((0..60).map(|n| added(if n == 7 { FAILS } else { n })))
    };
    same_by_key(|| ByDigit, events());
    let broken = std::panic::catch_unwind(|| same_by_key(|| Last, events()));
    let cause = *broken.unwrap_err().downcast::<String>().unwrap();
    assert!(cause.contains("2 owners: a row has two"), "{cause}");
}

#[test]
fn tables_that_need_each_event_have_one_owner() {
    let built = Topology::named("last").projection(Last).build();
    let projection = "last";
    assert_eq!(
        built.unwrap_err().faults,
        [TopologyFault::RoutedTogether { projection }]
    );
}
