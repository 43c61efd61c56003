//! Whoever reads while versions are switched: by name, with a reader that is kept, and tables that another version does not have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use millstream::{Rebuild, RebuildError};
use millstream_engine::event::Position;
use millstream_operators::projection::{QueryError, TableReader};

use super::*;

/// Goal: under load, while versions are switched to and fro and compared, each writer reads its own writes, and no row goes
/// back, whether it is read by name each time, with a reader that is kept, or with both in turn. Method: 60 switches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_go_back_while_versions_are_switched() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(folder.path(), two()).await;
    fill(&engine, 6).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for task in 0..4 {
        let (engine, over) = (engine.clone(), Arc::clone(&over));
        tasks.push(tokio::spawn(async move {
            let id = format!("t{task}");
            while !over.load(Ordering::Acquire) {
                let ack = engine.send::<Tally>(&id, Ask::Add(1)).await.unwrap();
                let query = engine
                    .query(&SUMS)
                    .at_least(&ack.token())
                    .deadline(PATIENCE);
                let row = query.get(id.as_str()).await.unwrap().unwrap();
                assert_eq!(row.events, ack.version.unwrap() + 1, "not its own write");
            }
        }));
    }
    for task in 0..2 {
        let (engine, over) = (engine.clone(), Arc::clone(&over));
        tasks.push(tokio::task::spawn_blocking(move || {
            let mut kept: Vec<TableReader<String, SumRow>> = Vec::new();
            let mut last = BTreeMap::<String, u64>::new();
            for n in 0.. {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let id = format!("t{}", n % 6);
                let now = engine.table(&SUMS).unwrap();
                // Kept over some switches, and then one after the other: what an old one showed, the new one shows.
                if n % 64 == task {
                    kept.push(now.clone());
                    kept.truncate(4);
                }
                let older = kept.get(n % 5).filter(|reader| !reader.is_active());
                let seen = older.map(|reader| {
                    let row = reader.get(&id).unwrap().unwrap();
                    (row.events, reader.version(), reader.board().token())
                });
                let newer = engine.table(&SUMS).unwrap();
                let events = newer.get(&id).unwrap().unwrap().events;
                let before = last.entry(id).or_default();
                let what = (newer.version(), newer.board().token());
                assert!(events >= *before, "{events} after {before}: {what:?}");
                assert!(
                    seen.as_ref().is_none_or(|seen| events >= seen.0),
                    "{events} after {seen:?}: {what:?}"
                );
                *before = events;
            }
        }));
    }
    let rebuild = engine.rebuild("sums").unwrap();
    for round in 0..30 {
        within(rebuild.caught_up()).await.unwrap();
        assert_eq!(within(rebuild.switch()).await.unwrap(), 2);
        assert_eq!(rebuild.active(), 2);
        if round % 5 == 0 {
            let compared = within(rebuild.compare()).await.unwrap();
            assert!(compared.is_same(), "{compared:?}");
            assert_eq!((compared.active, compared.candidate), (2, 1));
            assert_eq!(compared.tables[0].equal, 6);
        }
        assert_eq!(within(rebuild.switch_back()).await.unwrap(), 1);
    }
    over.store(true, Ordering::Release);
    for task in tasks {
        within(task).await.unwrap();
    }
    check(&engine).await;
    close(engine).await;
}

const ONLY_SUMS: Table<String, i64> = Table::named("sums");
const COUNTS: Table<String, u64> = Table::named("counts");

/// Version 5: other rows, of one actor, and another table.
struct Changed;

impl Projection for Changed {
    const NAME: &'static str = Sums::NAME;
    const VERSION: u32 = 5;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, i64>, Table<String, u64>);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (ONLY_SUMS, COUNTS)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (sums, counts): &mut (TableMut<String, i64>, TableMut<String, u64>),
    ) -> Result<(), Self::Error> {
        if let Happened::Added { by } = event.payload {
            sums.update(&event.id.to_owned(), |sum| *sum += by);
        }
        counts.update(&event.id.to_owned(), |count| *count += 1);
        Ok(())
    }
}

async fn the_other_one_is_asked_by_version(engine: &Engine) {
    let token = engine.durable();
    for asked in [
        engine.query(&ONLY_SUMS).get("t1").await.map(|_| ()),
        engine.query(&COUNTS).get("t1").await.map(|_| ()),
        engine.snapshot::<Changed>().open().await.map(|_| ()),
    ] {
        let error = asked.unwrap_err();
        assert!(
            matches!(
                error,
                QueryError::OtherVersion {
                    version: 5,
                    active: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
    let candidate = engine.version::<Changed>().unwrap();
    let count = candidate
        .query(&COUNTS)
        .at_least(&token)
        .deadline(PATIENCE)
        .get("t1")
        .await;
    assert_eq!(count.unwrap(), Some(3));
    let snapshot = candidate
        .snapshot()
        .at_least(&token)
        .deadline(PATIENCE)
        .open()
        .await
        .unwrap();
    assert_eq!(
        snapshot.table(&ONLY_SUMS).unwrap().scan().count().unwrap(),
        10
    );
    assert!(engine.verify(Changed).await.unwrap().is_good());
}

/// Once another one answers; who has `old` hears of it.
async fn dropped_in_its_turn(rebuild: &Rebuild, old: &TableReader<String, SumRow>) {
    let error = rebuild.drop_version(5).await.unwrap_err();
    assert!(
        matches!(error, RebuildError::Active { version: 5, .. }),
        "{error}"
    );
    rebuild.drop_version(1).await.unwrap();
    rebuild.drop_version(1).await.unwrap();
    let error = old.get(&"t1".to_owned()).unwrap_err();
    assert!(
        matches!(error, QueryError::Dropped { version: 1, .. }),
        "{error}"
    );
    let error = rebuild.switch_back().await.unwrap_err();
    assert!(matches!(error, RebuildError::NoPrevious { .. }), "{error}");
    let error = rebuild.switch().await.unwrap_err();
    assert!(
        matches!(error, RebuildError::NoCandidate { active: 5, .. }),
        "{error}"
    );
}

/// Goal: tables of other types, and ones that only one version has, are asked for as the version that answers has them, or by
/// version; what is asked of the other one says which answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_with_other_rows() {
    let folder = tempfile::tempdir().unwrap();
    let topology = tallies().projection(Sums).candidate(Changed).build();
    let engine = start(folder.path(), topology.unwrap()).await;
    fill(&engine, 10).await;
    the_other_one_is_asked_by_version(&engine).await;
    let rebuild = engine.rebuild("sums").unwrap();
    let compared = within(rebuild.compare()).await.unwrap();
    assert!(!compared.is_same());
    assert_eq!(compared.only_candidate, ["counts"]);
    let table = &compared.tables[0];
    assert_eq!(
        (table.rows, table.different, table.samples.len()),
        (10, 10, 10)
    );
    assert_eq!(table.samples[0].candidate, Some(6.into()));

    let old = engine.table(&SUMS).unwrap();
    assert!(old.is_active() && old.version() == 1);
    rebuild.switch().await.unwrap();
    assert!(!old.is_active(), "it says that it stays with its version");
    let ack = engine.send::<Tally>("t1", Ask::Add(4)).await.unwrap();
    let sum = engine
        .query(&ONLY_SUMS)
        .at_least(&ack.token())
        .deadline(PATIENCE)
        .get("t1")
        .await;
    assert_eq!(sum.unwrap(), Some(10));
    let row = old
        .at_least(&ack.token())
        .deadline(PATIENCE)
        .get("t1")
        .await
        .unwrap();
    assert_eq!(row.unwrap().sum, 10, "and is as fresh as before");
    let error = engine.table(&SUMS).unwrap_err();
    assert!(
        matches!(
            error,
            QueryError::OtherVersion {
                version: 1,
                active: 5,
                ..
            }
        ),
        "{error}"
    );
    dropped_in_its_turn(&rebuild, &old).await;
    close(engine).await;
}

/// Story: who waited for a token heard that a version had been dropped, although the next one answered and queries by name went on
/// with it. Method: a token ahead of the log, which comes once the version that answered at first is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_goes_on_with_the_version_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let both = Topology::named("tallies").aggregate::<Tally>();
    let both = both.projection_with(SumsOf::<1>, busy());
    let both = both.candidate_with(SumsOf::<2>, busy()).build().unwrap();
    let engine = start(folder.path(), both).await;
    fill(&engine, 6).await;
    let ack = engine.send::<Tally>("t1", Ask::Add(1)).await.unwrap();
    let mut ahead = ack.token();
    let last = ahead.positions()[0];
    let offset = last.offset.plus(1);
    ahead.observe(Position { offset, ..last });
    let ever = std::time::Duration::from_secs(1_000);
    let mut waiting = Box::pin(engine.projected(&ahead, ever));
    let polled = std::future::poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context)));
    assert!(polled.await.is_pending());

    let rebuild = engine.rebuild("sums").unwrap();
    within(rebuild.caught_up()).await.unwrap();
    within(rebuild.switch()).await.unwrap();
    within(rebuild.drop_version(1)).await.unwrap();
    let polled = std::future::poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context)));
    let polled = polled.await;
    assert!(polled.is_pending(), "{polled:?}");
    engine.send::<Tally>("t1", Ask::Add(1)).await.unwrap();
    within(waiting).await.unwrap();
    close(engine).await;
}
