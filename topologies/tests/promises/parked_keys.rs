//! Danger: more keys fail than anybody thought of. Work and memory are bounded, and the bound is named.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream_engine::state::DeadLetterStatus;
use millstream_operators::aggregate::BulkCommand;
use millstream_operators::projection::{FailurePolicy, QueryError};

use crate::failing_events::{letters, projected};
use crate::support::*;

const FINE: Table<String, i64> = Table::named("fine");

/// Sums what is not negative, and fails on the rest until it is mended.
#[derive(Clone, Default)]
struct Picky {
    mended: Arc<AtomicBool>,
    /// Events that it was given and failed on.
    failed: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot bear {0}")]
struct CannotBear(i64);

impl Projection for Picky {
    const NAME: &'static str = "picky";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, i64>,);
    type Error = CannotBear;

    fn tables(&self) -> Self::Tables {
        (FINE,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (fine,): &mut (TableMut<String, i64>,),
    ) -> Result<(), CannotBear> {
        let Happened::Added { by } = *event.payload else {
            return Ok(());
        };
        if by < 0 && !self.mended.load(Ordering::Relaxed) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Err(CannotBear(by));
        }
        fine.update(&event.id.to_owned(), |sum| *sum += by);
        Ok(())
    }
}

async fn picky(folder: &std::path::Path, picky: &Picky, limits: ProjectionConfig) -> Engine {
    let topology = Topology::named("picky")
        .aggregate::<Tally>()
        .projection_with(picky.clone(), limits)
        .build()
        .unwrap();
    let mut config = config();
    // A projection that halts is given up at once.
    config.restart.attempts_max = 0;
    open_with(folder, config, topology).await
}

fn trying(attempts_max: u32, backoff: Duration, parked_keys_max: usize) -> ProjectionConfig {
    ProjectionConfig {
        failures: FailurePolicy {
            attempts_max,
            backoff_first: backoff,
            backoff_max: backoff,
        },
        parked_keys_max,
        ..ProjectionConfig::default()
    }
}

/// Adds `by` to tallies with these numbers.
async fn add(engine: &Engine, numbers: std::ops::Range<usize>, by: i64) {
    let command = |n| BulkCommand {
        id: format!("t{n}").into(),
        command: Ask::Add(by),
        options: CommandOptions::default(),
    };
    let answers = engine
        .aggregate::<Tally>()
        .send_bulk(numbers.map(command).collect())
        .await;
    assert!(answers.iter().all(Result::is_ok));
}

/// Story: each turn looked through all parked keys for those that were due, so many failing keys took quadratic time.
/// Goal: as many keys as are allowed may fail; each event is tried as often as it should be, and all of them are
/// freed by a projection that is mended. Method: the handler counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_keys_fail() {
    const KEYS: usize = 100_000;
    assert_eq!(ProjectionConfig::default().parked_keys_max, KEYS);
    let folder = tempfile::tempdir().unwrap();
    let handler = Picky::default();
    let engine = picky(
        folder.path(),
        &handler,
        trying(3, Duration::from_millis(1), KEYS),
    )
    .await;
    add(&engine, 0..KEYS, -1).await;
    add(&engine, 0..100, 1).await;
    add(&engine, KEYS..KEYS + 10, 5).await;
    projected(&engine).await;
    let tried = || handler.failed.load(Ordering::Relaxed);
    until("each was tried three times", || tried() == 3 * KEYS as u64).await;
    let rows = engine.query(&FINE).rows().await.unwrap();
    assert_eq!(rows.len(), 10);
    close(engine).await;

    // Opened again, they are dead letters, and nothing is tried.
    let engine = picky(
        folder.path(),
        &handler,
        trying(3, Duration::from_millis(1), KEYS),
    )
    .await;
    projected(&engine).await;
    let letters = letters(&engine);
    assert_eq!(letters.len(), KEYS);
    for letter in &letters {
        assert_eq!(letter.status, DeadLetterStatus::Dead);
        assert_eq!(letter.attempts, 3);
    }
    let followers: u64 = letters.iter().map(|letter| letter.followers).sum();
    assert_eq!((followers, tried()), (100, 3 * KEYS as u64));
    close(engine).await;
}

/// Goal: all keys are freed, once each, when what they failed on is mended. Method: many keys that are due at the same
/// time, so that freeing them takes many turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_freed() {
    const KEYS: usize = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let handler = Picky::default();
    let limits = trying(u32::MAX, Duration::from_millis(1), KEYS);
    let engine = picky(folder.path(), &handler, limits).await;
    add(&engine, 0..KEYS, -1).await;
    add(&engine, 0..KEYS, 3).await;
    projected(&engine).await;
    handler.mended.store(true, Ordering::Relaxed);
    until("no letter is left", || letters(&engine).is_empty()).await;
    let rows = engine.query(&FINE).rows().await.unwrap();
    assert_eq!(rows.len(), KEYS);
    assert!(rows.iter().all(|(_, sum)| *sum == 2));
    close(engine).await;
}

/// Goal: one key more than may be parked halts the projection, with an error that names the bound and the event; a
/// larger bound lets it go on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_too_many_halts_the_projection() {
    for max in [0, 1, 10] {
        let folder = tempfile::tempdir().unwrap();
        let handler = Picky::default();
        let limits = trying(1, Duration::from_millis(1), max);
        let engine = picky(folder.path(), &handler, limits).await;
        add(&engine, 100..110, 1).await;
        for n in 0..max {
            add(&engine, n..n + 1, -2).await;
        }
        // A second failure of a parked key is none of another key.
        add(&engine, 0..max, -2).await;
        projected(&engine).await;
        add(&engine, max..max + 1, -7).await;
        let token = engine.durable();
        let asked = within(
            engine
                .query(&FINE)
                .at_least(&token)
                .deadline(PATIENCE)
                .get("t100"),
        )
        .await;
        let Err(QueryError::Stopped { cause, .. }) = asked else {
            panic!("{asked:?}");
        };
        for part in [
            format!("{max} keys are parked"),
            "parked_keys_max".to_owned(),
            format!("tally-t{max}"),
            "cannot bear -7".to_owned(),
        ] {
            assert!(cause.contains(&part), "{cause} does not say {part}");
        }
        assert!(within(engine.shutdown()).await.is_err());
        drop(engine);

        let limits = trying(1, Duration::from_millis(1), max + 1);
        let engine = picky(folder.path(), &handler, limits).await;
        projected(&engine).await;
        until("the letter is stored", || letters(&engine).len() == max + 1).await;
        assert_eq!(engine.query(&FINE).rows().await.unwrap().len(), 10);
        close(engine).await;
    }
}

/// Danger: a projection that is full halts in front of the decision that would make room. Goal: what was decided while it
/// stood still is carried out when it is started again, with the same bound, and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_makes_room_in_a_projection_that_halted() {
    let folder = tempfile::tempdir().unwrap();
    let handler = Picky::default();
    let limits = || trying(1, Duration::from_millis(1), 2);
    let engine = picky(folder.path(), &handler, limits()).await;
    for (n, by) in [(0, -1), (0, 4), (1, -1), (1, 5)] {
        add(&engine, n..n + 1, by).await;
    }
    until("both are stored", || letters(&engine).len() == 2).await;
    add(&engine, 2..3, -1).await;
    let token = engine.durable();
    let asked = within(
        engine
            .query(&FINE)
            .at_least(&token)
            .deadline(PATIENCE)
            .get("t2"),
    )
    .await;
    assert!(
        matches!(asked, Err(QueryError::Stopped { .. })),
        "{asked:?}"
    );
    let letter = letters(&engine)
        .into_iter()
        .find(|letter| letter.key == "tally-t0")
        .unwrap();
    let decided = engine
        .dead_letters()
        .discard(&[letter.id()], "ann", "makes room")
        .await;
    decided.unwrap();
    assert!(within(engine.shutdown()).await.is_err());
    drop(engine);

    for _ in 0..2 {
        let engine = picky(folder.path(), &handler, limits()).await;
        projected(&engine).await;
        until("the third is parked", || {
            letters(&engine)
                .iter()
                .any(|letter| letter.key == "tally-t2")
        })
        .await;
        let keys: Vec<_> = letters(&engine)
            .into_iter()
            .map(|letter| letter.key)
            .collect();
        assert_eq!(keys.len(), 2, "{keys:?}");
        let rows = engine.query(&FINE).rows().await.unwrap();
        assert_eq!(rows, [("t0".to_owned(), 4)]);
        close(engine).await;
    }
}
