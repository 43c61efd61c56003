//! A log with a projection over it, written once for all tests, and queries on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sql::datafusion::arrow::array::RecordBatch;
use millstream::sql::datafusion::arrow::util::display::array_value_to_string;
use millstream::sql::datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use millstream::sql::{SqlOptions, SqlSession};
use millstream::{StoredEvent, read_partition};
use millstream_engine::event::{Metadata, Offset, PartitionId};
use millstream_engine::log::EmbeddedReader;
use millstream_engine::time::ManualClock;
use millstream_operators::projection::KeyPart;
use serde::{Deserialize, Serialize};

use crate::small_files::small_files;

pub(crate) const PARTITIONS: u16 = 4;
pub(crate) const STREAMS: usize = 40;
const EVENTS: usize = 3_000;
/// Recorded time of the first event.
pub(crate) const START: i64 = 1_700_000_000_000_000;
/// How much later the next append is recorded.
pub(crate) const STEP: i64 = 1_000_000;

/// What happens in rooms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Visit {
    Entered { room: String, fee: i64 },
    Left,
}

impl Event for Visit {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum State {
    #[default]
    Empty,
    Busy,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fees {
    pub(crate) sum: i64,
    pub(crate) largest: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoomRow {
    pub(crate) key: u64,
    pub(crate) visits: u64,
    pub(crate) fees: Fees,
    pub(crate) state: State,
    pub(crate) last: Vec<String>,
    pub(crate) odd: BTreeMap<String, u64>,
}

pub(crate) const ROOMS: Table<String, RoomRow> = Table::named("rooms");
pub(crate) const BY_HOUR: Table<(String, u32), i64> = Table::named("by-hour");
pub(crate) const FEES: Table<i64, u64> = Table::named("fees");

/// Three tables over all partitions.
pub(crate) struct Visits;

impl Projection for Visits {
    const NAME: &'static str = "visits";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "visit";
    type Event = Visit;
    type Tables = (
        Table<String, RoomRow>,
        Table<(String, u32), i64>,
        Table<i64, u64>,
    );
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (ROOMS, BY_HOUR, FEES)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Visit>,
        (rooms, hours, fees): &mut (
            TableMut<String, RoomRow>,
            TableMut<(String, u32), i64>,
            TableMut<i64, u64>,
        ),
    ) -> Result<(), Self::Error> {
        let Visit::Entered { room, fee } = event.payload else {
            return Ok(());
        };
        rooms.update(room, |row| {
            row.key = 7;
            row.visits += 1;
            row.fees.sum += fee;
            row.fees.largest = row.fees.largest.max(Some(*fee));
            row.state = State::Busy;
            row.last = vec![event.id.to_owned()];
            *row.odd.entry((fee % 2).to_string()).or_default() += 1;
        });
        let hour = (event.version % 24) as u32;
        hours.update(&(room.clone(), hour), |sum| *sum += fee);
        fees.update(&(fee - 50), |count| *count += 1);
        Ok(())
    }
}

/// The folder, and what is in its log.
pub(crate) struct Data {
    _folder: tempfile::TempDir,
    pub(crate) path: std::path::PathBuf,
    pub(crate) events: Vec<StoredEvent>,
}

pub(crate) fn config() -> EngineConfig {
    small_files(PARTITIONS)
}

pub(crate) fn topology() -> Topology {
    let topology = Topology::named("rooms").projection(Visits);
    topology.build().unwrap()
}

/// The `at`th event, and its stream.
fn event(at: usize) -> (String, NewEvent) {
    let number = (at * 7_919) % STREAMS;
    let stream = match number % 4 {
        3 => format!("note-{number}"),
        _ => format!("visit-{number}"),
    };
    let mut event = match (number % 4, at % 5) {
        (3, 0) => NewEvent::opaque("Secret", [0, 159, 146, 150]),
        (3, 1) => NewEvent::json(
            "Noted",
            r#"{"text": "a \"b\"", "deep": [1, {"x": 2.5}], "ok": true}"#,
        ),
        (3, _) => NewEvent::json("Noted", b"{not json".to_vec()),
        (_, 4) => NewEvent::typed(Visit::Left),
        _ => NewEvent::typed(Visit::Entered {
            room: format!("room {}", at % 7),
            fee: (at % 101) as i64,
        }),
    };
    if at.is_multiple_of(3) {
        // Earlier than others, in no order.
        event.event_time = Some(Timestamp(START - (at as i64 % 17) * STEP));
    }
    if at.is_multiple_of(10) {
        event.metadata = Metadata {
            correlation: Some(uuid::Uuid::from_u128(at as u128)),
            causation: None,
            user: Some("ann".into()),
        };
    }
    (stream, event)
}

pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap()
    })
}

/// The log, written at the first use.
pub(crate) fn data() -> &'static Data {
    static DATA: OnceLock<Data> = OnceLock::new();
    DATA.get_or_init(|| runtime().block_on(write()))
}

async fn write() -> Data {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let clock = Arc::new(ManualClock::new(Timestamp(START)));
    let builder = Engine::open(&path).config(config());
    let engine = builder
        .clock(Arc::<ManualClock>::clone(&clock))
        .run(topology())
        .await
        .unwrap();
    fill(&engine, |_| {
        clock.advance(Duration::from_micros(STEP as u64))
    })
    .await;
    let token = engine.durable();
    engine
        .projected(&token, Duration::from_secs(300))
        .await
        .unwrap();
    engine.shutdown().await.unwrap();
    drop(engine);
    let events = all_events(&path);
    assert_eq!(events.len(), EVENTS);
    Data {
        _folder: folder,
        path,
        events,
    }
}

/// Appends all events, some at a time.
pub(crate) async fn fill(engine: &Engine, mut between: impl FnMut(usize)) {
    let appender = engine.appender();
    for first in (0..EVENTS).step_by(100) {
        let mut by_stream: BTreeMap<String, Vec<NewEvent>> = BTreeMap::new();
        for at in first..first + 100 {
            let (stream, event) = event(at);
            by_stream.entry(stream).or_default().push(event);
        }
        for (stream, events) in by_stream {
            let stream = stream.parse().unwrap();
            appender
                .append(stream, Expected::Any, events)
                .await
                .unwrap();
        }
        between(first);
    }
}

pub(crate) fn all_events(folder: &Path) -> Vec<StoredEvent> {
    let reader = EmbeddedReader::open_beside(&folder.join("log")).unwrap();
    let partitions = (0..PARTITIONS).map(PartitionId);
    let events = partitions.flat_map(|partition| {
        read_partition(&reader, partition, Offset(0), usize::MAX, None).unwrap()
    });
    events.collect()
}

/// What a query gave.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) batches: Vec<RecordBatch>,
    /// Events or rows that were looked at.
    pub(crate) rows_read: usize,
    /// The plan that ran.
    pub(crate) plan: String,
}

impl Answer {
    /// All values as text.
    pub(crate) fn texts(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for batch in &self.batches {
            for row in 0..batch.num_rows() {
                let texts = batch.columns().iter();
                let texts = texts.map(|column| array_value_to_string(column, row).unwrap());
                rows.push(texts.collect());
            }
        }
        rows
    }

    /// The same, of a query with one column.
    pub(crate) fn column(&self) -> Vec<String> {
        self.texts()
            .into_iter()
            .map(|mut row| row.remove(0))
            .collect()
    }

    pub(crate) fn sorted(&self) -> Vec<Vec<String>> {
        let mut rows = self.texts();
        rows.sort();
        rows
    }
}

fn rows_read(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let metrics = plan.metrics();
    let own = metrics.and_then(|metrics| metrics.sum_by_name("rows_read"));
    let below = plan.children().into_iter().map(rows_read);
    own.map_or(0, |value| value.as_usize()) + below.sum::<usize>()
}

pub(crate) async fn ask_of(session: &SqlSession, query: &str) -> Answer {
    try_ask(session, query)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"))
}

pub(crate) async fn try_ask(session: &SqlSession, query: &str) -> Result<Answer, String> {
    let frame = session
        .sql(query)
        .await
        .map_err(|error| error.to_string())?;
    let context = Arc::new(frame.task_ctx());
    let plan = frame.create_physical_plan().await;
    let plan = plan.map_err(|error| error.to_string())?;
    let batches = collect(Arc::clone(&plan), context).await;
    Ok(Answer {
        batches: batches.map_err(|error| error.to_string())?,
        rows_read: rows_read(&plan),
        plan: displayable(plan.as_ref()).indent(false).to_string(),
    })
}

/// A session on the folder: a process opens a folder once.
pub(crate) fn session() -> &'static SqlSession {
    static SESSION: OnceLock<SqlSession> = OnceLock::new();
    SESSION.get_or_init(|| {
        let parts = vec![KeyPart::Text, KeyPart::Unsigned(4)];
        let options = SqlOptions {
            keys: BTreeMap::from([("by-hour".to_owned(), parts)]),
            ..SqlOptions::default()
        };
        let opened = SqlSession::open(&data().path, options);
        runtime().block_on(opened).unwrap()
    })
}

/// What `millstream sql` gives of a folder: another process.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.arg("sql").arg(folder).args(arguments);
    command.output().unwrap()
}

/// Asks the folder of [`data`].
pub(crate) fn ask(query: &str) -> Answer {
    runtime().block_on(ask_of(session(), query))
}
