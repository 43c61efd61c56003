//! What tests ask of an engine. In the modules below: an aggregate that can do everything odd, and projections over it.

pub(crate) mod failing;
mod random;
mod tables;
mod tally;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::{OpenError, StoredEvent};
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::time::Clock;
use millstream_operators::aggregate::CommandResult;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::small_files::small_files;

pub(crate) use random::Random;
pub(crate) use tables::*;
pub(crate) use tally::*;

/// Partitions of the stores of these tests.
pub(crate) const PARTITIONS: u16 = 3;

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

pub(crate) fn config() -> EngineConfig {
    small_files(PARTITIONS)
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

/// Has a command of this instance hold its partition until it is let go; gives the command, which is being decided.
pub(crate) async fn held(
    engine: &Engine,
    id: &str,
) -> (JoinHandle<CommandResult<Tally>>, Gatekeeper) {
    let (gate, keeper) = gate();
    let (engine, id) = (engine.clone(), id.to_owned());
    let holder = tokio::spawn(async move { engine.send::<Tally>(&id, Ask::Wait(gate)).await });
    let keeper = tokio::task::spawn_blocking(|| {
        keeper.wait();
        keeper
    });
    (holder, keeper.await.unwrap())
}

/// Checks log, tables and the index against each other.
pub(crate) async fn check(engine: &Engine) -> Streams {
    let streams = streams(engine);
    assert_eq!(Tables::queried(engine).await, Tables::of(&streams));
    engine.log().verify().unwrap();
    engine.log().verify_indexes().unwrap();
    streams
}

/// Longest wait for what must come: only turns what would be a hang into a failure, also where others keep the machine busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A future that must not hang. The time is generous: it is no measurement.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
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
    let ended = tokio::time::timeout(PATIENCE, wait).await;
    assert!(ended.is_ok(), "never came true: {what}");
}

/// Waits until all that the log has is in the stored rows of the first version of a projection: what is visible is stored later.
pub(crate) async fn stored(engine: &Engine, projection: &str) {
    let durable = engine.durable();
    let state = engine.state();
    let id = state.projection(projection, 1).unwrap().unwrap().id;
    until("all is stored", || {
        durable.positions().iter().all(|position| {
            let progress = state.progress(id, position.partition).unwrap();
            progress.is_some_and(|progress| progress.next > position.offset)
        })
    })
    .await;
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
