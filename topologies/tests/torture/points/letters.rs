//! Fail points of decisions about dead letters, and of the projection that carries them out.
//!
//! Values are appended to streams, some of which the projection cannot bear. Each of those is redriven once and given up then. So
//! in the end a stream's row has its values in order without those.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millstream::DecideError;
use millstream::prelude::*;
use millstream_engine::fail_points::Point;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_operators::projection::FailurePolicy;
use serde::{Deserialize, Serialize};

use super::{Act, End, order, process};
use crate::engine::{config, data_in, runtime, until, within};
use crate::processes;
use crate::rounds::{Folder, verify};
use crate::victim::STOPPED;

/// The test that is started as a process.
const VICTIM: &str = "points::letters::victim";
const STREAMS: u64 = 4;
const VALUES: i64 = 12;
const LISTS: Table<String, Vec<i64>> = Table::named("lists");

/// Every fifth value fails.
const fn is_poison(value: i64) -> bool {
    value % 5 == 3
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Value(i64);

impl Event for Value {}

struct Lists;

#[derive(Debug, thiserror::Error)]
#[error("cannot bear {0}")]
struct CannotBear(i64);

impl Projection for Lists {
    const NAME: &'static str = "lists";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "value";
    type Event = Value;
    type Tables = (Table<String, Vec<i64>>,);
    type Error = CannotBear;

    fn tables(&self) -> Self::Tables {
        (LISTS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Value>,
        (lists,): &mut (TableMut<String, Vec<i64>>,),
    ) -> Result<(), CannotBear> {
        let value = event.payload.0;
        lists.update(&event.id.to_owned(), |list| list.push(value));
        if is_poison(value) {
            return Err(CannotBear(value));
        }
        Ok(())
    }
}

async fn open(folder: &Path) -> Result<Engine, millstream::OpenError> {
    let projection = ProjectionConfig {
        failures: FailurePolicy {
            attempts_max: 1,
            backoff_first: Duration::from_millis(1),
            backoff_max: Duration::from_millis(4),
        },
        store_every_ms: 0,
        ..ProjectionConfig::default()
    };
    let topology = Topology::named("letters")
        .projection_with(Lists, projection)
        .build()
        .unwrap();
    let builder = Engine::open(data_in(folder)).config(config(5));
    builder.run(topology).await
}

fn letters(engine: &Engine) -> Vec<DeadLetter> {
    engine.state().dead_letters(None, None, usize::MAX).unwrap()
}

/// Appends what is missing.
async fn append(engine: &Engine) {
    for value in 0..VALUES {
        for n in 0..STREAMS {
            let stream = StreamId::new("value", &n.to_string()).unwrap();
            let expected = match value.unsigned_abs() {
                0 => Expected::NoStream,
                version => Expected::Exact(version - 1),
            };
            let stored = engine.events::<Value>(&stream, 0, usize::MAX).unwrap();
            if stored.len() as u64 > value.unsigned_abs() {
                continue;
            }
            let number = value.unsigned_abs();
            process::append(engine, &stream, number, expected, Value(value)).await;
        }
    }
}

/// Decides until nothing is left to be decided.
async fn settle(engine: &Engine) {
    loop {
        let token = engine.durable();
        let shown = engine.projected(&token, Duration::from_secs(60)).await;
        shown.unwrap_or_else(|error| stopped(&format!("projection: {error}")));
        // Stored later than shown.
        until(|| async {
            let letters = letters(engine);
            let all_dead = letters
                .iter()
                .all(|letter| letter.status == DeadLetterStatus::Dead);
            all_dead && letters.len() == waiting(engine)
        })
        .await;
        let letters = letters(engine);
        if letters.is_empty() {
            return;
        }
        for letter in letters {
            let (api, id) = (engine.dead_letters(), [letter.id()]);
            let decided = match letter.redrives {
                0 => api.redrive(&id, "ann", "once more").await,
                _ => api.discard(&id, "ann", "it stays so").await,
            };
            match decided {
                Ok(_) | Err(DecideError::Unknown { .. } | DecideError::Retrying { .. }) => {}
                Err(error) => stopped(&format!("decision: {error}")),
            }
        }
    }
}

/// Streams that wait for a decision, as readers are told.
fn waiting(engine: &Engine) -> usize {
    let reader = engine.table(&LISTS).unwrap();
    (0..STREAMS)
        .filter(|n| reader.parked(&n.to_string()).is_some())
        .count()
}

fn stopped(cause: &str) -> ! {
    processes::acknowledge(format_args!("{STOPPED} {cause}"));
    std::process::exit(1);
}

/// Does nothing by itself.
#[test]
fn victim() {
    let Some(folder) = process::begin() else {
        return;
    };
    runtime().block_on(async {
        let opened = open(&folder).await;
        let engine = opened.unwrap_or_else(|error| stopped(&format!("open: {error}")));
        append(&engine).await;
        settle(&engine).await;
        within(engine.shutdown()).await.unwrap();
        process::finish();
    });
}

pub(super) fn dies(point: Point, passing: u64) -> bool {
    run(point, &order(point, Act::Die, passing)) == End::Died
}

pub(super) fn fails(point: Point, passing: u64) -> End {
    run(point, &order(point, Act::Fail, passing))
}

fn run(point: Point, orders: &str) -> End {
    let folder = Folder::new();
    let end = process::run(VICTIM, folder.path(), (point, orders), || {});
    check(folder.path());
    // Made anew from the log alone.
    std::fs::remove_dir_all(data_in(folder.path()).join("state")).unwrap();
    check(folder.path());
    verify(&data_in(folder.path()));
    end
}

fn check(folder: &Path) {
    let values: Vec<i64> = (0..VALUES).filter(|value| !is_poison(*value)).collect();
    let expected: BTreeMap<String, Vec<i64>> = (0..STREAMS)
        .map(|n| (n.to_string(), values.clone()))
        .collect();
    runtime().block_on(async {
        let engine = open(folder).await.unwrap();
        let token = engine.durable();
        let shown = engine.projected(&token, Duration::from_secs(60)).await;
        shown.unwrap();
        let rows = engine.table(&LISTS).unwrap().rows().unwrap();
        let rows: BTreeMap<_, _> = rows.into_iter().collect();
        assert_eq!(rows, expected);
        within(engine.shutdown()).await.unwrap();
    });
}
