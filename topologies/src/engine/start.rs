//! Starting an engine: log, state, partitions, projections, dataflows, in this order.

mod partitions;

use std::collections::HashMap;
use std::sync::Arc;

use millstream_engine::event::TokenSeal;
use millstream_engine::log::{
    EmbeddedLog, EmbeddedReader, Feed, GroupWriter, LogError, LogReader, LogWriter, StreamReader,
};
use millstream_engine::runtime::{Threads, working_threads};
use millstream_engine::stage::{StageHandle, spawn_stage};
use millstream_engine::state::{StateStore, StateWriterHandle};
use millstream_engine::store::EnvironmentOptions;
use millstream_engine::threads;
use millstream_engine::time::Clock;
use millstream_operators::failing::ItemLetters;
use millstream_operators::projection::DECISIONS;
use millstream_operators::source::LogAccess;

use self::partitions::start_partitions;
use super::projections::{Prepared, Surroundings};
use super::shutdown::{Running, Stages};
use super::state_memory::{self, StateMemory};
use super::versions::{self, Versions};
use super::{
    Engine, EngineBuilder, EngineConfig, Inner, OpenError, asking, checkpoint_requests, config,
    dataflows, effects, shutdown, tokens, version_requests,
};
use crate::Topology;

/// The write side of a store that was opened.
struct Opened {
    reader: EmbeddedReader,
    feed: Arc<Feed>,
    writer: LogWriter,
    store: StateStore,
    state: StateWriterHandle,
    seal: TokenSeal,
}

impl Opened {
    /// What projections are given of it.
    fn around(
        &self,
        streams: &Arc<dyn StreamReader>,
        clock: &Arc<dyn Clock>,
        config: &EngineConfig,
    ) -> Surroundings {
        Surroundings {
            feed: Arc::clone(&self.feed),
            streams: Arc::clone(streams),
            store: self.store.clone(),
            writer: self.state.clone(),
            clock: Arc::clone(clock),
            restart: config.restart,
            processors: processors(),
            store_id: self.reader.store_id().map(|id| id.0),
        }
    }
}

/// Opens the stores, and clears away what earlier engines were asked: before anybody can ask this one.
fn open_alone(builder: &EngineBuilder) -> Result<(Opened, Stages), OpenError> {
    let opened = open(builder)?;
    asking::clear(
        &builder.folder,
        &[checkpoint_requests::KIND, version_requests::KIND],
    );
    Ok(opened)
}

/// Processors that stages of this runtime can have.
fn processors() -> usize {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    working_threads().clamp(1, all)
}

pub(super) async fn start(builder: EngineBuilder, topology: Topology) -> Result<Engine, OpenError> {
    builder.config.validate()?;
    let (opened, mut stages) = {
        let builder = builder.clone();
        blocking(move || open_alone(&builder)).await?
    };
    let (feed, deadline) = (Arc::clone(&opened.feed), builder.config.shutdown_deadline);
    let assembled = assemble(builder, topology, opened, &mut stages).await;
    match assembled {
        Ok(inner) => {
            let inner = Arc::new(inner(stages));
            start_monitor(&inner);
            Ok(Engine { inner })
        }
        Err(error) => {
            // What runs already would hold the folder, which may be opened again at once; how it ends is of less interest than why.
            let _ = shutdown::end(stages, &feed, deadline).await;
            Err(error)
        }
    }
}

/// Starts everything on what was opened. What runs is among `stages`, also where it fails: it holds nothing of the folder then but
/// through them. They are asked for once more to make the engine.
async fn assemble(
    builder: EngineBuilder,
    topology: Topology,
    opened: Opened,
    stages: &mut Stages,
) -> Result<impl FnOnce(Stages) -> Inner + use<>, OpenError> {
    let EngineBuilder {
        folder,
        config,
        clock,
        ..
    } = builder;
    let streams: Arc<dyn StreamReader> = Arc::new(opened.reader.clone());
    let around = opened.around(&streams, &clock, &config);
    let prepare = move || prepare(&topology, &around).map(|made| (made, topology, around));
    let (prepared, mut topology, around) = blocking(prepare).await?;
    let started = &mut stages.partitions;
    let write_side =
        start_partitions(&topology, &config, &clock, &opened, &streams, started).await?;
    let versions = start_projections(prepared, &mut stages.projections).await?;
    let started = &mut stages.deliveries;
    effects::start(&topology.deliveries, &versions, &around, started).await?;
    drop(opened.writer); // The partitions hold it now; it ends with the last of them.
    let log = LogAccess::new(Arc::clone(&opened.feed), Arc::clone(&streams));
    let inputs = dataflows::Inputs {
        log: log.with_categories(dataflows::categories(&topology)),
        // What they append is not decided by a person.
        appender: write_side.appender.clone().refusing(&[DECISIONS]),
        memory: topology
            .state_memory
            .map(|bytes| StateMemory::new(bytes, topology.state_disk, &folder)),
        letters: ItemLetters::new(streams),
    };
    let declared = std::mem::take(&mut topology.dataflows);
    let (started, outcome) = dataflows::start(declared, &inputs, &around).await;
    stages.dataflows = started.handles;
    outcome?;
    Ok(move |stages| Inner {
        name: topology.name,
        folder,
        config,
        clock,
        reader: opened.reader,
        feed: opened.feed,
        store: opened.store,
        partitions: write_side.shared,
        appender: write_side.appender,
        handles: write_side.handles,
        tables: started.readers.into_iter().collect(),
        owners: owners(&versions),
        versions,
        state: opened.state,
        runtime: tokio::runtime::Handle::current(),
        inputs,
        seal: opened.seal,
        running: Running::new(stages),
    })
}

fn start_monitor(inner: &Arc<Inner>) {
    let (watched, looks) = (Arc::downgrade(inner), inner.running.looks());
    let threads = Threads::present();
    // Without it figures are missing, and nobody looks after stages that hang.
    if let Err(cause) = threads::try_spawn("monitor", move || {
        super::monitor::watch(&watched, &looks, threads)
    }) {
        tracing::warn!(%cause, "the monitor could not be started");
    }
}

/// Starts the projections; their stages are added to `stages`.
async fn start_projections(
    prepared: Vec<Vec<Prepared>>,
    stages: &mut Vec<StageHandle>,
) -> Result<Vec<Arc<Versions>>, OpenError> {
    let mut all = Vec::new();
    for of_name in prepared {
        let mut of_versions = Vec::new();
        for mut one in of_name {
            let mut own = Vec::new();
            for spec in std::mem::take(&mut one.stages) {
                let stage = spawn_stage(spec).await?;
                stages.push(stage.clone());
                own.push(stage);
            }
            of_versions.push((one, own));
        }
        all.extend(versions::started(of_versions).map(Arc::new));
    }
    Ok(all)
}

/// Which projection has a table, by its place.
fn owners(versions: &[Arc<Versions>]) -> HashMap<&'static str, usize> {
    let mut owners = HashMap::new();
    for (at, versions) in versions.iter().enumerate() {
        for version in versions.started() {
            owners.extend(version.readers.iter().map(|(table, _)| (*table, at)));
        }
    }
    owners
}

/// Runs what waits for a disk away from the runtime's workers.
pub(super) async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run)
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Opens the stores; what ends with the engine is apart, and nothing runs yet but their writers.
fn open(builder: &EngineBuilder) -> Result<(Opened, Stages), OpenError> {
    let EngineBuilder {
        folder,
        config,
        clock,
        token_key,
    } = builder;
    let log = |cause: LogError| OpenError::Log {
        folder: folder.clone(),
        cause,
    };
    let state = |cause| OpenError::State {
        folder: folder.to_path_buf(),
        cause,
    };
    let log_folder = folder.join("log");
    let options = EnvironmentOptions {
        map_bytes_max: config.log.map_bytes_max,
        preallocate_step_bytes: config.log.preallocate_step_bytes,
        ..EnvironmentOptions::default()
    };
    let (asked, partitions_new) = (config.partitions, config::PARTITIONS);
    let opened = EmbeddedLog::open_as_stored(&log_folder, asked, partitions_new, options);
    let EmbeddedLog { store, reader } = opened.map_err(log)?;
    let key = match token_key {
        Some(key) => *key,
        None => tokens::key_in(folder)?,
    };
    let id = reader.store_id();
    let seal = TokenSeal::new(key, id.expect("a log that is open for writing has an id"));
    let feed = Arc::new(Feed::new(&reader).map_err(log)?);
    let group_writer = GroupWriter::new(store, Arc::clone(&feed), Arc::clone(clock));
    let per_partition = config.partition.frames_in_flight_max as usize + 1;
    let places = per_partition * usize::from(reader.partitions());
    let (store, state_writer) =
        StateStore::open(&folder.join("state"), config.state.clone()).map_err(state)?;
    state_memory::forget(folder);
    let (handle, state_thread) = millstream_engine::state::start(state_writer).map_err(state)?;
    // Last: its thread holds the folder for a moment more than whoever fails behind it.
    let (writer, writer_thread) = LogWriter::start(group_writer, places);
    let stages = Stages {
        dataflows: Vec::new(),
        partitions: Vec::new(),
        projections: Vec::new(),
        deliveries: Vec::new(),
        writer: writer_thread,
        state: handle.clone(),
        state_thread,
    };
    let opened = Opened {
        reader,
        feed,
        writer,
        store,
        state: handle,
        seal,
    };
    Ok((opened, stages))
}

/// Registers the projections. Blocks on the state's writer.
fn prepare(topology: &Topology, around: &Surroundings) -> Result<Vec<Vec<Prepared>>, OpenError> {
    let prepared = versions::prepare(&topology.projections, around);
    let prepared = prepared.map_err(|(name, cause)| OpenError::Projection { name, cause })?;
    effects::tell_undeclared(&prepared, &around.store);
    Ok(prepared)
}

#[cfg(test)]
mod tests;
