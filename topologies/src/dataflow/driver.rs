//! Runs a dataflow on one thread with a clock of the test's: no actors, no sleeping, no polling.
//!
//! The stages are the ones that run in production. Which one is stepped next is chosen from a seed, so that what
//! depends on timing shows in some seed, and again with the same one.
//! Failure: as in production the first failure, a panic too, ends the dataflow: nothing is stepped after it.
//! What is outside goes its own pace: the threads that write files and rows, the log, whoever reads a channel.
//! [`Driver::run`] does not wait for it, [`Driver::settle`] and [`Driver::wait`] do.
//! Tables need nothing: they are kept in a folder of the driver's own. The log is an engine's, whose
//! [`resources`](crate::Engine::resources) are given to [`Driver::with`].
//! Not here: [`Feed`](super::Feed), a source that is fed by hand.

mod looking;
mod outside;
mod over_state;
mod stages;
mod stepping;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::checkpoint::{CheckpointStatus, CheckpointStorage, Control, InMemory};
use millstream_engine::flow::Resources;
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use millstream_operators::sink::{FileFolders, LetterAccess, TableAccess};
use millstream_operators::source::ReadInPlace;
use millstream_operators::window::LateCounts;

use self::stages::{Driven, State};
use super::chosen;
use super::deploy::PlacedDataflow;
use super::driver_tables::OwnTables;
use super::flow::Dataflow;
use super::home::Checkpointing;
use super::{Failure, StartDataflowError};

/// Steps the stages of a dataflow.
///
/// ```
/// use std::time::Duration;
/// use millstream::dataflow::{Dataflow, Driver, Feed};
/// use millstream_engine::time::Timestamp;
/// use millstream_operators::function::count;
/// use millstream_operators::window::Tumbling;
///
/// let clicks = Feed::new(1);
/// let (flow, counted) = Dataflow::declare("clicks", |flow| {
///     flow.source("clicks", clicks.clone())
///         .stream()
///         .key_by(|page: &&str| page.to_string())
///         .window(Tumbling::of(Duration::from_secs(60)))
///         .aggregate(count())
///         .collect()
/// })?;
/// let mut driver = Driver::new(flow)?;
/// clicks.push(0, Timestamp::from_seconds(1), "home");
/// clicks.push(0, Timestamp::from_seconds(2), "home");
/// driver.run()?;
/// assert!(counted.is_empty());
/// clicks.watermark(0, Timestamp::from_seconds(60));
/// driver.run()?;
/// assert_eq!(counted.take_items()[0].value, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Driver {
    name: String,
    clock: Arc<ManualClock>,
    stages: Vec<Driven>,
    /// Names of stages that follow each other.
    edges: Vec<(String, String)>,
    random: u64,
    failure: Option<Failure>,
    control: Option<Arc<Control>>,
    storage: Option<InMemory>,
    late: LateCounts,
    tables: Option<Arc<TableAccess>>,
    letters: Option<Arc<LetterAccess>>,
    /// Dropped last: the stages write there.
    _own_tables: Option<OwnTables>,
}

impl Driver {
    /// Makes the stages, with the epoch as the time.
    ///
    /// # Errors
    /// [`StartDataflowError`].
    pub fn new(dataflow: Dataflow) -> Result<Self, StartDataflowError> {
        Self::with(dataflow, 0, Resources::new())
    }

    /// The same with a seed for the order of steps, and with what sources and sinks need: for those of the log
    /// [`Engine::resources`](crate::Engine::resources). Drop the driver before the engine is shut down.
    ///
    /// # Errors
    /// [`StartDataflowError`].
    pub fn with(
        dataflow: Dataflow,
        seed: u64,
        resources: Resources,
    ) -> Result<Self, StartDataflowError> {
        Self::make(dataflow, seed, resources, None)
    }

    /// The same with checkpoints in `storage`, from the latest of which it begins. To crash, drop the driver, say so to
    /// the storage ([`InMemory::crash`]), and make another one.
    ///
    /// # Errors
    /// [`StartDataflowError`].
    pub fn with_checkpoints(
        dataflow: Dataflow,
        seed: u64,
        resources: Resources,
        storage: InMemory,
    ) -> Result<Self, StartDataflowError> {
        Self::make(dataflow, seed, resources, Some(storage))
    }

    /// With these stages.
    fn driving(mut self, placed: PlacedDataflow) -> Self {
        let stages = placed.stages.into_iter().map(Driven::of_stage);
        self.stages.extend(stages);
        if let Some(coordinator) = placed.coordinator {
            self.control = Some(Arc::clone(coordinator.control()));
            let coordinator = Driven::of_coordinator(&self.name, coordinator);
            self.stages.push(coordinator);
        }
        self
    }

    fn make(
        dataflow: Dataflow,
        seed: u64,
        resources: Resources,
        storage: Option<InMemory>,
    ) -> Result<Self, StartDataflowError> {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let late = LateCounts::default();
        let mut resources = resources
            .with(late.clone())
            .with(ReadInPlace)
            .with(FileFolders::default());
        let own_tables = match resources.get::<TableAccess>() {
            Some(_) => None,
            None => OwnTables::of(&dataflow)?,
        };
        if let Some(own) = &own_tables {
            resources = own.placed().add_to(resources);
        }
        let tables = resources.get::<TableAccess>();
        let letters = resources.get::<LetterAccess>();
        let placed = match &storage {
            None => dataflow.place(&shared, &Arc::new(resources), None)?,
            Some(storage) => checkpointed(&dataflow, &shared, Arc::new(resources), storage)?,
        };
        let driver = Self {
            name: dataflow.name().to_owned(),
            clock,
            stages: Vec::new(),
            control: None,
            storage,
            edges: dataflow.edges(),
            random: seed,
            failure: None,
            late,
            tables,
            letters,
            _own_tables: own_tables,
        };
        Ok(driver.driving(placed))
    }

    /// The clock; moving it alone steps nothing.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Does all there is to do now, lets time pass, and does what falls due meanwhile, each at its time.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn advance(&mut self, by: Duration) -> Result<(), Failure> {
        let until = self.clock.monotonic().saturating_add(by);
        loop {
            self.run()?;
            let now = self.clock.monotonic();
            if now >= until {
                return Ok(());
            }
            let dues = self.stages.iter().filter_map(Driven::due);
            let next = dues.min().map_or(until, |due| due.clamp(now, until));
            // Wall time has whole microseconds, which timers go by.
            let step = next.saturating_sub(now).max(Duration::from_micros(1));
            self.clock.advance(step.min(until - now));
        }
    }

    /// Steps until nothing is left to do at this time, whatever is still on its way outside.
    ///
    /// # Errors
    /// [`Failure`]: a stage failed, now or earlier.
    pub fn run(&mut self) -> Result<(), Failure> {
        while self.step_any()? {}
        Ok(())
    }

    /// Has the sources read nothing more and deals with what they have read, as
    /// [`DataflowHandle::stop`](super::DataflowHandle::stop). What is outside is not waited for.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.begin_stop();
        self.run()
    }

    /// The same without running anything: for what steps the driver together with what is outside.
    pub fn begin_stop(&mut self) {
        if let Some(control) = &self.control {
            control.begin_stop();
        }
        for stage in self.stages.iter_mut().filter(|stage| stage.is_source) {
            stage.core.stop();
            if matches!(stage.state, State::Idle(_)) {
                stage.state = State::Ready;
            }
        }
    }

    /// Whether all stages have ended.
    pub fn is_ended(&self) -> bool {
        let ended = |stage: &Driven| matches!(stage.state, State::Ended);
        self.stages.iter().all(ended)
    }

    /// Makes up to `steps` steps, chosen by the seed; gives whether there is anything left to do at this time.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_steps(&mut self, steps: usize) -> Result<bool, Failure> {
        for _ in 0..steps {
            if !self.step_any()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks for a checkpoint, which is taken as the stages are stepped.
    pub fn ask_for_checkpoint(&self) {
        if let Some(control) = &self.control {
            control.ask();
        }
    }

    /// The same for a savepoint.
    pub fn ask_for_savepoint(&self) {
        if let Some(control) = &self.control {
            control.ask_for_savepoint();
        }
    }

    /// Where its checkpoints stand; `None` without any.
    pub fn checkpoints(&self) -> Option<CheckpointStatus> {
        let control = self.control.as_ref()?;
        Some(control.status().borrow().clone())
    }
}

/// Makes the stages, from the latest checkpoint if there is one.
fn checkpointed(
    dataflow: &Dataflow,
    clock: &Arc<dyn Clock>,
    resources: Arc<Resources>,
    storage: &InMemory,
) -> Result<PlacedDataflow, StartDataflowError> {
    let storage: Arc<dyn CheckpointStorage> = Arc::new(storage.clone());
    chosen::begin(dataflow.name(), &*storage, |from| {
        let checkpoints = Checkpointing {
            options: dataflow.options.checkpoints.clone().unwrap_or_default(),
            storage: Arc::clone(&storage),
            from,
        };
        dataflow.place(clock, &resources, Some(checkpoints))
    })
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stages = f.debug_map();
        for stage in &self.stages {
            let state = match stage.state {
                State::Ready => "ready",
                State::Idle(_) => "idle",
                State::Blocked(_) => "blocked",
                State::Ended => "ended",
            };
            stages.entry(&stage.name, &state);
        }
        stages.finish()
    }
}
