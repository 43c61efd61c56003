//! Dataflows of an engine: what they are given, starting and stopping them.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::checkpoint::{CheckpointStorage, InState};
use millstream_engine::flow::Resources;
use millstream_engine::partition::Appender;
use millstream_engine::spill::MemoryBudget;
use millstream_engine::stage::StageStatus;
use millstream_engine::state::StateError;
use millstream_operators::failing::{ItemLetters, ParkedItem};
use millstream_operators::projection::AnyReader;
use millstream_operators::source::LogAccess;

use super::projections::Surroundings;
use super::start::blocking;
use super::state_memory::StateMemory;
use super::{Engine, OpenError, ShutdownError};
use crate::Topology;
use crate::dataflow::home::Home;
use crate::dataflow::table::{self, Tables};
use crate::dataflow::{Dataflow, DataflowHandle, DataflowStatus, Failure, StartDataflowError};

/// Time for the steps under way of a dataflow that is aborted; a step takes about a millisecond unless user code hangs.
const ABORT_WAIT: Duration = Duration::from_secs(5);

/// What dataflows of an engine are given.
#[derive(Clone)]
pub(super) struct Inputs {
    pub(super) log: LogAccess,
    pub(super) appender: Appender,
    pub(super) memory: Option<StateMemory>,
    /// Shared by all dataflows, over all of their beginnings.
    pub(super) letters: ItemLetters,
}

impl Inputs {
    fn resources(&self) -> Resources {
        Resources::new()
            .with(self.log.clone())
            .with(self.appender.clone())
            .with(self.letters.clone())
    }
}

/// Categories by the type of the events in them.
pub(super) fn categories(topology: &Topology) -> HashMap<TypeId, Vec<String>> {
    let mut categories: HashMap<TypeId, Vec<String>> = HashMap::new();
    for aggregate in &topology.aggregates {
        let of_type = categories.entry(aggregate.events()).or_default();
        of_type.push(aggregate.category().to_owned());
    }
    categories
}

/// What came of starting dataflows; complete unless there is an error.
#[derive(Default)]
pub(super) struct Started {
    pub(super) handles: Vec<DataflowHandle>,
    pub(super) readers: Vec<(&'static str, Arc<dyn AnyReader>)>,
}

/// Starts one after the other. With an error come those that were started before.
pub(super) async fn start(
    dataflows: Vec<Dataflow>,
    inputs: &Inputs,
    around: &Surroundings,
) -> (Started, Result<(), OpenError>) {
    let mut started = Started::default();
    if let Err(error) = drop_others(&dataflows, inputs, around).await {
        return (started, Err(error));
    }
    for dataflow in dataflows {
        // On the heap: every future that opens an engine would hold it.
        let starting = Box::pin(start_one(dataflow, inputs, around, &mut started));
        if let Err(error) = starting.await {
            return (started, Err(error));
        }
    }
    (started, Ok(()))
}

/// Drops what dataflows have that the topology no longer has, but for savepoints.
async fn drop_others(
    dataflows: &[Dataflow],
    inputs: &Inputs,
    around: &Surroundings,
) -> Result<(), OpenError> {
    let names = dataflows.iter().map(|flow| flow.name().to_owned());
    let names: Vec<_> = names.collect();
    let (store, writer) = (around.store.clone(), around.writer.clone());
    let partitions = inputs.log.feed().partitions();
    let dropped = blocking(move || {
        let dataflow = || "that the topology no longer has".to_owned();
        let forgotten = table::forget_others(&names, &store, &writer);
        forgotten.map_err(|cause| OpenError::DataflowCheckpoints {
            dataflow: dataflow(),
            cause,
        })?;
        let dropped = table::drop_others(&names, &store, &writer, partitions);
        dropped.map_err(|cause| OpenError::DataflowTables {
            dataflow: dataflow(),
            cause,
        })
    });
    dropped.await
}

async fn start_one(
    dataflow: Dataflow,
    inputs: &Inputs,
    around: &Surroundings,
    started: &mut Started,
) -> Result<(), OpenError> {
    let name = dataflow.name().to_owned();
    let (store, writer) = (around.store.clone(), around.writer.clone());
    let takes_checkpoints = dataflow.takes_checkpoints();
    let (storage, tables) = blocking(move || {
        let storage = if takes_checkpoints {
            let opened = InState::open(&name, &store, &writer).map(Some);
            opened.map_err(|cause| OpenError::DataflowTables {
                dataflow: name,
                cause,
            })
        } else {
            // Its tables are made anew, so those of an earlier run that took some would not fit to them any more.
            let forgotten = InState::forget(&name, &store, &writer).map(|_| None);
            forgotten.map_err(|cause| OpenError::DataflowCheckpoints {
                dataflow: name,
                cause,
            })
        };
        (storage, Tables::new(store, writer))
    })
    .await;
    let storage = storage?;
    let tables = Arc::new(tables);
    let home = Home {
        clock: Arc::clone(&around.clock),
        furnish: {
            let (inputs, tables) = (inputs.clone(), Arc::clone(&tables));
            Box::new(move |dataflow, from| {
                let placed = tables.place(dataflow, from);
                let placed = placed.map_err(|cause| StartDataflowError::Tables {
                    dataflow: dataflow.name().to_owned(),
                    cause: cause.to_string(),
                })?;
                let resources = placed.add_to(inputs.resources());
                let Some(memory) = &inputs.memory else {
                    return Ok(resources);
                };
                let store = memory.store().map_err(|cause| StartDataflowError::Memory {
                    dataflow: dataflow.name().to_owned(),
                    cause: cause.to_string(),
                })?;
                Ok(resources.with(store))
            })
        },
        storage: storage.map(|storage| Arc::new(storage) as Arc<dyn CheckpointStorage>),
        restart: around.restart,
    };
    started.handles.push(dataflow.start_in(home).await?);
    started.readers.extend(tables.readers());
    Ok(())
}

/// Has all sources stop and waits until what was read is dealt with. Those that do not end within `deadline` are
/// aborted: they must not hold the log and the state when the engine is gone.
pub(super) async fn stop_all(
    dataflows: &[DataflowHandle],
    deadline: Duration,
) -> Result<(), ShutdownError> {
    dataflows.iter().for_each(DataflowHandle::begin_stop);
    // All at once: they wait for different things.
    let ends: Vec<_> = dataflows
        .iter()
        .map(|dataflow| tokio::spawn(end_one(dataflow.clone(), deadline)))
        .collect();
    let mut outcome = Ok(());
    for end in ends {
        if let Ok(ended) = end.await {
            outcome = outcome.and(ended);
        }
    }
    outcome
}

async fn end_one(dataflow: DataflowHandle, deadline: Duration) -> Result<(), ShutdownError> {
    let ended = match tokio::time::timeout(deadline, dataflow.wait()).await {
        Ok(ended) => ended,
        Err(_elapsed) => {
            let cause = format!("it did not end within {deadline:?}");
            match tokio::time::timeout(ABORT_WAIT, dataflow.abort(&cause)).await {
                Ok(ended) => ended,
                Err(_elapsed) => Err(Failure {
                    stage: format!("dataflow {}", dataflow.name()),
                    cause: format!("{cause}, and user code in it runs on"),
                }),
            }
        }
    };
    ended.map_err(|Failure { stage, cause }| ShutdownError::Stage { stage, cause })
}

impl Engine {
    /// The dataflow named `name` of the topology.
    ///
    /// # Panics
    /// When the topology has no such dataflow: a mistake in the program, not in its input.
    #[must_use]
    pub fn dataflow(&self, name: &str) -> DataflowHandle {
        let found = self.dataflows().iter().find(|flow| flow.name() == name);
        match found {
            Some(dataflow) => dataflow.clone(),
            None => panic!(
                "topology {:?} has no dataflow {name:?}: add it with .dataflow(…)",
                self.inner.name
            ),
        }
    }

    /// All dataflows of the topology, in the order of declaration.
    #[must_use]
    pub fn dataflows(&self) -> &[DataflowHandle] {
        &self.inner.running.dataflows
    }

    /// Dataflows that failed, each with the stage that failed first. The others, and the engine, go on: a dataflow
    /// that failed is started again with the process.
    #[must_use]
    pub fn failed_dataflows(&self) -> Vec<(String, Failure)> {
        let failed = self
            .dataflows()
            .iter()
            .filter_map(|flow| match flow.status() {
                DataflowStatus::Failed(failure) => Some((flow.name().to_owned(), failure)),
                DataflowStatus::Running | DataflowStatus::Ended => None,
            });
        failed.collect()
    }

    /// Whether a key of a stage of a dataflow is parked: an item of it failed, and later ones wait behind it. `stage` is
    /// the name of its state, or else of the stage; `key` is as `dead-letters list` shows it. Cost: a read of the state and
    /// two hash lookups.
    ///
    /// # Errors
    /// [`StateError`]: the state cannot be read.
    pub fn parked_item(
        &self,
        dataflow: &str,
        stage: &str,
        key: &str,
    ) -> Result<Option<ParkedItem>, StateError> {
        let owner = self
            .state()
            .projection(&table::owner(dataflow), table::VERSION)?;
        let letters = &self.inner.inputs.letters;
        let stage = format!("{dataflow}/{stage}");
        Ok(owner.and_then(|owner| letters.parked(owner.id, &stage, key)))
    }

    /// What a dataflow outside of the topology needs to read this engine's log and to append to it, such as one that
    /// a [`Driver`](crate::dataflow::Driver) steps. It has no tables. Stop it before the engine.
    #[must_use]
    pub fn resources(&self) -> Resources {
        self.inner.inputs.resources()
    }

    /// The memory of the state of all dataflows, and the pages of it that went to disk; `None` if it has no
    /// [bound](crate::TopologyBuilder::state_memory).
    #[must_use]
    pub fn state_memory(&self) -> Option<&MemoryBudget> {
        let memory = self.inner.inputs.memory.as_ref()?;
        Some(memory.budget())
    }

    /// Stages of all dataflows.
    pub(super) fn dataflow_stages(&self) -> impl Iterator<Item = (String, StageStatus)> {
        self.dataflows().iter().flat_map(DataflowHandle::stages)
    }
}
