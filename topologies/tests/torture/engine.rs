//! What parent and victim do with an engine: open it, append input, wait for the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream::DecideError;
use millstream::dataflow::FlowOptions;
use millstream::prelude::*;
use millstream_engine::log::Direction;
use millstream_engine::partition::AppendError;
use tokio::task::{JoinHandle, JoinSet};

use crate::flows::{ENDS, Kind, OUT, READ, topology};
use crate::plan::{Batch, PARTITIONS, Plan};
use crate::small_files::small_files;
pub(crate) use crate::within::{close, within};

/// Small files; a stage that fails is not started again, so that it is seen, unless `restarts` says otherwise.
pub(crate) fn config(restarts: u32) -> EngineConfig {
    let mut config = small_files(PARTITIONS);
    config.restart.attempts_max = restarts;
    config.restart.backoff_first = Duration::from_millis(1);
    config
}

/// The engine's part of a folder.
pub(crate) fn data_in(folder: &Path) -> PathBuf {
    folder.join("data")
}

pub(crate) async fn open(plan: &Plan, options: FlowOptions, folder: &Path) -> Engine {
    let opened = try_open(plan, options, folder, 0).await;
    opened.unwrap_or_else(|error| panic!("seed {}: the engine does not open: {error}", plan.seed))
}

/// With a dataflow that begins again up to `restarts` times.
pub(crate) async fn try_open(
    plan: &Plan,
    options: FlowOptions,
    folder: &Path,
    restarts: u32,
) -> Result<Engine, millstream::OpenError> {
    let builder = Engine::open(data_in(folder)).config(config(restarts));
    builder.run(topology(plan, options, folder)).await
}

pub(crate) async fn until<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    within(async {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while !holds().await {
            looks.tick().await;
        }
    })
    .await;
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Appends up to so many batches of each partition that are not in the log yet, and tells after each. Panics when one is
/// refused.
pub(crate) async fn append(
    engine: &Engine,
    plan: &Arc<Plan>,
    batches_max: usize,
    told: fn(PartitionNumber),
) {
    let appended = try_append(engine, plan, batches_max, told).await;
    appended.unwrap();
}

/// The same; gives why one was refused.
pub(crate) async fn try_append(
    engine: &Engine,
    plan: &Arc<Plan>,
    batches_max: usize,
    told: fn(PartitionNumber),
) -> Result<(), AppendError> {
    let mut partitions = JoinSet::<Result<(), AppendError>>::new();
    for partition in 0..usize::from(PARTITIONS) {
        let (engine, plan) = (engine.clone(), Arc::clone(plan));
        partitions.spawn(async move {
            let batches = plan.input[partition].iter();
            let missing = batches.filter(|batch| !is_stored(&engine, batch));
            for batch in missing.take(batches_max) {
                let appender = engine.appender();
                let appended =
                    appender.append(batch.stream.clone(), batch.expected(), batch.events());
                within(appended).await?;
                told(partition);
            }
            Ok(())
        });
    }
    while let Some(appended) = partitions.join_next().await {
        appended.unwrap()?;
    }
    Ok(())
}

/// Of a partition of the log.
pub(crate) type PartitionNumber = usize;

fn is_stored(engine: &Engine, batch: &Batch) -> bool {
    let last = engine.read_stream(&batch.stream, u64::MAX, 1, Direction::Backwards);
    let last = last.unwrap().first().map(|event| event.version);
    last.is_some_and(|last| last >= batch.first)
}

/// Waits until all input is read and all of its results are where they belong, or a dataflow failed when it was stopped.
/// Tells when it begins to stop dataflows: from then on none is begun again.
pub(crate) async fn finish(engine: &Engine, plan: &Plan, stopping: fn()) -> Result<(), String> {
    let kind = Kind::of(plan);
    for ends in ENDS.iter().take(kind.inputs()) {
        until(|| async {
            let rows = engine.query(ends).rows().await.unwrap();
            let ended = rows.iter().map(|(_, ended)| *ended).sum::<u64>();
            assert!(ended <= u64::from(PARTITIONS), "an end was read twice");
            ended == u64::from(PARTITIONS)
        })
        .await;
    }
    if kind == Kind::Failing {
        // Those that were redriven come through later.
        let items = plan.items("a").flatten().count() as u64;
        until(|| async { written(engine).values().sum::<u64>() == items }).await;
        until(|| async { engine.state().dead_letter_count(None).unwrap() == 0 }).await;
    }
    stopping();
    stop(engine, "flow").await?;
    if kind.has_reader() {
        let written = written(engine).values().sum::<u64>();
        until(|| async {
            let read = engine.query(&READ).rows().await.unwrap();
            read.iter().map(|(_, count)| count).sum::<u64>() == written
        })
        .await;
        stop(engine, "reader").await?;
    }
    Ok(())
}

async fn stop(engine: &Engine, name: &'static str) -> Result<(), String> {
    let stopped = within(engine.dataflow(name).stop()).await;
    stopped.map_err(|failure| format!("dataflow {name}: {failure}"))
}

/// Has every dead letter tried again, in a dataflow that has some, until it is aborted.
pub(crate) fn redriving(engine: &Engine, plan: &Plan) -> JoinHandle<()> {
    match Kind::of(plan) {
        Kind::Failing => tokio::spawn(redrive(engine.clone())),
        _ => tokio::spawn(std::future::ready(())),
    }
}

async fn redrive(engine: Engine) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    loop {
        looks.tick().await;
        for letter in engine.state().dead_letters(None, None, 100).unwrap() {
            // Mostly it is being tried, or in no checkpoint yet.
            let decided = engine.dead_letters();
            if let Err(DecideError::Append(error)) =
                decided.redrive(&[letter.id()], "ann", "").await
            {
                panic!("a decision was not taken: {error}");
            }
        }
    }
}

/// How many events each stream of the output has.
pub(crate) fn written(engine: &Engine) -> BTreeMap<String, u64> {
    let mut written = BTreeMap::new();
    let (events, _) = engine
        .read_all(&Token::default(), usize::MAX, Some(OUT))
        .unwrap();
    for event in events {
        *written.entry(event.stream).or_default() += 1;
    }
    written
}
