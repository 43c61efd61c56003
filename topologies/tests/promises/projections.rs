//! Promise: tables show every event once, whole, in order; a query sees what its token has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::{TopologyFault, TopologyFault as Fault};
use millstream_operators::projection::QueryError;
use proptest::prelude::*;

use crate::support::*;

#[derive(Clone, Debug)]
enum Step {
    /// Several commands at once.
    Add(Vec<(u8, Vec<i8>)>),
    /// Everything is compared.
    Check,
    Restart {
        without_state: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let command = (0u8..12, prop::collection::vec(any::<i8>(), 1..4));
    let step = prop_oneof![
        6 => prop::collection::vec(command, 1..30).prop_map(Step::Add),
        3 => Just(Step::Check),
        1 => any::<bool>().prop_map(|without_state| Step::Restart { without_state }),
    ];
    prop::collection::vec(step, 1..25)
}

async fn run(steps: Vec<Step>, config: EngineConfig, projection: ProjectionConfig) {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let topology = topology_with(AggregateConfig::default(), projection.clone());
        open_with(folder.path(), config.clone(), topology)
    };
    let mut engine = start().await;
    let mut seen = Streams::new();
    for step in steps {
        match step {
            Step::Add(commands) => {
                let tasks: Vec<_> = commands
                    .into_iter()
                    .map(|(id, all)| {
                        let engine = engine.clone();
                        tokio::spawn(async move {
                            let all = all.into_iter().map(i64::from).collect();
                            let id = format!("t{id}");
                            let ack = engine.send::<Tally>(&id, Ask::AddAll(all)).await.unwrap();
                            let row = engine
                                .query(&SUMS)
                                .at_least(&ack.token())
                                .deadline(PATIENCE)
                                .get(id)
                                .await;
                            let row = row.unwrap().expect("a row that was written");
                            assert!(row.events > ack.version.unwrap(), "an old row");
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            }
            Step::Check => {
                let found = check(&engine).await;
                for (stream, events) in &seen {
                    assert!(found[stream].starts_with(events), "history changed");
                }
                seen = found;
            }
            Step::Restart { without_state } => {
                close(engine).await;
                if without_state {
                    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
                }
                engine = start().await;
            }
        }
    }
    check(&engine).await;
    close(engine).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// Goal: whatever is sent, restarted and let go from memory, every table equals a fold over all events, and
    /// each writer reads its own writes. Method: bounds on rows in memory and on the state's queue so tight
    /// that rows are stored and let go all the time, by some actors while others hold changes.
    #[test]
    fn tables_equal_a_fold(
        steps in steps(),
        hot_rows_max in prop_oneof![Just(0usize), Just(3), Just(1_000_000)],
        unstored_rows_max in prop_oneof![Just(1usize), Just(262_144)],
        store_every_ms in prop_oneof![Just(0u64), Just(500)],
        is_queue_tight: bool,
    ) {
        let projection = ProjectionConfig {
            hot_rows_max,
            unstored_rows_max,
            store_every_ms,
            ..ProjectionConfig::default()
        };
        let mut config = config();
        if is_queue_tight {
            config.state.queue_batches = 1;
            config.state.queue_bytes_max = 1;
        }
        // A stage that fails must show, not be hidden by a restart.
        config.restart.attempts_max = 0;
        runtime().block_on(within(run(steps, config, projection)));
    }
}

/// Goal: a token is honoured under concurrency, for rows of one's own and for rows that others change too, and what
/// was read is not taken back. Method: 16 tasks that write, read at their token, and read again at all they
/// have seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_their_writes() {
    let folder = tempfile::tempdir().unwrap();
    let projection = ProjectionConfig {
        hot_rows_max: 5,
        store_every_ms: 1,
        ..ProjectionConfig::default()
    };
    let topology = topology_with(AggregateConfig::default(), projection);
    let engine = open_with(folder.path(), config(), topology).await;
    let total = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (engine, total) = (engine.clone(), Arc::clone(&total));
            tokio::spawn(async move {
                let (mut seen, mut last, mut digits_before) = (Token::default(), 0, 0);
                let own = format!("own{task}");
                for n in 1..=150 {
                    let before = total.load(Ordering::SeqCst);
                    let ack = engine.send::<Tally>(&own, Ask::Add(10)).await.unwrap();
                    seen.merge(&ack.token());
                    let row = engine
                        .query(&SUMS)
                        .at_least(&ack.token())
                        .deadline(PATIENCE)
                        .get(own.as_str())
                        .await;
                    assert_eq!(row.unwrap().unwrap().events, n);
                    let ack = engine.send::<Tally>("shared", Ask::Add(10)).await.unwrap();
                    seen.merge(&ack.token());
                    total.fetch_add(2, Ordering::SeqCst);
                    let row = engine
                        .query(&SUMS)
                        .at_least(&seen)
                        .deadline(PATIENCE)
                        .get("shared")
                        .await;
                    let events = row.unwrap().unwrap().events;
                    assert!(events > ack.version.unwrap() && events >= last, "went back");
                    last = events;
                    let digits = engine
                        .query(&DIGITS)
                        .at_least(&seen)
                        .deadline(PATIENCE)
                        .get(0u64)
                        .await;
                    let digits = digits.unwrap().unwrap();
                    assert!(
                        digits >= digits_before && digits >= 2 * n as i64,
                        "{before} {digits}"
                    );
                    digits_before = digits;
                }
            })
        })
        .collect();
    for task in tasks {
        within(task).await.unwrap();
    }
    let token = engine.durable();
    assert_eq!(
        engine
            .query(&DIGITS)
            .at_least(&token)
            .deadline(PATIENCE)
            .get(0u64)
            .await
            .unwrap(),
        Some(2 * 16 * 150)
    );
    engine
        .projected(&token, Duration::from_secs(300))
        .await
        .unwrap();
    check(&engine).await;
    close(engine).await;
}

/// What a query asks for and cannot have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_that_cannot_be_answered() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let unknown: Table<String, u64> = Table::named("nobody");
    let other_type: Table<u64, u64> = Table::named("sums");
    let answer = engine.query(&unknown).get("a").await;
    assert!(matches!(
        answer,
        Err(QueryError::UnknownTable { table: "nobody" })
    ));
    let answer = engine.query(&other_type).get(1u64).await;
    assert!(matches!(
        answer,
        Err(QueryError::UnknownTable { table: "sums" })
    ));
    let ack = engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    let shown = engine.query(&SUMS).at_least(&ack.token());
    shown.deadline(PATIENCE).get("a").await.unwrap();
    let mut position = ack.position.unwrap();
    position.offset = position.offset.plus(1_000);
    let behind = engine.query(&SUMS).at_least(&position.into());
    let answer = behind.deadline(Duration::from_millis(5)).get("a").await;
    assert!(
        matches!(answer, Err(QueryError::Behind { behind: 1_000, .. })),
        "{answer:?}"
    );
    close(engine).await;
}

/// Goal: everything that is wrong with a topology is told at once.
#[test]
fn all_faults_at_once() {
    struct Again;
    impl Projection for Again {
        const NAME: &'static str = "again";
        const VERSION: u32 = 0;
        const ROWS: Rows = Rows::Global;
        const CATEGORY: &'static str = "tally";
        type Event = Happened;
        type Tables = (Table<String, u64>, Table<u64, u64>);
        type Error = std::convert::Infallible;
        fn tables(&self) -> Self::Tables {
            (Table::named("sums"), Table::named("sums"))
        }
        fn project(
            &self,
            _: &ProjectedEvent<'_, Happened>,
            _: &mut (TableMut<String, u64>, TableMut<u64, u64>),
        ) -> Result<(), Self::Error> {
            Ok(())
        }
    }
    let built = Topology::named("")
        .aggregate::<Tally>()
        .aggregate::<Tally>()
        .projection(Sums)
        .projection(Sums)
        .projection(Again)
        .build();
    let faults = built.unwrap_err().faults;
    let same_table = |first, second| Fault::SameTable {
        table: "sums",
        first,
        second,
    };
    let expected = [
        TopologyFault::NoName,
        Fault::SameCategory { category: "tally" },
        Fault::SameProjection { name: "sums" },
        same_table("sums", "sums"),
        Fault::VersionZero {
            part: "projection",
            name: "again",
        },
        same_table("sums", "again"),
        same_table("again", "again"),
    ];
    for fault in &expected {
        assert!(faults.contains(fault), "{fault} is not among {faults:?}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:?}");
}
