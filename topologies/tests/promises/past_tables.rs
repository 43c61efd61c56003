//! Promise: the tables of the past are what a fold over the events up to there gives, and what the running projection had.

use std::sync::Arc;

use millstream::prelude::*;
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::time::ManualClock;
use millstream_operators::projection::{PastTables, TableDiff};

use crate::support::failing::failing_at_once;
use crate::support::*;

/// Streams as they were, of those events that count.
fn cut(
    engine: &Engine,
    counts: impl Fn(&millstream::StoredEvent) -> bool,
) -> (Streams, Vec<millstream::StoredEvent>) {
    let (mut streams, mut held) = (Streams::new(), Vec::new());
    for number in 0..engine.partitions() {
        for event in partition(engine, number) {
            if event.stream.starts_with("tally-") && counts(&event) {
                let id: StreamId = event.stream.parse().unwrap();
                let typed = engine.events::<Happened>(&id, event.version, 1).unwrap();
                let payload = typed.into_iter().next().unwrap().payload;
                streams
                    .entry(event.stream.clone())
                    .or_default()
                    .push(payload);
                held.push(event);
            }
        }
    }
    (streams, held)
}

fn tables(sums: &PastTables, digits: &PastTables) -> Tables {
    Tables {
        sums: sums.rows(&SUMS).unwrap().into_iter().collect(),
        digits: digits.rows(&DIGITS).unwrap().into_iter().collect(),
        open: digits.rows(&OPEN).unwrap().into_iter().collect(),
    }
}

async fn projected(engine: &Engine, at: impl Into<At>) -> Tables {
    let at = at.into();
    let sums = engine.project_at(Sums, at.clone()).await.unwrap();
    let digits = engine.project_at(Digits, at).await.unwrap();
    assert_eq!((sums.failed_count(), sums.waiting()), (0, 0));
    tables(&sums, &digits)
}

/// Writes to all partitions, with other categories between; gives the token after each command.
async fn written(
    engine: &Engine,
    clock: &ManualClock,
    random: &mut Random,
    commands: u64,
) -> Vec<Token> {
    let (mut token, mut tokens) = (engine.durable(), Vec::new());
    for n in 0..commands {
        clock.set(Timestamp::from_seconds(1_000 + n as i64 / 3));
        if random.below(5) == 0 {
            let stream = format!("note-{n}").parse().unwrap();
            let events = vec![millstream_engine::partition::NewEvent::json("Noted", "{}")];
            engine
                .appender()
                .append(stream, Expected::Any, events)
                .await
                .unwrap();
        }
        let event_time =
            (random.below(2) == 0).then(|| Timestamp::from_seconds(900 + random.below(200) as i64));
        let options = CommandOptions {
            event_time,
            ..CommandOptions::default()
        };
        let by = (0..1 + random.below(3)).map(|_| random.below(1_000) as i64);
        let ask = Ask::AddAll(by.collect());
        let id = format!("t{}", random.below(12));
        let ack = engine.send_with::<Tally>(&id, ask, options).await.unwrap();
        token.merge(&ack.token());
        tokens.push(token.clone());
    }
    tokens
}

/// Goal: at every token that a caller had, and at every time, tables are those of a fold, over a restart. The order between
/// partitions is not the same, which these projections do not depend on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_at_every_moment_are_those_of_a_fold() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000)));
    let mut random = Random::new();
    let engine = open_at(folder.path(), config(), Arc::clone(&clock) as _).await;
    let mut tokens = written(&engine, &clock, &mut random, 30).await;
    close(engine).await;
    let engine = open_at(folder.path(), config(), Arc::clone(&clock) as _).await;
    tokens.extend(written(&engine, &clock, &mut random, 30).await);
    assert_eq!(
        projected(&engine, Token::default()).await,
        Tables::default()
    );
    for token in &tokens {
        let has_seen = |position: Position| {
            let mut seen = token.positions().iter();
            seen.any(|seen| seen.partition == position.partition && seen.offset >= position.offset)
        };
        let (streams, _) = cut(&engine, |event| has_seen(event.position));
        assert_eq!(projected(&engine, token).await, Tables::of(&streams));
    }
    for seconds in [0, 999, 1_000, 1_004, 1_009, 1_010, 5_000] {
        let time = Timestamp::from_seconds(seconds);
        let (streams, _) = cut(&engine, |event| event.recorded_at <= time);
        let found = projected(&engine, At::RecordedTime(time)).await;
        assert_eq!(found, Tables::of(&streams), "recorded by {time}");
        // Versions of what is left have gaps, which one of the tables goes by.
        let time = Timestamp::from_seconds(890 + seconds % 200);
        let (streams, _) = cut(&engine, |event| event.event_time <= time);
        let found = projected(&engine, At::EventTime(time)).await;
        let expected = Tables::of(&streams);
        assert_eq!(
            (found.sums, found.digits),
            (expected.sums, expected.digits),
            "happened by {time}"
        );
    }
    // And the present is what the running projections have.
    assert_eq!(
        projected(&engine, At::Latest).await,
        Tables::queried(&engine).await
    );
    close(engine).await;
}

/// Goal: two moments of a table differ by exactly the rows that differ; forks leave out what they are told to; one stream
/// alone gives its row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_forks_and_single_rows() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000)));
    let mut random = Random::new();
    let engine = open_at(folder.path(), config(), Arc::clone(&clock) as _).await;
    let tokens = written(&engine, &clock, &mut random, 60).await;
    let engine = &engine;
    for (early, late) in [(3, 20), (20, 59), (40, 41), (30, 30), (50, 10)] {
        let before = engine.project_at(Sums, &tokens[early]).await.unwrap();
        let after = engine.project_at(Sums, &tokens[late]).await.unwrap();
        let diff = before.diff(&after, &SUMS).unwrap();
        let (b, a) = (before.rows(&SUMS).unwrap(), after.rows(&SUMS).unwrap());
        let row = |rows: &[(String, SumRow)], key: &str| {
            let found = rows.iter().find(|(own, _)| own == key);
            found.map(|(_, row)| row.clone())
        };
        let mut expected = TableDiff {
            added: vec![],
            removed: vec![],
            changed: vec![],
        };
        for n in 0..12 {
            let key = format!("t{n}");
            match (row(&b, &key), row(&a, &key)) {
                (None, Some(new)) => expected.added.push((key, new)),
                (Some(old), None) => expected.removed.push((key, old)),
                (Some(old), Some(new)) if old != new => expected.changed.push((key, old, new)),
                _ => {}
            }
        }
        for list in [&mut expected.added, &mut expected.removed] {
            list.sort_by(|one, other| one.0.cmp(&other.0));
        }
        expected.changed.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(diff, expected, "{early} to {late}");
        // One row, from one stream.
        for n in 0..12 {
            let id = format!("t{n}");
            let alone = engine.replay(Sums).at(&tokens[late]).of_stream(&id);
            let alone = tokio::task::block_in_place(|| alone.tables()).unwrap();
            assert_eq!(alone.get(&SUMS, id.as_str()).unwrap(), row(&a, &id));
            assert!(alone.rows(&SUMS).unwrap().len() <= 1);
        }
    }
    let (_, all) = cut(engine, |_| true);
    let gone = &all[17];
    let id = gone.stream.strip_prefix("tally-").unwrap();
    for threads in [1, 2, 8] {
        let fork = engine
            .replay(Sums)
            .without(id, gone.version)
            .without_stream("t5");
        let fork = tokio::task::block_in_place(|| fork.threads_max(threads).tables()).unwrap();
        let left = |event: &millstream::StoredEvent| {
            event.position != gone.position && event.stream != "tally-t5"
        };
        let (streams, held) = cut(engine, left);
        let found: std::collections::BTreeMap<_, _> =
            fork.rows(&SUMS).unwrap().into_iter().collect();
        assert_eq!(found, Tables::of(&streams).sums);
        assert_eq!(fork.events(), held.len() as u64);
        assert_eq!(fork.token(), &engine.durable());
    }
    // By version, of one stream.
    let first = engine.replay(Sums).at(At::Version(0)).of_stream("t1");
    let first = tokio::task::block_in_place(|| first.tables()).unwrap();
    assert_eq!(first.get(&SUMS, "t1").unwrap().unwrap().events, 1);
    let beyond = engine.replay(Sums).at(At::Version(9_999)).of_stream("t1");
    let beyond = tokio::task::block_in_place(|| beyond.tables());
    assert!(matches!(beyond, Err(PastError::NoSuchVersion { .. })));
    let many = engine.project_at(Sums, At::Version(0)).await;
    assert!(matches!(many, Err(PastError::NotOneStream)));
    assert!(
        first.rows(&DIGITS).is_err(),
        "a table of another projection"
    );
    close(engine.clone()).await;
}

const EVEN: Table<String, i64> = Table::named("even");

/// Cannot apply what adds an odd number.
struct Even;

impl Projection for Even {
    const NAME: &'static str = "even";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, i64>,);
    type Error = Refused;

    fn tables(&self) -> Self::Tables {
        (EVEN,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (even,): &mut (TableMut<String, i64>,),
    ) -> Result<(), Refused> {
        if let Happened::Added { by } = event.payload {
            even.update(&event.id.to_owned(), |sum| *sum += by);
            match by {
                7 => panics("seven"),
                by if by % 2 != 0 => return Err(Refused::Sum(*by)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Goal: a failing event holds up its stream alone and is told; one that was given up is passed over from then on, and was
/// not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_events_hold_up_their_streams() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("even")
        .aggregate::<Tally>()
        .projection_with(Even, failing_at_once())
        .build()
        .unwrap();
    let engine = open_with(folder.path(), config(), topology).await;
    for by in [2, 4, 5, 6] {
        engine.send::<Tally>("a", Ask::Add(by)).await.unwrap();
        engine.send::<Tally>("b", Ask::Add(2 * by)).await.unwrap();
    }
    for by in [2, 7, 2] {
        engine.send::<Tally>("c", Ask::Add(by)).await.unwrap();
    }
    let undecided = engine.durable();
    let row = |tables: &PastTables, id: &str| tables.get(&EVEN, id).unwrap();
    let tables = engine.project_at(Even, At::Latest).await.unwrap();
    let rows = ["a", "b", "c"].map(|id| row(&tables, id));
    assert_eq!(rows, [Some(6), Some(34), Some(2)]);
    assert_eq!((tables.failed_count(), tables.waiting()), (2, 2));
    let told: Vec<_> = tables
        .failed()
        .iter()
        .map(|failed| failed.causes[0].as_str())
        .collect();
    assert!(
        told.contains(&"the sum is 5") && told.contains(&"panicked: seven"),
        "{told:?}"
    );
    // Left out, or by other code, it holds up nothing.
    let fork = engine.replay(Even).without("a", 2);
    let fork = tokio::task::block_in_place(|| fork.tables()).unwrap();
    assert_eq!(row(&fork, "a"), Some(12));
    let letters = || {
        let letters = engine.state().dead_letters(None, None, 10).unwrap();
        letters.into_iter().find(|letter| letter.key == "tally-a")
    };
    until("the event is a dead letter", || letters().is_some()).await;
    let letter = letters().unwrap();
    let settled = engine.dead_letters();
    settled.discard(&[letter.id()], "ann", "odd").await.unwrap();
    let tables = engine.project_at(Even, At::Latest).await.unwrap();
    assert_eq!(row(&tables, "a"), Some(12));
    let before = engine.project_at(Even, &undecided).await.unwrap();
    assert_eq!(row(&before, "a"), Some(6));
    let alone = engine.replay(Even).of_stream("a");
    let alone = tokio::task::block_in_place(|| alone.tables()).unwrap();
    assert_eq!(row(&alone, "a"), Some(12));
    assert_eq!(alone.failed_count(), 0);
    let place = Position {
        partition: PartitionId(0),
        offset: Offset(9_999),
    };
    let ahead = engine.project_at(Even, place).await;
    assert!(matches!(ahead, Err(PastError::Ahead { .. })), "{ahead:?}");
    close(engine).await;
}
