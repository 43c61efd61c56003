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

mod over_state;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millstream_engine::checkpoint::{
    CheckpointStatus, CheckpointStorage, Control, Coordinator, InMemory,
};
use millstream_engine::flow::{Resources, StageLoad, StageMeter};
use millstream_engine::mailbox::{Mailbox, Wake};
use millstream_engine::stage::{Blocked, StageCore, Step, caught};
use millstream_engine::state::{DeadLetter, StateError};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use millstream_operators::projection::{Row, Table, TableKey, TableReader};
use millstream_operators::sink::{LetterAccess, TableAccess};
use millstream_operators::source::ReadInPlace;
use millstream_operators::window::LateCounts;

use super::chosen;
use super::deploy::{Placed, PlacedDataflow};
use super::driver_tables::OwnTables;
use super::flow::Dataflow;
use super::home::Checkpointing;
use super::pressure;
use super::{Failure, StartDataflowError};

#[derive(Default)]
struct Woken {
    is_woken: AtomicBool,
    /// Of who waits for the driver.
    waiting: Mutex<Option<Waker>>,
}

impl Woken {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Woken {
    fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
        if let Some(waiting) = self.waiting().take() {
            waiting.wake();
        }
    }
}

enum State {
    Ready,
    Idle(Option<Duration>),
    Blocked(Blocked),
    Ended,
}

struct Driven {
    name: String,
    is_source: bool,
    mailbox: Arc<Mailbox>,
    core: Box<dyn StageCore>,
    woken: Arc<Woken>,
    state: State,
    /// Not of the one that takes checkpoints.
    meter: Option<StageMeter>,
}

impl Driven {
    fn of_stage(stage: Placed) -> Self {
        stage.meter.count_state_each_step();
        let woken = Arc::new(Woken::default());
        stage.mailbox.attach(Arc::<Woken>::clone(&woken));
        Self {
            name: stage.name,
            is_source: stage.is_source,
            mailbox: stage.mailbox,
            core: stage.core,
            woken,
            state: State::Ready,
            meter: Some(stage.meter),
        }
    }

    fn of_coordinator(dataflow: &str, coordinator: Coordinator) -> Self {
        let woken = Arc::new(Woken::default());
        let mailbox = Arc::clone(coordinator.mailbox());
        mailbox.attach(Arc::<Woken>::clone(&woken));
        Self {
            name: format!("{dataflow}/checkpoints"),
            is_source: false,
            mailbox,
            core: Box::new(coordinator),
            woken,
            state: State::Ready,
            meter: None,
        }
    }

    /// When a timer of its is due.
    const fn due(&self) -> Option<Duration> {
        match self.state {
            State::Idle(due) => due,
            State::Ready | State::Blocked(_) | State::Ended => None,
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

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
        let mut resources = resources.with(late.clone()).with(ReadInPlace);
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
        loop {
            if let Some(failure) = &self.failure {
                return Err(failure.clone());
            }
            let runnable: Vec<_> = (0..self.stages.len())
                .filter(|&at| self.is_runnable(at, &mut Context::from_waker(Waker::noop())))
                .collect();
            if runnable.is_empty() && !self.is_storing() {
                return Ok(());
            }
            self.step_one(&runnable);
        }
    }

    /// The same, and waits for what is outside until no stage waits for it: rows and files are stored, events are
    /// durable, channels have been read (by somebody else).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn settle(&mut self) -> Result<(), Failure> {
        let is_blocked = |stage: &Driven| matches!(stage.state, State::Blocked(_));
        self.run_until(|driver| !driver.stages.iter().any(is_blocked))
            .await
    }

    /// Waits until all input is dealt with and what came of it is stored: for ever if the input has no end, or if
    /// something waits for the clock, which nobody moves meanwhile.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn wait(&mut self) -> Result<(), Failure> {
        self.run_until(Self::is_ended).await
    }

    async fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        loop {
            self.run()?;
            if is_done(self) {
                return Ok(());
            }
            std::future::poll_fn(|context| {
                for stage in &self.stages {
                    *stage.woken.waiting() = Some(context.waker().clone());
                }
                let mut some = false;
                for at in 0..self.stages.len() {
                    // All of them are asked, so that each wakes.
                    some |= self.is_runnable(at, context);
                }
                if some { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
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
        for stage in self.stages.iter_mut().filter(|stage| stage.is_source) {
            stage.core.stop();
            if matches!(stage.state, State::Idle(_)) {
                stage.state = State::Ready;
            }
        }
    }

    /// Reads a table that the dataflow writes. What an idle sink took is in it.
    pub fn table<K: TableKey, R: Row>(&self, table: &Table<K, R>) -> Option<TableReader<K, R>> {
        let place = self.tables.as_ref()?.places.get(table.name())?;
        place.reader().as_any().downcast_ref().cloned()
    }

    /// Up to `limit` late items, and items that failed, that were kept as dead letters, by partition and number.
    ///
    /// # Errors
    /// [`StateError`]: they cannot be read.
    pub fn late_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StateError> {
        let letters = self.letters.as_ref();
        letters.map_or(Ok(Vec::new()), |letters| {
            let owner = Some(letters.owner);
            letters.store.dead_letters(owner, None, limit)
        })
    }

    /// A stage's name as figures have it.
    fn full(&self, stage: &str) -> String {
        format!("{}/{stage}", self.name)
    }

    /// Entries of keyed state now, over all partitions of the stage named `stage`, such as `window`.
    pub fn state_items(&self, stage: &str) -> usize {
        let loads = self.loads().into_iter();
        let name = self.full(stage);
        let of_stage = loads.filter(|load| load.stage == name);
        of_stage.map(|load| load.state_items).sum()
    }

    /// Items that came too late for the operators of the stage named `stage` and were only counted.
    pub fn late_items(&self, stage: &str) -> u64 {
        let counts = self.late.counts().into_iter();
        let name = self.full(stage);
        let of_stage = counts.filter(|(counted, _)| *counted == name);
        of_stage.map(|(_, items)| items).sum()
    }

    /// Whether all stages have ended.
    pub fn is_ended(&self) -> bool {
        let ended = |stage: &Driven| matches!(stage.state, State::Ended);
        self.stages.iter().all(ended)
    }

    /// What each partition of each stage has done, with the state that it holds.
    pub fn loads(&self) -> Vec<StageLoad> {
        let meters = self.stages.iter().filter_map(|stage| stage.meter.as_ref());
        meters.map(StageMeter::load).collect()
    }

    /// The partition of a stage that has held the others back since the start, as
    /// [`DataflowHandle::bottleneck`](super::DataflowHandle::bottleneck) tells it.
    pub fn bottleneck(&self) -> Option<StageLoad> {
        pressure::bottleneck(&self.loads(), &self.edges)
    }

    /// Makes up to `steps` steps, chosen by the seed; gives whether there is anything left to do at this time.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_steps(&mut self, steps: usize) -> Result<bool, Failure> {
        for _ in 0..steps {
            if let Some(failure) = &self.failure {
                return Err(failure.clone());
            }
            let runnable: Vec<_> = (0..self.stages.len())
                .filter(|&at| self.is_runnable(at, &mut Context::from_waker(Waker::noop())))
                .collect();
            if runnable.is_empty() && !self.is_storing() {
                return Ok(false);
            }
            self.step_one(&runnable);
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

    fn is_storing(&self) -> bool {
        self.storage.as_ref().is_some_and(InMemory::is_waiting)
    }

    /// Steps a stage, or has the storage do what waits there.
    fn step_one(&mut self, runnable: &[usize]) {
        let choices = runnable.len() + usize::from(self.is_storing());
        let chosen = self.next_random() as usize % choices;
        match (runnable.get(chosen), &self.storage) {
            (Some(&stage), _) => self.step(stage),
            (None, Some(storage)) => {
                storage.step();
            }
            (None, None) => {}
        }
    }

    fn is_runnable(&mut self, at: usize, context: &mut Context<'_>) -> bool {
        let now = self.clock.monotonic();
        let stage = &mut self.stages[at];
        match &mut stage.state {
            State::Ready => true,
            State::Ended => false,
            State::Idle(due) => {
                stage.woken.is_woken.load(Ordering::Acquire) || due.is_some_and(|due| due <= now)
            }
            State::Blocked(wait) => {
                let is_over = wait.as_mut().poll(context).is_ready();
                if is_over {
                    stage.state = State::Ready;
                }
                is_over
            }
        }
    }

    fn step(&mut self, at: usize) {
        let now = self.clock.monotonic();
        let stage = &mut self.stages[at];
        if stage.woken.is_woken.swap(false, Ordering::AcqRel) {
            stage.mailbox.begin_turn();
        }
        let stepped = caught(|| stage.core.step());
        let step = stepped
            .unwrap_or_else(|panic| Step::Failed(format!("panicked: {}", panic_message(&*panic))));
        stage.state = match step {
            Step::Again => State::Ready,
            Step::Idle => State::Idle(None),
            Step::IdleUntil(delay) => State::Idle(now.checked_add(delay)),
            Step::Blocked(wait) => State::Blocked(wait),
            Step::Done => State::Ended,
            Step::Failed(cause) => {
                let stage = stage.name.clone();
                self.failure = Some(Failure { stage, cause });
                for stage in &mut self.stages {
                    stage.state = State::Ended;
                }
                return;
            }
            other => unreachable!("a dataflow's stage asked for {other:?}"),
        };
    }

    /// splitmix64, by Sebastiano Vigna.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
