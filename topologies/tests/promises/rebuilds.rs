//! Promise: a projection is changed for another version of it while everything runs, and nobody sees rows go back or lack
//! what a token has seen; a crash at any moment leaves one of the two answering.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::{RebuildError, TopologyFault};
use millstream_engine::state::StateError;
use millstream_operators::projection::{QueryError, TableReader};

use crate::kills::{command, compare};
use crate::processes::{self, Victim};
use crate::support::*;

/// The sums once more, as version `N`.
struct SumsOf<const N: u32>;

impl<const N: u32> Projection for SumsOf<N> {
    const NAME: &'static str = Sums::NAME;
    const VERSION: u32 = N;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, SumRow>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (SUMS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        tables: &mut (TableMut<String, SumRow>,),
    ) -> Result<(), Self::Error> {
        Sums.project(event, tables)
    }
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

fn busy() -> ProjectionConfig {
    ProjectionConfig {
        store_every_ms: 2,
        store_every_behind_ms: 2,
        hot_rows_max: 12,
        ..ProjectionConfig::default()
    }
}

fn tallies() -> millstream::TopologyBuilder {
    Topology::named("tallies")
        .aggregate::<Tally>()
        .projection(Digits)
}

fn two() -> Topology {
    let both = tallies().projection_with(SumsOf::<1>, busy());
    both.candidate_with(SumsOf::<2>, busy()).build().unwrap()
}

async fn start(folder: &Path, topology: Topology) -> Engine {
    let mut config = config();
    config.restart.attempts_max = 0;
    open_with(folder, config, topology).await
}

async fn fill(engine: &Engine, ids: u64) {
    for id in 0..ids {
        let id = format!("t{id}");
        engine
            .send::<Tally>(&id, Ask::AddAll(vec![1, 2, 3]))
            .await
            .unwrap();
    }
    engine.ready().await.unwrap();
}

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
                let query = engine.query(&SUMS).at_least(&ack.token());
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

/// Goal: tables of other types, and ones that only one version has, are asked for as the version that answers has them, or by
/// version; what is asked of the other one says which answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_with_other_rows() {
    let folder = tempfile::tempdir().unwrap();
    let topology = tallies().projection(Sums).candidate(Changed).build();
    let engine = start(folder.path(), topology.unwrap()).await;
    fill(&engine, 10).await;
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
    let count = candidate.query(&COUNTS).at_least(&token).get("t1").await;
    assert_eq!(count.unwrap(), Some(3));
    let snapshot = candidate.snapshot().at_least(&token).open().await.unwrap();
    assert_eq!(
        snapshot.table(&ONLY_SUMS).unwrap().scan().count().unwrap(),
        10
    );
    assert!(engine.verify(Changed).await.unwrap().is_good());

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
        .get("t1")
        .await;
    assert_eq!(sum.unwrap(), Some(10));
    let row = old.at_least(&ack.token()).get("t1").await.unwrap();
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
    close(engine).await;
}

/// Goal: which version answers outlasts restarts, and what a program declares later decides as it is documented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_answers_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(folder.path(), two()).await;
    fill(&engine, 10).await;
    let rebuild = engine.rebuild("sums").unwrap();
    rebuild.switch().await.unwrap();
    drop(rebuild);
    close(engine).await;

    let engine = start(folder.path(), two()).await;
    let active = engine.rebuild("sums").unwrap().active();
    assert_eq!(active, 2, "as it was switched");
    let error = engine.rebuild("sums").unwrap().switch().await.unwrap_err();
    assert!(
        matches!(error, RebuildError::NoCandidate { active: 2, .. }),
        "{error}"
    );
    check(&engine).await;
    close(engine).await;

    // A program that was put back answers with what it knows.
    let one = || tallies().projection(SumsOf::<1>).build().unwrap();
    let engine = start(folder.path(), one()).await;
    assert_eq!(engine.rebuild("sums").unwrap().active(), 1);
    check(&engine).await;
    // The other one is there, and does not run.
    let rebuild = engine.rebuild("sums").unwrap();
    let error = rebuild.switch_back().await.unwrap_err();
    assert!(
        matches!(
            error,
            RebuildError::NoPrevious {
                previous: Some(2),
                ..
            }
        ),
        "{error}"
    );
    drop(rebuild);
    close(engine).await;

    // Dropped while it does not run.
    let engine = start(folder.path(), one()).await;
    let stored = engine.state().projection("sums", 2).unwrap().unwrap();
    assert_eq!(engine.state().count(stored.tables[0]).unwrap(), 10);
    let rebuild = engine.rebuild("sums").unwrap();
    rebuild.drop_version(2).await.unwrap();
    let error = rebuild.drop_version(7).await.unwrap_err();
    assert!(
        matches!(error, RebuildError::UnknownVersion { version: 7, .. }),
        "{error}"
    );
    until("its rows are gone", || {
        engine.state().count(stored.tables[0]).unwrap() == 0
    })
    .await;
    drop(rebuild);
    close(engine).await;

    // Declared beside another one it is not built again, until a start has not declared it.
    let engine = start(folder.path(), two()).await;
    assert!(engine.version::<SumsOf<2>>().is_err());
    assert!(engine.state().projection("sums", 2).unwrap().is_none());
    close(engine).await;
    close(start(folder.path(), one()).await).await;
    let engine = start(folder.path(), two()).await;
    let rebuild = engine.rebuild("sums").unwrap();
    within(rebuild.caught_up()).await.unwrap();
    assert!(within(rebuild.compare()).await.unwrap().is_same());
    close(engine).await;
}

/// Goal: a candidate that does not come further is not switched to, and the version that answers goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_is_behind_is_not_switched_to() {
    struct Halts;
    impl Projection for Halts {
        const NAME: &'static str = Sums::NAME;
        const VERSION: u32 = 2;
        const ROWS: Rows = Rows::Global;
        const CATEGORY: &'static str = "tally";
        type Event = Happened;
        type Tables = (Table<String, SumRow>,);
        type Error = std::fmt::Error;
        fn tables(&self) -> Self::Tables {
            (SUMS,)
        }
        fn project(
            &self,
            event: &ProjectedEvent<'_, Happened>,
            tables: &mut (TableMut<String, SumRow>,),
        ) -> Result<(), Self::Error> {
            if event.id == "t3" {
                return Err(std::fmt::Error);
            }
            Sums.project(event, tables).map_err(|never| match never {})
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let halts = ProjectionConfig {
        parked_keys_max: 0,
        ..busy()
    };
    let topology = tallies().projection(Sums).candidate_with(Halts, halts);
    let engine = start(folder.path(), topology.build().unwrap()).await;
    fill(&engine, 10).await;
    let rebuild = engine.rebuild("sums").unwrap();
    let error = within(rebuild.switch()).await.unwrap_err();
    assert!(
        matches!(&error, RebuildError::Query(QueryError::Stopped { .. })),
        "{error}"
    );
    let error = within(rebuild.compare()).await.unwrap_err();
    assert!(matches!(error, RebuildError::Query(_)), "{error}");
    let progress = rebuild.progress().unwrap();
    assert!(
        progress.given_up.is_some() && progress.failures > 0,
        "{progress:?}"
    );
    assert_eq!(rebuild.active(), 1);
    check(&engine).await;
    rebuild.drop_version(2).await.unwrap();
    let _ = engine.shutdown().await;
}

/// Goal: progress is told in sum and per partition; a candidate that is stopped in the middle goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let one = tallies().projection_with(SumsOf::<1>, busy()).build();
    let engine = start(folder.path(), one.unwrap()).await;
    fill(&engine, 200).await;
    close(engine).await;
    for round in 0..20 {
        let engine = start(folder.path(), two()).await;
        let rebuild = engine.rebuild("sums").unwrap();
        let progress = rebuild.progress().unwrap();
        assert_eq!(progress.of, 600, "round {round}");
        let applied: u64 = progress.partitions.iter().map(|one| one.applied).sum();
        assert_eq!(applied, progress.applied);
        assert!(!progress.is_active && progress.version == 2);
        // Ended at once, however much is left.
        drop(rebuild);
        close(engine).await;
    }
    let engine = start(folder.path(), two()).await;
    let rebuild = engine.rebuild("sums").unwrap();
    within(rebuild.caught_up()).await.unwrap();
    let progress = rebuild.progress().unwrap();
    assert!(progress.is_caught_up() && progress.time_left == Some(Duration::ZERO));
    assert_eq!(progress.age, Duration::ZERO);
    assert!(within(rebuild.compare()).await.unwrap().is_same());
    close(engine).await;
}

#[test]
fn faults_of_candidates() {
    let built = tallies().candidate(SumsOf::<2>).build();
    let fault = TopologyFault::CandidateOfNone {
        name: "sums",
        version: 2,
    };
    assert_eq!(built.unwrap_err().faults, [fault]);
    let built = tallies()
        .projection(SumsOf::<1>)
        .candidate(SumsOf::<2>)
        .candidate(SumsOf::<1>)
        .build();
    let fault = TopologyFault::SameVersion {
        name: "sums",
        version: 1,
    };
    assert_eq!(built.unwrap_err().faults, [fault]);
}

/// Names the folder to the process that is going to be killed, and which round it is.
const VICTIM: &str = "MILLSTREAM_REBUILD_VICTIM";
const ROUND: &str = "MILLSTREAM_REBUILD_ROUND";

/// What a round declares: some versions come and go.
fn declared(round: u64) -> Topology {
    let tallies = tallies();
    let declared = match round % 4 {
        0 => tallies
            .projection_with(SumsOf::<1>, busy())
            .candidate_with(SumsOf::<2>, busy()),
        1 => tallies
            .projection_with(SumsOf::<2>, busy())
            .candidate_with(SumsOf::<1>, busy())
            .candidate_with(SumsOf::<3>, busy()),
        2 => tallies
            .projection_with(SumsOf::<3>, busy())
            .candidate_with(SumsOf::<2>, busy()),
        _ => tallies.projection_with(SumsOf::<1>, busy()),
    };
    declared.build().unwrap()
}

/// Sends commands, and switches, compares and drops versions, until it is killed. Does nothing by itself.
#[test]
fn victim() {
    let Ok(folder) = std::env::var(VICTIM) else {
        return;
    };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    runtime().block_on(async {
        let engine = start(Path::new(&folder), declared(round)).await;
        let tasks = (0..4).map(|task| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let (name, id, values) = command(round, task, n);
                    let sent = engine.send_with::<Tally>(&id, Ask::AddAll(values), named(name));
                    let ack = sent.await.unwrap();
                    let query = engine.query(&SUMS).at_least(&ack.token());
                    let row = query.get(id.as_str()).await.unwrap().unwrap();
                    assert!(row.events > ack.version.unwrap(), "not its own write");
                    processes::acknowledge(format_args!("{task} {n} {}", ack.version.unwrap()));
                }
            })
        });
        let tasks: Vec<_> = tasks.collect();
        change(&engine, round).await;
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn change(engine: &Engine, round: u64) {
    let rebuild = engine.rebuild("sums").unwrap();
    for n in 0.. {
        let others = rebuild.versions();
        let others: Vec<_> = others.iter().filter(|one| !one.is_active).collect();
        let Some(other) = others.get(n % others.len().max(1)) else {
            return;
        };
        let one = rebuild.clone().to(other.version).unwrap();
        one.caught_up().await.unwrap();
        assert!(one.compare().await.unwrap().is_same());
        let before = one.active();
        assert_eq!(one.switch().await.unwrap(), other.version);
        if n % 2 == 0 {
            assert_eq!(one.switch_back().await.unwrap(), before);
        } else if n as u64 > 3 + round % 7 {
            one.drop_version(before).await.unwrap();
        }
    }
}

struct Answer(u64, u64, u64);

impl FromStr for Answer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse().ok();
        let mut answer = || Some(Self(number()?, number()?, number()?));
        answer().ok_or(())
    }
}

/// Goal: after kill -9 at any moment of building, comparing, switching, switching back and dropping, one version answers,
/// with all that was acknowledged; each version that runs has the rows of a replay. Method: a real process that does all
/// of it under load is killed, over and over on the same folder. `KILLS=` rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut all = BTreeMap::<u64, (String, u64)>::new();
    for round in 0..processes::kills() {
        let mut victim = processes::alone("rebuilds::victim");
        victim
            .env(VICTIM, folder.path())
            .env(ROUND, round.to_string());
        let wanted = 1 + random.below(400) as usize;
        for Answer(task, n, version) in Victim::of(&mut victim).killed_after::<Answer>(wanted) {
            let (name, id, _) = command(round, task, n);
            all.insert(name as u64, (id, version));
        }
        let engine = start(folder.path(), declared(round)).await;
        let streams = check(&engine).await;
        compare(&streams, &all, round);
        let rebuild = engine.rebuild("sums").unwrap();
        let known = engine.state().versions("sums").unwrap().unwrap();
        assert_eq!(known.active, rebuild.active());
        for version in rebuild.versions() {
            if !version.is_active {
                let one = rebuild.clone().to(version.version).unwrap();
                within(one.caught_up()).await.unwrap();
                let compared = within(one.compare()).await.unwrap();
                assert!(compared.is_same(), "round {round}: {compared:?}");
            }
        }
        drop(rebuild);
        close(engine).await;
    }
}

/// Goal: the record of the version that answers and the rows are one store: a version that is not there cannot answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_state_the_declared_version_answers() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(folder.path(), two()).await;
    fill(&engine, 10).await;
    engine.rebuild("sums").unwrap().switch().await.unwrap();
    close(engine).await;
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let engine = start(folder.path(), two()).await;
    within(engine.ready()).await.unwrap();
    assert_eq!(engine.rebuild("sums").unwrap().active(), 1);
    check(&engine).await;
    let error = engine.rebuild("nobody").unwrap_err();
    assert!(error.to_string().contains("digits"), "{error}");
    let closed = engine.rebuild("sums").unwrap();
    close(engine).await;
    let error = closed.switch().await.unwrap_err();
    assert!(
        matches!(
            error,
            RebuildError::State(StateError::Closed) | RebuildError::Query(_)
        ),
        "{error}"
    );
}
