//! Promise: indexes find the rows that are there, a snapshot is of one moment, and a unique index stays unique; with
//! writers at work, rows let go from memory, and restarts in between.

mod unique;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::prelude::*;
use millstream_engine::time::ManualClock;
use millstream_operators::projection::{Lag, Page, QueryError};

use crate::failing_events::{projected, quick};
use crate::support::*;

const BY_COUNT: Index<String, SumRow, u64> = Index::named("by-count", |_, row| Some(row.events));
const BY_NAME: Index<String, SumRow, u64> = Index::named("by-sum", |_, row: &SumRow| {
    (row.sum >= NAMED).then_some(row.sum as u64)
})
.unique();
const TALLIES: Table<String, SumRow> = Table::named("tallies").indexed(&[&BY_COUNT, &BY_NAME]);
const TOTAL: Table<u64, SumRow> = Table::named("total");
/// A sum from here on has to be one's own.
const NAMED: i64 = 1 << 40;

/// All tallies, and what they are together.
struct Together;

impl Projection for Together {
    const NAME: &'static str = "together";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, SumRow>, Table<u64, SumRow>);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (TALLIES, TOTAL)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (tallies, total): &mut (TableMut<String, SumRow>, TableMut<u64, SumRow>),
    ) -> Result<(), Self::Error> {
        let add = |row: &mut SumRow| row.add(event.payload);
        tallies.update(&event.id.to_owned(), add);
        total.update(&0, add);
        Ok(())
    }
}

async fn start(folder: &std::path::Path, projection: ProjectionConfig) -> Engine {
    let topology = Topology::named("together")
        .aggregate::<Tally>()
        .projection_with(Together, projection)
        .build()
        .unwrap();
    open_with(folder, config(), topology).await
}

fn totals<'r>(rows: impl IntoIterator<Item = &'r SumRow>) -> SumRow {
    let mut all = SumRow::default();
    for row in rows {
        all.sum += row.sum;
        all.events += row.events;
    }
    all
}

/// Everything of one snapshot agrees: rows, total, index, and the token that says which events it has.
async fn check_snapshot(engine: &Engine, token: &Token) -> u64 {
    let snapshot = engine
        .snapshot::<Together>()
        .at_least(token)
        .deadline(PATIENCE);
    let snapshot = snapshot.open().await.unwrap();
    let (tallies, total) = (
        snapshot.table(&TALLIES).unwrap(),
        snapshot.table(&TOTAL).unwrap(),
    );
    let rows = tallies.scan().all().unwrap();
    let all = totals(rows.iter().map(|(_, row)| row));
    assert_eq!(total.get(&0).unwrap().unwrap_or_default(), all);
    let positions = snapshot.token().positions();
    let events: u64 = positions.iter().map(|position| position.offset.0 + 1).sum();
    assert_eq!(
        events, all.events,
        "rows of other events than the token says"
    );

    let mut by_count = rows.clone();
    by_count.sort_by_key(|(key, row)| (row.events, key.clone()));
    assert_eq!(
        tallies.by_range(&BY_COUNT, ..).unwrap().all().unwrap(),
        by_count
    );
    let mut paged = Vec::new();
    let mut pages = tallies.scan().descending();
    loop {
        let Page { rows, next } = pages.page(7).unwrap();
        paged.extend(rows);
        let Some(next) = next else { break };
        pages = pages.after(&next).unwrap();
    }
    paged.reverse();
    assert_eq!(paged, rows);
    events
}

/// Goal: a snapshot has all of some batches and nothing of others, whatever is written, stored and let go meanwhile.
/// Method: a projection of which one table is the sum of the other; writers on several tasks; bounds so tight that rows
/// are let go all the time; snapshots are checked all the time, and after each restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    for _ in 0..3 {
        let projection = ProjectionConfig {
            hot_rows_max: 10,
            store_every_ms: 1,
            unstored_rows_max: 5,
            ..ProjectionConfig::default()
        };
        let engine = start(folder.path(), projection).await;
        let before = check_snapshot(&engine, &engine.durable()).await;
        let writers: Vec<_> = (0..4_u64)
            .map(|_| {
                let engine = engine.clone();
                let asks = (0..60).map(|_| (random.below(40), random.below(9) as i64));
                let asks: Vec<_> = asks.collect();
                tokio::spawn(async move {
                    let mut last = Token::default();
                    for (id, by) in asks {
                        let id = format!("t{id}");
                        let ack = engine.send::<Tally>(&id, Ask::Add(by)).await.unwrap();
                        last.merge(&ack.token());
                    }
                    last
                })
            })
            .collect();
        let mut all = Token::default();
        for writer in writers {
            for _ in 0..5 {
                check_snapshot(&engine, &all).await;
            }
            all.merge(&writer.await.unwrap());
        }
        assert_eq!(check_snapshot(&engine, &all).await, before + 4 * 60);
        let mut of_count = BTreeMap::<u64, Vec<String>>::new();
        for (key, row) in engine.table(&TALLIES).unwrap().rows().unwrap() {
            of_count.entry(row.events).or_default().push(key);
        }
        let reader = engine
            .query(&TALLIES)
            .at_least(&all)
            .deadline(PATIENCE)
            .ready()
            .await
            .unwrap();
        for (count, keys) in of_count {
            let found = reader.by(&BY_COUNT, &count).unwrap().all().unwrap();
            let found: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
            assert_eq!(found, keys);
        }
        close(engine).await;
    }
}

/// Waits in front of the events that say so.
struct Held(Mutex<Option<Gate>>);

impl Projection for Held {
    const ROWS: Rows = Rows::Global;
    const NAME: &'static str = "held";
    const VERSION: u32 = 1;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, u64>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (SEEN,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (seen,): &mut (TableMut<String, u64>,),
    ) -> Result<(), Self::Error> {
        if let Happened::Noted { .. } = event.payload
            && let Some(gate) = self.0.lock().unwrap().take()
        {
            gate.entered.send(()).unwrap();
            gate.leave.recv().unwrap();
        }
        seen.update(&event.id.to_owned(), |events| *events += 1);
        Ok(())
    }
}

const SEEN: Table<String, u64> = Table::named("seen");

/// Goal: a query that bounds how old its answer may be gets one that is young enough, waits for it, or is told how old it
/// is. Method: a projection that stands still, on a clock that a test moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_answer_is_as_young_as_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, keeper) = gate();
    let topology = Topology::named("held")
        .aggregate::<Tally>()
        .projection(Held(Mutex::new(Some(gate))))
        .build()
        .unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
    let mut config = config();
    // The watchdog goes by the same clock.
    config.watchdog.stalled_after = None;
    let builder = Engine::open(folder.path()).config(config);
    let engine = builder.clock(clock.clone()).run(topology).await.unwrap();
    let ask = |ask| engine.send::<Tally>("one", ask);
    let first = ask(Ask::Add(1)).await.unwrap();
    let held = engine
        .query(&SEEN)
        .at_least(&first.token())
        .deadline(PATIENCE)
        .ready()
        .await
        .unwrap();
    assert_eq!(held.board().lag(), Some(Lag::default()));
    ask(Ask::Note("wait".to_owned())).await.unwrap();
    tokio::task::block_in_place(|| keeper.wait());
    let last = ask(Ask::Add(1)).await.unwrap();
    clock.advance(Duration::from_secs(60));

    let seen = || engine.query(&SEEN).deadline(Duration::ZERO);
    assert_eq!(seen().within_events(2).get("one").await.unwrap(), Some(1));
    assert_eq!(
        seen()
            .within(Duration::from_secs(60))
            .get("one")
            .await
            .unwrap(),
        Some(1)
    );
    for stale in [
        seen().within_events(1),
        seen().within(Duration::from_secs(59)),
    ] {
        match stale.get("one").await {
            Err(error @ QueryError::Stale { lag, .. }) => {
                assert_eq!(lag.events, 2);
                assert_eq!(lag.age, Duration::from_secs(60));
                assert!(error.is_retryable());
            }
            other => panic!("{other:?}"),
        }
    }
    let waiting = {
        let query = engine.query(&SEEN).within_events(0).within(Duration::ZERO);
        tokio::spawn(query.get("one"))
    };
    keeper.open();
    assert_eq!(within(waiting).await.unwrap().unwrap(), Some(3));
    assert_eq!(
        seen()
            .at_least(&last.token())
            .deadline(PATIENCE)
            .get("one")
            .await
            .unwrap(),
        Some(3)
    );
    close(engine).await;
}

/// Goal: a projection that runs is what a replay makes of the log, while events come, before and after a restart; and if
/// its code has become another one under the same version, that is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_is_compared_with_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    for _ in 0..2 {
        let engine = start(folder.path(), quick(1)).await;
        let writing = {
            let (engine, asks) = (engine.clone(), 100);
            let asks: Vec<_> = (0..asks)
                .map(|_| (random.below(20), random.below(9)))
                .collect();
            tokio::spawn(async move {
                for (id, by) in asks {
                    let id = format!("t{id}");
                    engine
                        .send::<Tally>(&id, Ask::Add(by as i64))
                        .await
                        .unwrap();
                }
            })
        };
        let mut last = 0;
        while !writing.is_finished() {
            let verification = engine.verify(Together).await.unwrap();
            assert!(verification.is_good(), "{verification:?}");
            assert!(verification.events >= last && verification.failed == 0);
            last = verification.events;
        }
        writing.await.unwrap();
        let verification = engine.verify(Together).await.unwrap();
        let checks: Vec<_> = verification
            .tables
            .iter()
            .map(|table| (table.table, table.rows))
            .collect();
        let tallies = engine.table(&TALLIES).unwrap().count().unwrap();
        assert_eq!(checks, [("tallies", tallies), ("total", 1)]);
        close(engine).await;
    }
    let topology = Topology::named("together")
        .aggregate::<Tally>()
        .projection(Halved)
        .build();
    let engine = open_with(folder.path(), config(), topology.unwrap()).await;
    let verification = engine.verify(Halved).await.unwrap();
    assert!(!verification.is_good());
    let total = &verification.tables[1];
    assert_eq!((total.missing, total.extra, total.different), (0, 0, 1));
    assert_ne!(total.checksum, total.replayed_checksum);
    close(engine).await;
}

/// [`Together`] with other code.
struct Halved;

impl Projection for Halved {
    const ROWS: Rows = Rows::Global;
    const NAME: &'static str = Together::NAME;
    const VERSION: u32 = Together::VERSION;
    const CATEGORY: &'static str = Together::CATEGORY;
    type Event = Happened;
    type Tables = <Together as Projection>::Tables;
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (TALLIES, TOTAL)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        tables: &mut (TableMut<String, SumRow>, TableMut<u64, SumRow>),
    ) -> Result<(), Self::Error> {
        if event.version.is_multiple_of(2) {
            Together.project(event, tables)?;
        }
        Ok(())
    }
}
