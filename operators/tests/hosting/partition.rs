//! A partition of one aggregate type, and its log's writer, which keeps nothing: both are stepped by hand.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use millstream_engine::codec::Event;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::index::IndexEntry;
use millstream_engine::log::frame::{Frame, SealedFrame};
use millstream_engine::log::{
    Direction, Feed, GroupWriter, Head, LogError, LogReader, LogStore, LogWriter, SteppedLogWriter,
    StreamReader,
};
use millstream_engine::mailbox::{LaneReceiver, Mailbox};
use millstream_engine::partition::{
    Expected, PartitionConfig, PartitionCore, PartitionInput, PartitionParts, random_ids,
};
use millstream_engine::stage::StageCore;
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use millstream_operators::aggregate::{
    Acknowledge, Aggregate, AggregateConfig, AggregateHandle, CommandItem, CommandLane,
    CommandOptions, CommandResult, Decision, Host,
};
use serde::{Deserialize, Serialize};

thread_local! {
    /// Whether an empty state cannot be made on this thread, which is a test's own.
    pub(crate) static DEFAULT_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// Panics where it is dropped, if it is live.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Bomb {
    is_live: bool,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.is_live || std::thread::panicking(), "a bomb");
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Thing {
    bomb: Bomb,
}

impl Default for Thing {
    fn default() -> Self {
        assert!(!DEFAULT_PANICS.get(), "nothing is made");
        Self {
            bomb: Bomb::default(),
        }
    }
}

#[derive(Clone)]
pub(crate) enum Ask {
    Add,
    AddLarge(usize),
    Refuse,
    Break,
    Arm,
    /// Drops an event that panics then.
    Throw,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Done {
    Added(String),
    Broken,
    Armed,
    Thrown(Bomb),
}

impl Event for Done {}

#[derive(Clone, Debug, thiserror::Error)]
#[error("refused")]
pub(crate) struct Refused;

impl Aggregate for Thing {
    const CATEGORY: &'static str = "thing";
    const VERSION: u32 = 1;
    type Command = Ask;
    type Event = Done;
    type Rejection = Refused;

    fn decide(&self, ask: Ask, out: &mut Decision<'_, Self>) -> Result<(), Refused> {
        out.emit(match ask {
            Ask::Add => Done::Added(String::new()),
            Ask::AddLarge(bytes) => Done::Added("a".repeat(bytes)),
            Ask::Refuse => return Err(Refused),
            Ask::Break => Done::Broken,
            Ask::Arm => Done::Armed,
            Ask::Throw => Done::Thrown(Bomb { is_live: true }),
        });
        Ok(())
    }

    fn evolve(&mut self, done: &Done) {
        match done {
            Done::Added(_) | Done::Thrown(_) => {}
            Done::Broken => panic!("evolving"),
            Done::Armed => self.bomb.is_live = true,
        }
    }
}

pub(crate) struct NoStore;

impl LogStore for NoStore {
    fn append(&mut self, _: &[SealedFrame]) -> Result<(), LogError> {
        Ok(())
    }
}

/// A log in which nothing ever is; counts how often a stream is looked for, which is once per activation.
#[derive(Clone, Debug, Default)]
pub(crate) struct NoLog {
    activations: Arc<AtomicUsize>,
}

impl LogReader for NoLog {
    fn partitions(&self) -> u16 {
        1
    }

    fn head(&self, _: PartitionId) -> Result<Head, LogError> {
        Ok(Head::default())
    }

    fn read(&self, _: PartitionId, _: Offset, _: usize) -> Result<Vec<Frame>, LogError> {
        Ok(Vec::new())
    }
}

impl StreamReader for NoLog {
    fn locate(
        &self,
        _: PartitionId,
        _: u64,
        _: u64,
        _: usize,
        _: Direction,
    ) -> Result<Vec<IndexEntry>, LogError> {
        self.activations.fetch_add(1, Ordering::Relaxed);
        Ok(Vec::new())
    }
}

pub(crate) struct Partition {
    pub(crate) core: PartitionCore,
    pub(crate) writer: SteppedLogWriter<NoStore>,
    pub(crate) handle: AggregateHandle<Thing>,
    pub(crate) lane: LaneReceiver<CommandItem<Thing>>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) log: NoLog,
}

pub(crate) type Sent<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

pub(crate) fn poll<T>(sent: &mut Sent<'_, T>) -> Poll<T> {
    sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn answer<T>(mut sent: Sent<'_, T>) -> T {
    match poll(&mut sent) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("nothing was answered"),
    }
}

pub(crate) fn accepted(expected: Expected) -> CommandOptions {
    CommandOptions {
        expected,
        acknowledge: Acknowledge::Accepted,
        ..CommandOptions::default()
    }
}

impl Partition {
    pub(crate) fn new(config: AggregateConfig) -> Self {
        let log = NoLog::default();
        let clock = Arc::new(ManualClock::new(Timestamp(1)));
        let shared: Arc<dyn Clock> = clock.clone();
        let streams: Arc<dyn StreamReader> = Arc::new(log.clone());
        let feed = Arc::new(Feed::new(&log).expect("an empty log"));
        let stamps = Arc::clone(feed.stamps());
        let group = GroupWriter::new(NoStore, feed, Arc::clone(&shared));
        let (writer, stepped) = LogWriter::stepped(group, 64);
        let partition = PartitionConfig::default();
        let mailbox = Mailbox::new(partition.mailbox, Arc::clone(&shared));
        let (sender, lane) = mailbox.lane::<CommandItem<Thing>>();
        let extra = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&extra);
        let host = Host::<Thing>::new(PartitionId(0), config, lane.clone(), counted, None);
        let inputs: Vec<Box<dyn PartitionInput>> = vec![Box::new(host)];
        let core = PartitionCore::open(PartitionParts {
            partition: PartitionId(0),
            config: partition,
            mailbox,
            inputs,
            writer,
            streams: Arc::clone(&streams),
            clock: shared,
            ids: random_ids,
            stamps,
            shared: Arc::default(),
        });
        Self {
            core: core.expect("an empty log"),
            writer: stepped,
            handle: AggregateHandle::new(vec![CommandLane { sender, extra }], streams),
            lane,
            clock,
            log,
        }
    }

    /// Sends a command; it lies in the lane then.
    pub(crate) fn send<'a>(
        &self,
        id: &str,
        ask: Ask,
        options: CommandOptions,
    ) -> Sent<'a, CommandResult<Thing>> {
        let (handle, id) = (self.handle.clone(), id.to_owned());
        let mut sent: Sent<'a, _> =
            Box::pin(async move { handle.send_with(&id, ask, options).await });
        assert!(poll(&mut sent).is_pending());
        sent
    }

    /// Decides all that lies in the lane, as far as may be in flight.
    pub(crate) fn decide(&mut self) {
        while !self.lane.is_empty() {
            let before = self.lane.len();
            self.core.step();
            assert!(self.lane.len() < before, "nothing was taken");
        }
    }

    /// Has all of it stored and answered, and the partition at rest.
    pub(crate) fn finish(&mut self) {
        loop {
            self.core.step();
            let is_stored = self.writer.step();
            if !is_stored && self.lane.is_empty() {
                return;
            }
        }
    }

    pub(crate) fn one(&mut self, id: &str, ask: Ask) -> CommandResult<Thing> {
        let sent = self.send(id, ask, CommandOptions::default());
        self.finish();
        answer(sent)
    }

    /// One command to each of so many instances; all stay in flight.
    pub(crate) fn add_to(&mut self, instances: usize) -> Vec<Sent<'static, CommandResult<Thing>>> {
        let sent = (0..instances).map(|n| {
            let id = format!("small-{n}");
            self.send(&id, Ask::Add, CommandOptions::default())
        });
        sent.collect()
    }

    pub(crate) fn activations(&self) -> usize {
        self.log.activations.load(Ordering::Relaxed)
    }
}
