//! Promise: projections that look into each other in a row, each into what the one before it has made, have what one event after
//! the other finds: live, after restarts and kills, in a replay and in a table of the past.

use std::collections::BTreeMap;
use std::path::Path;

use millstream::prelude::*;
use millstream_operators::projection::FoundIn;

use crate::enrich::{happened, next, recorded, written};
use crate::kills::{Answer, killed, told};
use crate::processes;
use crate::support::*;

const TALLIES: u64 = 5;
/// Tasks of the victim that send commands.
const TASKS: u64 = 4;

const BASE: Table<String, SumRow> = Table::named("chain-base").versioned(Retention::FOREVER);
const MIDDLE: Table<String, i64> = Table::named("chain-middle").versioned(Retention::FOREVER);
const TOP: Table<String, Found> = Table::named("chain-top").versioned(Retention::FOREVER);

/// Of the last event of a tally: what it found of its own tally and of the next one, in either table.
type Found = [(Option<SumRow>, Option<i64>); 2];

/// The sum of each tally.
struct Base;

sums_of_tallies!(Base: "chain-base", 1, BASE);

/// All sums that each tally has had, added up.
struct Middle;

impl Projection for Middle {
    const NAME: &'static str = "chain-middle";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, i64>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (MIDDLE,)
    }

    fn reads(&self) -> Reads {
        Reads::none().table(Base, &BASE)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (middle,): &mut (TableMut<String, i64>,),
    ) -> Result<(), Self::Error> {
        let id = event.id.to_owned();
        let base = event.look_up(&BASE, &id).unwrap_or_default();
        middle.update(&id, |all| *all += base.sum);
        Ok(())
    }
}

/// What each event finds.
struct Top;

impl Projection for Top {
    const NAME: &'static str = "chain-top";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const ORDER: Order = Order::Recorded;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, Found>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (TOP,)
    }

    fn reads(&self) -> Reads {
        Reads::none().table(Middle, &MIDDLE).table(Base, &BASE)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (top,): &mut (TableMut<String, Found>,),
    ) -> Result<(), Self::Error> {
        let keys = [event.id.to_owned(), next(event.id, TALLIES)];
        let found = keys.each_ref().map(|key| {
            let base = event.look_up(&BASE, key);
            (base, event.look_up(&MIDDLE, key))
        });
        top.put(&keys[0], found);
        Ok(())
    }
}

/// The one that is read last is declared first, and each stores at a pace of its own.
fn topology() -> Topology {
    let every = |store_every_ms| ProjectionConfig {
        store_every_ms,
        hot_rows_max: 2,
        ..ProjectionConfig::default()
    };
    Topology::named("chain")
        .aggregate::<Tally>()
        .projection_with(Top, every(3))
        .projection_with(Middle, every(20))
        .projection_with(Base, every(7))
        .build()
        .unwrap()
}

async fn start(folder: &Path) -> Engine {
    open_with(folder, config(), topology()).await
}

/// The rows of the three tables.
#[derive(Debug, Default, PartialEq)]
struct Chain {
    base: BTreeMap<String, SumRow>,
    middle: BTreeMap<String, i64>,
    top: BTreeMap<String, Found>,
}

impl Chain {
    /// What one event after the other leaves, as they were recorded.
    fn expected(engine: &Engine) -> Self {
        let mut own = Self::default();
        for (id, event) in &recorded(engine) {
            let base = own.base.entry(id.clone()).or_default();
            base.add(&happened(event));
            *own.middle.entry(id.clone()).or_default() += base.sum;
            let keys = [id.clone(), next(id, TALLIES)];
            let found =
                keys.map(|key| (own.base.get(&key).cloned(), own.middle.get(&key).copied()));
            own.top.insert(id.clone(), found);
        }
        own
    }

    /// The rows as queries give them, once everything durable is in them.
    async fn queried(engine: &Engine) -> Self {
        let token = engine.durable();
        let base = within(
            engine
                .query(&BASE)
                .at_least(&token)
                .deadline(PATIENCE)
                .rows(),
        );
        let base = base.await.unwrap().into_iter().collect();
        let middle = within(
            engine
                .query(&MIDDLE)
                .at_least(&token)
                .deadline(PATIENCE)
                .rows(),
        );
        let middle = middle.await.unwrap().into_iter().collect();
        let top = within(
            engine
                .query(&TOP)
                .at_least(&token)
                .deadline(PATIENCE)
                .rows(),
        );
        let top = top.await.unwrap().into_iter().collect();
        Self { base, middle, top }
    }
}

/// Rows, what events find one after the other, and fresh replays are the same.
async fn check(engine: &Engine) {
    assert_eq!(Chain::queried(engine).await, Chain::expected(engine));
    let base = within(engine.verify(Base)).await.unwrap();
    let middle = within(engine.verify(Middle)).await.unwrap();
    let top = within(engine.verify(Top)).await.unwrap();
    for verified in [base, middle, top] {
        assert!(verified.is_good() && verified.events > 0, "{verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_has_what_one_event_after_the_other_finds() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    for _ in 0..3 {
        let engine = start(folder.path()).await;
        written(&engine, &mut random, 40, TALLIES).await;
        check(&engine).await;
        // Ends while each waits for the one before it.
        written(&engine, &mut random, 20, TALLIES).await;
        close(engine).await;
    }
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let engine = start(folder.path()).await;
    check(&engine).await;
    close(engine).await;
}

/// Goal: a table of the past of a projection that looks into others is what it was when it had come to that moment, although
/// what it looks into has changed since; in whichever way it is found. Method: after each command the rows are noted, once all
/// have come to it; then each moment is asked for, live and after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_of_a_chain_is_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let engine = start(folder.path()).await;
    let (mut token, mut was) = (engine.durable(), Vec::new());
    for _ in 0..12 {
        let ask = Ask::AddAll(vec![random.below(1_000) as i64; 2]);
        let id = format!("t{}", random.below(TALLIES));
        let ack = within(engine.send::<Tally>(&id, ask)).await.unwrap();
        token.merge(&ack.token());
        was.push((token.clone(), Chain::queried(&engine).await));
    }
    same_past(&engine, &was).await;
    written(&engine, &mut random, 10, TALLIES).await;
    close(engine).await;
    let engine = start(folder.path()).await;
    same_past(&engine, &was).await;
    close(engine).await;
}

async fn same_past(engine: &Engine, was: &[(Token, Chain)]) {
    // All that was noted is stored.
    for (token, then) in was {
        let middle = engine.table_at(&MIDDLE, token);
        let stored = within(middle.from_versions().open()).await.unwrap();
        assert_eq!(stored.found_in(), FoundIn::Versions);
        let replayed = within(engine.table_at(&MIDDLE, token).from_replay().open());
        for table in [stored, replayed.await.unwrap()] {
            let rows: BTreeMap<_, _> = table.scan().all().unwrap().into_iter().collect();
            assert_eq!(rows, then.middle, "at {token:?}");
        }
        // One actor mixes partitions, so that a position is asked of a replay.
        let top = within(engine.table_at(&TOP, token).open()).await.unwrap();
        let rows: BTreeMap<_, _> = top.scan().all().unwrap().into_iter().collect();
        assert_eq!(rows, then.top, "at {token:?}");
        for (id, found) in &then.top {
            let row = within(engine.table_at(&TOP, token).row(id)).await.unwrap();
            assert_eq!(row.row.as_ref(), Some(found));
        }
    }
}

/// Command `n` of a task of a round: the tally that it goes to, and what it adds, an event each.
fn command(round: u64, task: u64, n: u64) -> (String, Vec<i64>) {
    let id = format!("t{}", (n ^ (n >> 3) ^ task) % TALLIES);
    (id, vec![(round + n) as i64; 1 + (n % 3) as usize])
}

/// Sends commands until it is killed, and says which were acknowledged. Does nothing by itself.
#[test]
fn victim() {
    let Some((folder, round)) = told() else {
        return;
    };
    runtime().block_on(async {
        let engine = start(&folder).await;
        let tasks = (0..TASKS).map(|task| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let (id, values) = command(round, task, n);
                    let ack = engine.send::<Tally>(&id, Ask::AddAll(values)).await;
                    let ack = ack.unwrap();
                    let version = ack.version.unwrap();
                    processes::acknowledge(format_args!("{task} {n} {version}"));
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

/// What was acknowledged, by tally and the number of its last event: the values of its events.
type Acknowledged = BTreeMap<(String, u64), Vec<i64>>;

/// All that was acknowledged is in the log where its answer said, and in the rows of the first table and of the last.
async fn check_acknowledged(engine: &Engine, acknowledged: &Acknowledged) {
    let (streams, rows) = (streams(engine), Chain::queried(engine).await);
    for ((id, version), values) in acknowledged {
        let events = &streams[&format!("tally-{id}")];
        let end = *version as usize + 1;
        let found = events.get(end - values.len()..end);
        let expected: Vec<_> = values.iter().copied().map(added).collect();
        assert_eq!(found, Some(&*expected), "{id}, version {version}");
        assert!(rows.base[id].events > *version, "{id}, version {version}");
        let own = rows.top[id][0].0.as_ref();
        assert!(own.is_some_and(|row| row.events > *version), "{own:?}");
    }
}

/// Goal: killed at any moment, each of a chain goes on from where its rows are, which is elsewhere for each, and finds what it
/// would have found; nothing that was acknowledged is missing. Method: a real process is killed after a varying number of
/// answers, over and over on the same folder; then rows, a naive fold and fresh replays have to be the same, with all answers of
/// all lives in them. `KILLS=` rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut acknowledged = Acknowledged::new();
    for round in 0..processes::kills() {
        let answers = killed("enrich_chain::victim", folder.path(), round, &mut random);
        for Answer(task, n, version) in answers {
            let (id, values) = command(round, task, n);
            let before = acknowledged.insert((id, version), values);
            assert_eq!(before, None, "two answers name one event");
        }
        let engine = start(folder.path()).await;
        check(&engine).await;
        check_acknowledged(&engine, &acknowledged).await;
        close(engine).await;
    }
}
