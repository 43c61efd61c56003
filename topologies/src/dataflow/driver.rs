//! Runs a dataflow on one thread with a clock of the test's: no actors, no sleeping, no polling.
//!
//! The stages are the ones that run in production. Which one is stepped next is chosen from a seed, so that what
//! depends on timing shows in some seed, and again with the same one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millstream_engine::flow::{
    Emit, Fault, Pulled, Resources, Source, StageLoad, StageMeter, Wiring,
};
use millstream_engine::mailbox::{Mailbox, Wake};
use millstream_engine::stage::{Blocked, StageCore, Step};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use millstream_operators::source::ReadInPlace;

use super::flow::Dataflow;
use super::pressure;
use super::source::SourcePlan;
use super::{Failure, StartDataflowError};

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
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
    meter: StageMeter,
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
/// let mut counted = None;
/// let flow = Dataflow::build("clicks", |flow| {
///     counted = Some(
///         flow.source("clicks", clicks.clone())
///             .stream()
///             .key_by(|page: &&str| *page)
///             .window(Tumbling::of(Duration::from_secs(60)))
///             .aggregate(count())
///             .collect(),
///     );
/// })?;
/// let counted = counted.unwrap();
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
    clock: Arc<ManualClock>,
    stages: Vec<Driven>,
    /// Names of stages that follow each other.
    edges: Vec<(String, String)>,
    random: u64,
}

impl Driver {
    /// Makes the stages, with the epoch as the time.
    ///
    /// # Errors
    /// [`StartDataflowError`].
    pub fn new(dataflow: Dataflow) -> Result<Self, StartDataflowError> {
        Self::with(dataflow, 0, Resources::new())
    }

    /// The same with a seed for the order of steps, and with what sources and sinks need.
    ///
    /// # Errors
    /// [`StartDataflowError`].
    pub fn with(
        dataflow: Dataflow,
        seed: u64,
        resources: Resources,
    ) -> Result<Self, StartDataflowError> {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let resources = resources.with(ReadInPlace);
        let placed = dataflow.place(&shared, &Arc::new(resources))?;
        let stages = placed.into_iter().map(|stage| {
            let woken = Arc::new(Woken::default());
            stage.mailbox.attach(Arc::<Woken>::clone(&woken));
            Driven {
                name: stage.name,
                is_source: stage.is_source,
                mailbox: stage.mailbox,
                core: stage.core,
                woken,
                state: State::Ready,
                meter: stage.meter,
            }
        });
        Ok(Self {
            clock,
            stages: stages.collect(),
            edges: dataflow.edges(),
            random: seed,
        })
    }

    /// The clock; moving it alone steps nothing.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Lets time pass and does all there is to do then.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn advance(&mut self, by: Duration) -> Result<(), Failure> {
        self.clock.advance(by);
        self.run()
    }

    /// Steps until nothing is left to do at this time.
    ///
    /// # Errors
    /// [`Failure`]: a stage failed.
    pub fn run(&mut self) -> Result<(), Failure> {
        loop {
            let runnable: Vec<_> = (0..self.stages.len())
                .filter(|&at| self.is_runnable(at))
                .collect();
            if runnable.is_empty() {
                return Ok(());
            }
            let chosen = runnable[self.next_random() as usize % runnable.len()];
            self.step(chosen)?;
        }
    }

    /// Has the sources read nothing more, as [`DataflowHandle::stop`](super::DataflowHandle::stop) does;
    /// [`run`](Self::run) then deals with what was read.
    pub fn stop(&mut self) {
        for stage in self.stages.iter_mut().filter(|stage| stage.is_source) {
            stage.core.stop();
            if let State::Idle(_) = stage.state {
                stage.state = State::Ready;
            }
        }
    }

    /// Whether all stages have ended.
    pub fn is_ended(&self) -> bool {
        let ended = |stage: &Driven| matches!(stage.state, State::Ended);
        self.stages.iter().all(ended)
    }

    /// What each partition of each stage has done, with the state that it holds.
    pub fn loads(&self) -> Vec<StageLoad> {
        self.stages.iter().map(|stage| stage.meter.load()).collect()
    }

    /// The partition of a stage that has held the others back since the start, as
    /// [`DataflowHandle::bottleneck`](super::DataflowHandle::bottleneck) tells it.
    pub fn bottleneck(&self) -> Option<StageLoad> {
        pressure::bottleneck(&self.loads(), &self.edges)
    }

    fn is_runnable(&mut self, at: usize) -> bool {
        let now = self.clock.monotonic();
        let stage = &mut self.stages[at];
        match &mut stage.state {
            State::Ready => true,
            State::Ended => false,
            State::Idle(due) => {
                stage.woken.0.load(Ordering::Acquire) || due.is_some_and(|due| due <= now)
            }
            State::Blocked(wait) => {
                let mut context = Context::from_waker(Waker::noop());
                match wait.as_mut().poll(&mut context) {
                    Poll::Ready(()) => {
                        stage.state = State::Ready;
                        true
                    }
                    Poll::Pending => false,
                }
            }
        }
    }

    fn step(&mut self, at: usize) -> Result<(), Failure> {
        let now = self.clock.monotonic();
        let stage = &mut self.stages[at];
        if stage.woken.0.swap(false, Ordering::AcqRel) {
            stage.mailbox.begin_turn();
        }
        stage.state = match stage.core.step() {
            Step::Again => State::Ready,
            Step::Idle => State::Idle(None),
            Step::IdleUntil(delay) => State::Idle(now.checked_add(delay)),
            Step::Blocked(wait) => State::Blocked(wait),
            Step::Done => State::Ended,
            Step::Failed(cause) => {
                stage.state = State::Ended;
                let stage = stage.name.clone();
                return Err(Failure { stage, cause });
            }
            other => unreachable!("a dataflow's stage asked for {other:?}"),
        };
        Ok(())
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

enum Fed<T> {
    Item(Timestamp, T),
    Watermark(Timestamp),
}

struct FeedSplit<T> {
    fed: VecDeque<Fed<T>>,
    ended: bool,
    mailbox: Option<Arc<Mailbox>>,
}

/// A source that a test or a program feeds by hand, split by split.
pub struct Feed<T> {
    splits: Arc<Vec<Mutex<FeedSplit<T>>>>,
}

impl<T> Feed<T> {
    /// A feed of `splits` splits, with nothing in it. It knows no bound: whoever feeds it keeps the measure.
    pub fn new(splits: usize) -> Self {
        let split = |_| {
            Mutex::new(FeedSplit {
                fed: VecDeque::new(),
                ended: false,
                mailbox: None,
            })
        };
        Self {
            splits: Arc::new((0..splits).map(split).collect()),
        }
    }

    fn change(&self, split: usize, change: impl FnOnce(&mut FeedSplit<T>)) {
        let mut split = self.splits[split]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut split);
        if let Some(mailbox) = &split.mailbox {
            mailbox.wake();
        }
    }

    /// Adds an item.
    ///
    /// # Panics
    /// There is no such split; so for the others.
    pub fn push(&self, split: usize, time: Timestamp, item: T) {
        self.change(split, |split| split.fed.push_back(Fed::Item(time, item)));
    }

    /// Says that no item before `watermark` is to come.
    pub fn watermark(&self, split: usize, watermark: Timestamp) {
        self.change(split, |split| {
            split.fed.push_back(Fed::Watermark(watermark))
        });
    }

    /// Says that nothing more comes in this split.
    pub fn end(&self, split: usize) {
        self.change(split, |split| split.ended = true);
    }

    /// The same for all splits.
    pub fn end_all(&self) {
        (0..self.splits.len()).for_each(|split| self.end(split));
    }
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self {
            splits: Arc::clone(&self.splits),
        }
    }
}

/// One split of a feed, as the dataflow reads it.
pub struct FeedSource<T> {
    splits: Arc<Vec<Mutex<FeedSplit<T>>>>,
    number: usize,
    watermark: Option<Timestamp>,
}

impl<T: Send + 'static> Source for FeedSource<T> {
    type Item = T;

    fn open(&mut self, mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        let mut split = self.splits[self.number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        split.mailbox = Some(Arc::clone(mailbox));
        Ok(())
    }

    fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    fn pull<E: Emit<T>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        for _ in 0..items_max {
            let fed = {
                let mut split = self.splits[self.number]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                match split.fed.pop_front() {
                    None if split.ended => return Ok(Pulled::End),
                    None => return Ok(Pulled::Pending),
                    Some(fed) => fed,
                }
            };
            match fed {
                Fed::Item(time, item) => out.emit(time, item),
                Fed::Watermark(watermark) => {
                    self.watermark = self.watermark.max(Some(watermark));
                    // The items that follow are seen with it.
                    return Ok(Pulled::More);
                }
            }
        }
        Ok(Pulled::More)
    }
}

impl<T: Send + 'static> SourcePlan for Feed<T> {
    type Source = FeedSource<T>;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(self.splits.len())
    }

    fn split(&self, split: usize, _wiring: &Wiring) -> Result<FeedSource<T>, Fault> {
        Ok(FeedSource {
            splits: Arc::clone(&self.splits),
            number: split,
            watermark: None,
        })
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("stages", &self.stages.len())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("splits", &self.splits.len())
            .finish()
    }
}

impl<T> fmt::Debug for FeedSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedSource")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
