//! A small aggregate that can do everything odd, projections over it, and what tests ask of an engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use millstream::prelude::*;
use millstream::{OpenError, StoredEvent};
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::time::Clock;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Partitions of the stores of these tests.
pub(crate) const PARTITIONS: u16 = 3;

/// Panics without a report on standard error: it is wanted.
pub(crate) fn panics(message: &str) -> ! {
    std::panic::resume_unwind(Box::new(message.to_owned()))
}

/// A value that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Odd {
    Fails,
    Panics,
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fails => Err(S::Error::custom("this cannot be written")),
            Self::Panics => panics("writing panics"),
        }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self::Fails)
    }
}

/// What happens to a [`Tally`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Happened {
    Added {
        by: i64,
    },
    Noted {
        text: String,
    },
    /// Never stored: writing it fails or panics.
    Odd {
        what: Odd,
    },
    /// Never stored: evolving by it panics.
    Poison,
}

impl Event for Happened {}

pub(crate) fn added(by: i64) -> Happened {
    Happened::Added { by }
}

/// A way to hold a partition until several commands wait in it.
pub(crate) struct Gate {
    pub(crate) entered: SyncSender<()>,
    pub(crate) leave: Receiver<()>,
}

/// The other side of a [`Gate`].
pub(crate) struct Gatekeeper {
    entered: Receiver<()>,
    leave: SyncSender<()>,
}

impl Gatekeeper {
    /// Waits until the gate's command is being decided. Blocks the thread.
    pub(crate) fn wait(&self) {
        self.entered
            .recv_timeout(Duration::from_secs(60))
            .expect("the gate's command is decided");
    }

    pub(crate) fn open(self) {
        let _ = self.leave.send(());
    }
}

pub(crate) fn gate() -> (Gate, Gatekeeper) {
    let (entered, seen) = sync_channel(1);
    let (opened, leave) = sync_channel(1);
    (
        Gate { entered, leave },
        Gatekeeper {
            entered: seen,
            leave: opened,
        },
    )
}

/// What can be asked of a [`Tally`].
pub(crate) enum Ask {
    Add(i64),
    AddAll(Vec<i64>),
    Note(String),
    Nothing,
    /// Emits events, then refuses.
    Refuse,
    /// Refuses unless the sum is this one, else adds.
    AddIf {
        sum: i64,
        by: i64,
    },
    /// An event that can be written, then this, then one that can be.
    Write(Odd),
    DecidePanics,
    EvolvePanics,
    /// Waits in its decision until it is let go, then adds one.
    Wait(Gate),
}

/// Why a [`Tally`] refuses.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("refused on purpose")]
    OnPurpose,
    #[error("the sum is {0}")]
    Sum(i64),
}

/// A sum, with what led to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) sum: i64,
    pub(crate) events: u64,
    /// Bytes of all notes.
    pub(crate) notes: u64,
}

impl Aggregate for Tally {
    const CATEGORY: &'static str = "tally";
    const VERSION: u32 = 1;
    type Command = Ask;
    type Event = Happened;
    type Rejection = Refused;

    fn decide(&self, ask: Ask, out: &mut Decision<'_, Self>) -> Result<(), Refused> {
        match ask {
            Ask::Add(by) => out.emit(added(by)),
            Ask::AddAll(all) => all.into_iter().for_each(|by| out.emit(added(by))),
            Ask::Note(text) => out.emit(Happened::Noted { text }),
            Ask::Nothing => {}
            Ask::Refuse => {
                out.emit(added(1_000));
                out.emit(added(1_000));
                return Err(Refused::OnPurpose);
            }
            Ask::AddIf { sum, .. } if sum != self.sum => return Err(Refused::Sum(self.sum)),
            Ask::AddIf { by, .. } => out.emit(added(by)),
            Ask::Write(what) => {
                out.emit(added(1_000));
                out.emit(Happened::Odd { what });
                out.emit(added(1_000));
            }
            Ask::DecidePanics => {
                out.emit(added(1_000));
                panics("deciding panics")
            }
            Ask::EvolvePanics => {
                out.emit(added(1_000));
                out.emit(Happened::Poison);
            }
            Ask::Wait(gate) => {
                let _ = gate.entered.send(());
                let _ = gate.leave.recv_timeout(Duration::from_secs(60));
                out.emit(added(1));
            }
        }
        Ok(())
    }

    fn evolve(&mut self, event: &Happened) {
        match event {
            Happened::Added { by } => self.sum += by,
            Happened::Noted { text } => self.notes += text.len() as u64,
            Happened::Odd { .. } => {}
            Happened::Poison => panics("evolving panics"),
        }
        self.events += 1;
    }
}

/// Row per tally.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SumRow {
    pub(crate) sum: i64,
    pub(crate) events: u64,
}

pub(crate) const SUMS: Table<String, SumRow> = Table::named("sums");

/// A row per tally, owned by its partition.
pub(crate) struct Sums;

impl Projection for Sums {
    const NAME: &'static str = "sums";
    const VERSION: u32 = 1;
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
        (sums,): &mut (TableMut<String, SumRow>,),
    ) -> Result<(), Self::Error> {
        sums.update(&event.id.to_owned(), |row| {
            row.events += 1;
            if let Happened::Added { by } = event.payload {
                row.sum += by;
            }
        });
        Ok(())
    }
}

pub(crate) const DIGITS: Table<u64, i64> = Table::named("digits");
pub(crate) const OPEN: Table<String, u64> = Table::named("open");

/// Two tables over all partitions: how often each last digit was added, and the tallies with an odd number of
/// events (so that rows come and go).
pub(crate) struct Digits;

impl Projection for Digits {
    const NAME: &'static str = "digits";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<u64, i64>, Table<String, u64>);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (DIGITS, OPEN)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (digits, open): &mut (TableMut<u64, i64>, TableMut<String, u64>),
    ) -> Result<(), Self::Error> {
        if let Happened::Added { by } = event.payload {
            let digit = by.rem_euclid(10) as u64;
            let count = digits.get(&digit).copied().unwrap_or(0);
            digits.put(&digit, count + 1);
        }
        let id = event.id.to_owned();
        if event.version.is_multiple_of(2) {
            open.put(&id, event.version);
        } else {
            open.remove(&id);
        }
        Ok(())
    }
}

/// Rows of the three tables, as a fold over all events gives them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tables {
    pub(crate) sums: BTreeMap<String, SumRow>,
    pub(crate) digits: BTreeMap<u64, i64>,
    pub(crate) open: BTreeMap<String, u64>,
}

impl Tables {
    pub(crate) fn of(streams: &Streams) -> Self {
        let mut tables = Self::default();
        for (stream, events) in streams {
            let Some(id) = stream.strip_prefix("tally-") else {
                continue;
            };
            for (version, event) in (0u64..).zip(events) {
                let row = tables.sums.entry(id.to_owned()).or_default();
                row.events += 1;
                if let Happened::Added { by } = event {
                    row.sum += by;
                    *tables.digits.entry(by.rem_euclid(10) as u64).or_default() += 1;
                }
                if version.is_multiple_of(2) {
                    tables.open.insert(id.to_owned(), version);
                } else {
                    tables.open.remove(id);
                }
            }
        }
        tables
    }

    /// The rows as queries give them, once everything durable is in them.
    pub(crate) async fn queried(engine: &Engine) -> Self {
        let token = engine.durable();
        let sums = engine.query(&SUMS).at_least(&token).rows().await.unwrap();
        let digits = engine.query(&DIGITS).at_least(&token).rows().await.unwrap();
        let open = engine.query(&OPEN).at_least(&token).rows().await.unwrap();
        Self {
            sums: sums.into_iter().collect(),
            digits: digits.into_iter().collect(),
            open: open.into_iter().collect(),
        }
    }
}

/// The aggregate and the three tables.
pub(crate) fn topology() -> Topology {
    topology_with(AggregateConfig::default(), ProjectionConfig::default())
}

pub(crate) fn topology_with(aggregate: AggregateConfig, projection: ProjectionConfig) -> Topology {
    Topology::named("tallies")
        .aggregate_with::<Tally>(aggregate)
        .projection_with(Sums, projection.clone())
        .projection_with(Digits, projection)
        .build()
        .unwrap()
}

/// Small files, so that a test costs little.
pub(crate) fn config() -> EngineConfig {
    let mut config = EngineConfig {
        partitions: Some(PARTITIONS),
        ..EngineConfig::default()
    };
    config.log.map_bytes_max = 8 << 30;
    config.log.preallocate_step_bytes = 1 << 20;
    config.state.map_bytes_max = 8 << 30;
    config.state.preallocate_step_bytes = 1 << 20;
    config
}

pub(crate) async fn open(folder: &Path) -> Engine {
    open_with(folder, config(), topology()).await
}

pub(crate) async fn open_with(folder: &Path, config: EngineConfig, topology: Topology) -> Engine {
    let opened = try_open(folder, config, topology).await;
    opened.unwrap_or_else(|error| panic!("the engine did not open: {error}"))
}

pub(crate) async fn try_open(
    folder: &Path,
    config: EngineConfig,
    topology: Topology,
) -> Result<Engine, OpenError> {
    Engine::open(folder).config(config).run(topology).await
}

pub(crate) async fn open_at(folder: &Path, config: EngineConfig, clock: Arc<dyn Clock>) -> Engine {
    let builder = Engine::open(folder).config(config).clock(clock);
    builder.run(topology()).await.unwrap()
}

/// Ends an engine in order; its folder can be opened again then.
pub(crate) async fn close(engine: Engine) {
    within(engine.shutdown()).await.unwrap();
    drop(engine);
}

/// Events per stream.
pub(crate) type Streams = BTreeMap<String, Vec<Happened>>;

/// All events of a partition, checked: offsets and versions without gaps, recorded time not decreasing.
pub(crate) fn partition(engine: &Engine, partition: u16) -> Vec<StoredEvent> {
    let partition = PartitionId(partition);
    let events = engine
        .read_partition(partition, Offset(0), usize::MAX, None)
        .unwrap();
    let mut versions = BTreeMap::<&str, u64>::new();
    for (offset, event) in (0u64..).zip(&events) {
        assert_eq!(
            event.position.offset,
            Offset(offset),
            "a gap between offsets"
        );
        let version = versions.entry(&event.stream).or_default();
        assert_eq!(event.version, *version, "a gap in {}", event.stream);
        *version += 1;
    }
    assert!(
        events.is_sorted_by_key(|event| event.recorded_at),
        "recorded time went back"
    );
    events
}

/// All streams of tallies, read partition by partition and compared with reads of single streams.
pub(crate) fn streams(engine: &Engine) -> Streams {
    let mut streams = Streams::new();
    for number in 0..engine.partitions() {
        for event in partition(engine, number) {
            if !event.stream.starts_with("tally-") {
                continue;
            }
            let events = streams.entry(event.stream.clone()).or_default();
            if events.is_empty() {
                let id: StreamId = event.stream.parse().unwrap();
                let typed = engine.events::<Happened>(&id, 0, usize::MAX).unwrap();
                events.extend(typed.into_iter().map(|event| event.payload));
            }
        }
    }
    let typed: usize = streams.values().map(Vec::len).sum();
    let stored: usize = (0..engine.partitions())
        .flat_map(|number| partition(engine, number))
        .filter(|event| event.stream.starts_with("tally-"))
        .count();
    assert_eq!(typed, stored, "streams and partitions hold other events");
    streams
}

/// Asks the instance for its sum, without changing it.
pub(crate) async fn sum(engine: &Engine, id: &str) -> i64 {
    let ask = Ask::AddIf {
        sum: i64::MIN,
        by: 0,
    };
    match engine.send::<Tally>(id, ask).await {
        Err(CommandError::Rejected(Refused::Sum(sum))) => sum,
        other => panic!("{other:?}"),
    }
}

/// Checks log, tables and the index against each other.
pub(crate) async fn check(engine: &Engine) -> Streams {
    let streams = streams(engine);
    assert_eq!(Tables::queried(engine).await, Tables::of(&streams));
    engine.log().verify().unwrap();
    streams
}

/// A future that must not hang. The time is generous: it is no measurement.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), future)
        .await
        .expect("this should have ended long ago")
}

/// Waits until `holds`, looking again and again.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while !holds() {
            looks.tick().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(ended.is_ok(), "never came true: {what}");
}

pub(crate) fn command_id(number: u128) -> CommandId {
    CommandId(Uuid::from_u128(number))
}

pub(crate) fn named(number: u128) -> CommandOptions {
    CommandOptions {
        id: Some(command_id(number)),
        ..CommandOptions::default()
    }
}

pub(crate) fn expecting(expected: Expected) -> CommandOptions {
    CommandOptions {
        expected,
        ..CommandOptions::default()
    }
}

/// An id whose tally lies in `partition`; another for each `nth`.
pub(crate) fn id_in(partition: u16, nth: usize) -> String {
    (0..)
        .map(|n| format!("t{n}"))
        .filter(|id| {
            let stream = StreamId::new("tally", id).unwrap();
            stream.partition(PARTITIONS) == PartitionId(partition)
        })
        .nth(nth)
        .unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    /// From `SEED` or the clock; printed either way.
    pub(crate) fn new() -> Self {
        let seed = std::env::var("SEED").map_or_else(
            |_| Uuid::now_v7().as_u128() as u64 | 1,
            |text| text.parse().expect("SEED is a number"),
        );
        eprintln!("SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
