//! Fail points of decisions about dead letters, and of the projection that carries them out.
//!
//! Values are appended to streams, some of which the projection cannot bear. Each of those is redriven once and given up then, or
//! else edited. So in the end a stream's row has its values in order, without those or with what they were edited to, whatever
//! it is asked of; and the events are what they were.

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

/// The tests that are started as a process.
const VICTIM: &str = "points::letters::victim";
const EDITING_VICTIM: &str = "points::letters::editing_victim";
const STREAMS: u64 = 4;
const VALUES: i64 = 12;
const LISTS: Table<String, Vec<i64>> = Table::named("lists").versioned(Retention::FOREVER);

/// Every fifth value fails.
const fn is_poison(value: i64) -> bool {
    value % 5 == 3
}

/// What is decided about each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decided {
    /// It is redriven once, and then given up.
    Discarded,
    /// Another value takes its place.
    Edited,
}

impl Decided {
    const BOTH: [Self; 2] = [Self::Discarded, Self::Edited];

    const fn victim(self) -> &'static str {
        match self {
            Self::Discarded => VICTIM,
            Self::Edited => EDITING_VICTIM,
        }
    }

    /// What a value becomes in rows.
    fn becomes(self, value: i64) -> Option<i64> {
        match self {
            _ if !is_poison(value) => Some(value),
            Self::Discarded => None,
            Self::Edited => Some(100 * value),
        }
    }
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

/// The value of the event that a letter is of.
fn value_of(engine: &Engine, letter: &DeadLetter) -> i64 {
    let stream: StreamId = letter.key.parse().unwrap();
    let events = engine.events::<Value>(&stream, 0, usize::MAX).unwrap();
    let mut events = events.into_iter();
    let found = events.find(|event| event.position == letter.position);
    found.unwrap().payload.0
}

/// Decides until nothing is left to be decided.
async fn settle(engine: &Engine, decided: Decided) {
    loop {
        let token = engine.durable();
        let shown = engine.projected(&token, Duration::from_secs(300)).await;
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
            let said = match (decided, letter.redrives) {
                (Decided::Discarded, 0) => api.redrive(&id, "ann", "once more").await,
                (Decided::Discarded, _) => api.discard(&id, "ann", "it stays so").await,
                (Decided::Edited, _) => {
                    let becomes = decided.becomes(value_of(engine, &letter)).unwrap();
                    api.edit(id[0], &becomes.to_string(), "ann", "a typo").await
                }
            };
            match said {
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
    live(Decided::Discarded);
}

/// Does nothing by itself.
#[test]
fn editing_victim() {
    live(Decided::Edited);
}

fn live(decided: Decided) {
    let Some(folder) = process::begin() else {
        return;
    };
    runtime().block_on(async {
        let opened = open(&folder).await;
        let engine = opened.unwrap_or_else(|error| stopped(&format!("open: {error}")));
        append(&engine).await;
        settle(&engine, decided).await;
        within(engine.shutdown()).await.unwrap();
        process::finish();
    });
}

/// Each way of deciding comes to the point by itself.
pub(super) fn dies(point: Point, passing: u64) -> bool {
    let orders = order(point, Act::Die, passing);
    let ends = Decided::BOTH.map(|decided| run(decided, point, &orders));
    ends.iter().all(|end| *end == End::Died)
}

pub(super) fn fails(point: Point, passing: u64) -> End {
    run(Decided::Discarded, point, &order(point, Act::Fail, passing))
}

fn run(decided: Decided, point: Point, orders: &str) -> End {
    let folder = Folder::new();
    let end = process::run(decided.victim(), folder.path(), (point, orders), || {});
    check(folder.path(), decided);
    // Made anew from the log alone.
    std::fs::remove_dir_all(data_in(folder.path()).join("state")).unwrap();
    check(folder.path(), decided);
    verify(&data_in(folder.path()));
    end
}

type ListRows = BTreeMap<String, Vec<i64>>;

fn check(folder: &Path, decided: Decided) {
    let values: Vec<i64> = (0..VALUES).filter_map(|n| decided.becomes(n)).collect();
    let expected: ListRows = (0..STREAMS)
        .map(|n| (n.to_string(), values.clone()))
        .collect();
    runtime().block_on(async {
        let engine = open(folder).await.unwrap();
        let token = engine.durable();
        let shown = engine.projected(&token, Duration::from_secs(300)).await;
        shown.unwrap();
        let rows = engine.table(&LISTS).unwrap().rows().unwrap();
        assert_eq!(rows.into_iter().collect::<ListRows>(), expected);
        let at = || engine.table_at(&LISTS, At::Latest);
        for then in [at().from_versions(), at().from_replay()] {
            let rows = then.open().await.unwrap().scan().all().unwrap();
            assert_eq!(rows.into_iter().collect::<ListRows>(), expected);
        }
        check_log(&engine);
        within(engine.shutdown()).await.unwrap();
    });
}

/// Whatever was decided, events are as they were appended.
fn check_log(engine: &Engine) {
    for n in 0..STREAMS {
        let stream = StreamId::new("value", &n.to_string()).unwrap();
        let events = engine.events::<Value>(&stream, 0, usize::MAX).unwrap();
        let values = events.into_iter().map(|event| event.payload.0);
        assert!(values.eq(0..VALUES), "the log of stream {n}");
    }
}
