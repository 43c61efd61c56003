//! Promise: the feed of a table's changes brings each of them once, in order, over restarts and kills; and a table is asked
//! for as it was at any moment, with the same answer from versions of its rows as from a replay.

mod killed;

use std::collections::BTreeMap;
use std::path::Path;

use millstream::dataflow::DataflowFault;
use millstream::prelude::*;
use millstream::{OpenError, TableAtError, TopologyFault};
use millstream_engine::event::Position;
use millstream_operators::projection::{Changes, ChangesError, FoundIn, QueryError, RowChange};

use crate::support::*;

const KEPT: Table<String, SumRow> = Table::named("kept").versioned(Retention::FOREVER);
const TOGETHER: Table<u64, SumRow> = Table::named("kept-together").versioned(Retention::FOREVER);

/// A row per tally; kept, or not, under the same version.
struct Kept<const IS_VERSIONED: bool>;

sums_of_tallies!(Kept<const IS_VERSIONED: bool>: "kept", 1, if IS_VERSIONED {
    KEPT
} else {
    Table::named("kept")
});

/// All tallies by the remainder of their number.
struct Together;

impl Projection for Together {
    const NAME: &'static str = "kept-together";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<u64, SumRow>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (TOGETHER,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (together,): &mut (TableMut<u64, SumRow>,),
    ) -> Result<(), Self::Error> {
        let group = event.id.len() as u64;
        together.update(&group, |row| row.add(event.payload));
        Ok(())
    }
}

fn topology<const IS_VERSIONED: bool>() -> Topology {
    let config = ProjectionConfig {
        store_every_ms: 2,
        hot_rows_max: 12,
        ..ProjectionConfig::default()
    };
    Topology::named("versions")
        .aggregate::<Tally>()
        .projection_with(Kept::<IS_VERSIONED>, config.clone())
        .projection_with(Together, config)
        .projection(Sums)
        .build()
        .unwrap()
}

async fn start(folder: &Path) -> Engine {
    open_with(folder, config(), topology::<true>()).await
}

/// Sends so many commands; gives what had been seen after each.
async fn written(engine: &Engine, mut random: Random, commands: u64) -> Vec<Token> {
    let (mut token, mut tokens) = (engine.durable(), Vec::new());
    for _ in 0..commands {
        let by = (0..1 + random.below(3)).map(|_| random.below(1_000) as i64);
        let ask = Ask::AddAll(by.collect());
        let id = format!("t{}", random.below(40));
        let ack = engine.send::<Tally>(&id, ask).await.unwrap();
        token.merge(&ack.token());
        tokens.push(token.clone());
    }
    tokens
}

/// Rows that somebody has of his own, and where he is.
#[derive(Clone)]
struct Copied<K> {
    rows: BTreeMap<K, SumRow>,
    from: ChangesFrom,
}

impl<K: millstream_operators::projection::TableKey + Ord + std::fmt::Debug> Copied<K> {
    fn from(from: ChangesFrom) -> Self {
        Self {
            rows: BTreeMap::new(),
            from,
        }
    }

    /// Takes changes to the end of the engine.
    async fn follow(mut self, mut changes: Changes<K, SumRow>) -> Self {
        while let Some(change) = changes.next().await.unwrap() {
            self.take(change);
            // As a text, as it would be stored.
            let place: ChangeCursor = changes.cursor().to_string().parse().unwrap();
            self.from = place.into();
        }
        self
    }

    fn take(&mut self, change: RowChange<K, SumRow>) {
        let row = change.row.unwrap();
        let before = self.rows.insert(change.key, row.clone());
        let events = before.map_or(0, |row| row.events);
        assert_eq!(row.events, events + 1, "left out, or given twice");
    }
}

/// Goal: whoever follows has the table when the engine ends, whenever he began, and goes on from there in the next one.
/// Method: three lives of an engine with writers; followers of both kinds of projections from the beginning, from where
/// they were, and from snapshots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_have_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut kept = vec![Copied::from(ChangesFrom::Oldest)];
    let mut together = vec![Copied::from(ChangesFrom::Oldest)];
    for _ in 0..3 {
        let engine = start(folder.path()).await;
        let follow = |copied: Copied<String>| {
            let changes = engine.changes(&KEPT, copied.from.clone()).unwrap();
            tokio::spawn(copied.follow(changes))
        };
        let mut following: Vec<_> = kept.drain(..).map(follow).collect();
        let both = together.drain(..).map(|copied| {
            let changes = engine.changes(&TOGETHER, copied.from.clone()).unwrap();
            tokio::spawn(copied.follow(changes))
        });
        let both: Vec<_> = both.collect();
        let writers = (0..3).map(|_| {
            let (engine, random) = (engine.clone(), Random::of(random.next()));
            tokio::spawn(async move { written(&engine, random, 60).await })
        });
        for writer in writers.collect::<Vec<_>>() {
            let snapshot = engine.snapshot::<Kept<true>>().open().await.unwrap();
            let table = snapshot.table(&KEPT).unwrap();
            following.push(follow(Copied {
                rows: table.scan().all().unwrap().into_iter().collect(),
                from: table.cursor().unwrap().into(),
            }));
            writer.await.unwrap();
        }
        // One that is slow, and one that is let go while it waits.
        let slow = engine.changes(&KEPT, ChangesFrom::Oldest).unwrap();
        let mut left = engine.changes(&KEPT, ChangesFrom::Now).unwrap();
        let _ = tokio::time::timeout(std::time::Duration::ZERO, left.next()).await;
        drop(left);
        let reader = engine
            .query(&KEPT)
            .at_least(&engine.durable())
            .deadline(PATIENCE)
            .ready();
        let rows: BTreeMap<_, _> = reader.await.unwrap().rows().unwrap().into_iter().collect();
        let groups = engine
            .query(&TOGETHER)
            .at_least(&engine.durable())
            .deadline(PATIENCE)
            .rows();
        let groups: BTreeMap<_, _> = groups.await.unwrap().into_iter().collect();
        within(engine.shutdown()).await.unwrap();
        for copied in following {
            kept.push(within(copied).await.unwrap());
            assert_eq!(kept[kept.len() - 1].rows, rows);
        }
        for copied in both {
            together.push(within(copied).await.unwrap());
            assert_eq!(together[together.len() - 1].rows, groups);
        }
        let slow = Copied::from(ChangesFrom::Oldest).follow(slow);
        assert_eq!(within(slow).await.rows, rows);
        drop(engine);
    }
}

/// The table of a fold over events that count.
fn folded(
    engine: &Engine,
    counts: impl Fn(&millstream::StoredEvent) -> bool,
) -> BTreeMap<String, SumRow> {
    let mut rows = BTreeMap::<_, SumRow>::new();
    for number in 0..engine.partitions() {
        for event in partition(engine, number)
            .iter()
            .filter(|event| counts(event))
        {
            let id: StreamId = event.stream.parse().unwrap();
            let typed = engine.events::<Happened>(&id, event.version, 1).unwrap();
            let row = rows.entry(id.id().to_owned()).or_default();
            row.add(&typed[0].payload);
        }
    }
    rows
}

/// Goal: tables and rows of the past are those of a fold, from versions and from a replay alike, over a restart; what
/// versions cannot tell is replayed, or refused where that was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_the_past_are_those_of_a_fold() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(folder.path()).await;
    let mut tokens = written(&engine, Random::new(), 40).await;
    close(engine).await;
    let engine = start(folder.path()).await;
    tokens.extend(written(&engine, Random::new(), 40).await);
    for token in tokens.iter().chain([&Token::default()]) {
        let seen = |position: Position| {
            let mut all = token.positions().iter();
            all.any(|seen| seen.partition == position.partition && seen.offset >= position.offset)
        };
        let expected = folded(&engine, |event| seen(event.position));
        let then = engine.table_at(&KEPT, token).from_versions().open().await;
        let then = then.unwrap();
        assert_eq!(then.found_in(), FoundIn::Versions);
        let rows: BTreeMap<_, _> = then.scan().all().unwrap().into_iter().collect();
        assert_eq!(rows, expected);
        for key in ["t1", "t12", "nobody"] {
            let found = engine.table_at(&KEPT, token).row(key).await.unwrap();
            assert_eq!(found.row.as_ref(), expected.get(key));
            assert_eq!(found.found_in, FoundIn::Versions);
        }
        let letters = then.prefix("t1").count().unwrap();
        let expected = expected.keys().filter(|key| key.starts_with("t1"));
        assert_eq!(letters, expected.count() as u64);
    }
    let middle = &tokens[40];
    let replayed = engine.table_at(&KEPT, middle).from_replay().open().await;
    let kept = engine.table_at(&KEPT, middle).from_versions().open().await;
    let (replayed, kept) = (replayed.unwrap(), kept.unwrap());
    assert!(matches!(replayed.found_in(), FoundIn::Replay { .. }));
    assert_eq!(replayed.scan().all().unwrap(), kept.scan().all().unwrap());
    let page = |table: &millstream_operators::projection::TableAt<_, _>| {
        table.scan().descending().page(3).unwrap().rows
    };
    assert_eq!(page(&replayed), page(&kept));
    let time = partition(&engine, 0)[5].recorded_at;
    let found = engine.table_at(&KEPT, At::RecordedTime(time)).open().await;
    let rows: BTreeMap<_, _> = found.unwrap().scan().all().unwrap().into_iter().collect();
    assert_eq!(rows, folded(&engine, |event| event.recorded_at <= time));
    only_replays_can_tell(&engine, time).await;
    let history = engine.table(&KEPT).unwrap().history(&"t1".into()).unwrap();
    let counts = history.map(|version| version.unwrap().row.unwrap().events);
    // It may have none: whose turn it is, is random.
    let length = streams(&engine).get("tally-t1").map_or(0, Vec::len);
    assert!(counts.eq(1..=length as u64));
    close(engine).await;
}

async fn only_replays_can_tell(engine: &Engine, time: Timestamp) {
    let at = At::EventTime(time);
    let found = engine.table_at(&KEPT, at.clone()).row("t1").await.unwrap();
    assert!(matches!(found.found_in, FoundIn::Replay { .. }));
    let refused = engine.table_at(&KEPT, at).from_versions().row("t1").await;
    assert!(matches!(
        refused,
        Err(TableAtError::NotKept { table: "kept" })
    ));
    for refused in [
        engine
            .table_at(&TOGETHER, At::Latest)
            .from_versions()
            .row(2_u64)
            .await,
        engine
            .table_at(&TOGETHER, At::Latest)
            .from_versions()
            .open()
            .await
            .map(|_| unreachable!()),
    ] {
        assert!(matches!(refused, Err(TableAtError::NotKept { .. })));
    }
    let now = engine.table_at(&TOGETHER, At::Latest).open().await.unwrap();
    let rows = engine
        .query(&TOGETHER)
        .at_least(&engine.durable())
        .deadline(PATIENCE)
        .rows();
    assert_eq!(now.scan().all().unwrap(), rows.await.unwrap());
    // But as of a place in its feed.
    let table = engine.table(&TOGETHER).unwrap();
    let mut changes = table.changes(ChangesFrom::Oldest).unwrap();
    let first = changes.next().await.unwrap().unwrap();
    let then = table.as_of(&changes.cursor()).unwrap();
    assert_eq!(
        then.scan().all().unwrap(),
        [(first.key, first.row.unwrap())]
    );
    let plain = engine.table_at(&SUMS, At::Latest).row("t1").await.unwrap();
    assert!(matches!(plain.found_in, FoundIn::Replay { .. }));
    let version = engine.table_at(&KEPT, At::Version(1)).row("t1").await;
    assert!(matches!(
        version,
        Err(TableAtError::Past(PastError::NotOneStream))
    ));
}

/// Goal: what cannot be answered is refused with what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_kept_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(folder.path()).await;
    written(&engine, Random::new(), 3).await;
    let mut changes = engine.changes(&TOGETHER, ChangesFrom::Oldest).unwrap();
    changes.next().await.unwrap();
    let foreign = engine.changes(&KEPT, changes.cursor());
    assert!(matches!(
        foreign,
        Err(ChangesError::Foreign { table: "kept" })
    ));
    let plain = engine.changes(&SUMS, ChangesFrom::Now);
    assert!(matches!(
        plain,
        Err(ChangesError::NotVersioned { table: "sums" })
    ));
    let unknown: Table<u64, u64> = Table::named("nobody");
    let unknown = engine.changes(&unknown, ChangesFrom::Now);
    assert!(matches!(
        unknown,
        Err(ChangesError::Query(QueryError::UnknownTable { .. }))
    ));
    // Of the same table in another store, where other events made it.
    let mut kept = engine.changes(&KEPT, ChangesFrom::Oldest).unwrap();
    within(kept.next()).await.unwrap();
    let place = kept.cursor();
    drop((changes, kept));
    close(engine).await;
    let other = tempfile::tempdir().unwrap();
    let engine = start(other.path()).await;
    written(&engine, Random::new(), 9).await;
    // Where the place's partition has no event, that is known once all is stored; changes of others may come before.
    stored(&engine, "kept").await;
    let mut elsewhere = engine.changes(&KEPT, place).unwrap();
    let refused = within(elsewhere.next()).await;
    assert!(matches!(refused, Err(ChangesError::OtherHistory { .. })));
    drop(elsewhere);
    close(engine).await;

    // A table that is no longer versioned under the same version of its projection.
    let opened = try_open(folder.path(), config(), topology::<false>()).await;
    match opened {
        Err(OpenError::Projection {
            name: "kept",
            cause,
        }) => {
            assert!(cause.to_string().contains("version"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
    let built = Topology::named("refused").dataflow("made", |flow| {
        let numbers = flow.items([1_u64]).stream();
        numbers.to_table(&TOGETHER, |number| (number, Some(SumRow::default())));
    });
    let faults = built.build().unwrap_err().faults;
    assert!(faults.contains(&TopologyFault::Dataflow {
        dataflow: "made".to_owned(),
        fault: DataflowFault::VersionedTable {
            table: "kept-together"
        },
    }));
}
