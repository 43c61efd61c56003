//! Danger: instances of one aggregate type cost others their memory, their answers or their partition. A partition is stepped by hand,
//! and so is its log's writer, which keeps nothing.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

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
    Acknowledge, Aggregate, AggregateConfig, AggregateHandle, BulkCommand, CommandError,
    CommandItem, CommandLane, CommandOptions, CommandResult, ConflictRetry, Decision, Host,
};
use serde::{Deserialize, Serialize};

thread_local! {
    /// Whether an empty state cannot be made on this thread, which is a test's own.
    static DEFAULT_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// Panics where it is dropped, if it is live.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Bomb {
    is_live: bool,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.is_live || std::thread::panicking(), "a bomb");
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Thing {
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
enum Ask {
    Add,
    AddLarge(usize),
    Refuse,
    Break,
    Arm,
    /// Drops an event that panics then.
    Throw,
}

#[derive(Serialize, Deserialize)]
enum Done {
    Added(String),
    Broken,
    Armed,
    Thrown(Bomb),
}

impl Event for Done {}

#[derive(Clone, Debug, thiserror::Error)]
#[error("refused")]
struct Refused;

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

struct NoStore;

impl LogStore for NoStore {
    fn append(&mut self, _: &[SealedFrame]) -> Result<(), LogError> {
        Ok(())
    }
}

/// A log in which nothing ever is; counts how often a stream is looked for, which is once per activation.
#[derive(Clone, Debug, Default)]
struct NoLog {
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

struct Partition {
    core: PartitionCore,
    writer: SteppedLogWriter<NoStore>,
    handle: AggregateHandle<Thing>,
    lane: LaneReceiver<CommandItem<Thing>>,
    clock: Arc<ManualClock>,
    log: NoLog,
}

type Sent<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

fn poll<T>(sent: &mut Sent<'_, T>) -> Poll<T> {
    sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn answer<T>(mut sent: Sent<'_, T>) -> T {
    match poll(&mut sent) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("nothing was answered"),
    }
}

fn accepted(expected: Expected) -> CommandOptions {
    CommandOptions {
        expected,
        acknowledge: Acknowledge::Accepted,
        ..CommandOptions::default()
    }
}

impl Partition {
    fn new(config: AggregateConfig) -> Self {
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
    fn send<'a>(
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
    fn decide(&mut self) {
        while !self.lane.is_empty() {
            let before = self.lane.len();
            self.core.step();
            assert!(self.lane.len() < before, "nothing was taken");
        }
    }

    /// Has all of it stored and answered, and the partition at rest.
    fn finish(&mut self) {
        loop {
            self.core.step();
            let is_stored = self.writer.step();
            if !is_stored && self.lane.is_empty() {
                return;
            }
        }
    }

    fn one(&mut self, id: &str, ask: Ask) -> CommandResult<Thing> {
        let sent = self.send(id, ask, CommandOptions::default());
        self.finish();
        answer(sent)
    }

    /// One command to each of so many instances; all stay in flight.
    fn add_to(&mut self, instances: usize) -> Vec<Sent<'static, CommandResult<Thing>>> {
        let sent = (0..instances).map(|n| {
            let id = format!("small-{n}");
            self.send(&id, Ask::Add, CommandOptions::default())
        });
        sent.collect()
    }

    fn activations(&self) -> usize {
        self.log.activations.load(Ordering::Relaxed)
    }
}

/// Story: an instance above the budget had all its neighbours passivated in each turn that wrote it, and the budget was passed all the
/// same. What they take while it is in flight is asked for by how often they are activated.
#[test]
fn an_instance_above_the_budget_drives_nobody_out() {
    const BUDGET: u64 = 64 << 10;
    let mut partition = Partition::new(AggregateConfig {
        resident_bytes_max: BUDGET,
        ..AggregateConfig::default()
    });
    let small = partition.add_to(100);
    partition.finish();
    assert!(small.into_iter().all(|sent| answer(sent).is_ok()));
    assert_eq!(partition.activations(), 100);

    let large = Ask::AddLarge(2 * BUDGET as usize);
    let large = partition.send("large", large, CommandOptions::default());
    partition.decide();
    let small = partition.add_to(100);
    partition.decide();
    assert_eq!(partition.activations(), 101);
    partition.finish();
    assert!(small.into_iter().all(|sent| answer(sent).is_ok()));
    answer(large).unwrap();
}

/// The budget is kept where that can be.
#[test]
fn what_is_above_the_budget_goes_once_it_is_durable() {
    let mut partition = Partition::new(AggregateConfig {
        resident_bytes_max: 64 << 10,
        ..AggregateConfig::default()
    });
    partition.one("large", Ask::AddLarge(128 << 10)).unwrap();
    assert_eq!(partition.activations(), 1);
    partition.one("large", Ask::Add).unwrap();
    assert_eq!(partition.activations(), 2);
}

/// Story: once traffic had stopped, 256 instances were looked at per second, so a million stayed for an hour. Method: all are idle, and
/// the partition at rest is stepped once, a second later.
#[test]
fn idle_instances_go_soon_also_at_rest() {
    const INSTANCES: usize = 2_000;
    let config = AggregateConfig::default();
    let idle = Duration::from_secs(u64::from(config.idle_seconds_max));
    let mut partition = Partition::new(config);
    let _sent = partition.add_to(INSTANCES);
    partition.finish();
    // What came anew is counted by a sweep of its own.
    partition.clock.advance(Duration::from_millis(50));
    partition.core.step();
    partition.clock.advance(idle);
    partition.core.step();
    let _sent = partition.add_to(INSTANCES);
    partition.finish();
    assert_eq!(partition.activations(), 2 * INSTANCES);
}

/// Story: what was refused was told at once where a command asked to be answered once decided, while the events that it was refused for
/// were still in flight: whoever looked for them found nothing.
#[test]
fn what_is_refused_is_told_once_what_it_rests_on_is_durable() {
    let mut partition = Partition::new(AggregateConfig::default());
    let added = partition.send("a", Ask::Add, accepted(Expected::Any));
    let conflict = partition.send("a", Ask::Add, accepted(Expected::NoStream));
    let refused = partition.send("a", Ask::Refuse, accepted(Expected::Any));
    let bulk = ["b", "a"].map(|id| BulkCommand {
        id: id.into(),
        command: Ask::Add,
        options: accepted(Expected::NoStream),
    });
    let handle = partition.handle.clone();
    let mut bulk: Sent<'_, _> = Box::pin(async move { handle.send_bulk(bulk.into()).await });
    assert!(poll(&mut bulk).is_pending());
    partition.decide();
    answer(added).unwrap();
    let mut refusals = [conflict, refused];
    for sent in &mut refusals {
        assert!(poll(sent).is_pending());
    }
    assert!(poll(&mut bulk).is_pending());
    partition.finish();
    let [conflict, refused] = refusals.map(answer);
    assert!(
        matches!(conflict, Err(CommandError::Conflict(_))),
        "{conflict:?}"
    );
    assert!(
        matches!(refused, Err(CommandError::Rejected(_))),
        "{refused:?}"
    );
    let bulk = answer(bulk);
    assert!(bulk[0].is_ok());
    assert!(
        matches!(bulk[1], Err(CommandError::Conflict(_))),
        "{bulk:?}"
    );
}

/// Story: a command to a stream that had to exist was sent again as one that begins it.
#[tokio::test(start_paused = true)]
async fn a_stream_that_must_exist_is_not_begun_by_a_retry() {
    let mut partition = Partition::new(AggregateConfig::default());
    let handle = partition.handle.clone();
    let mut sent: Sent<'_, _> = Box::pin(async move {
        let options = accepted(Expected::Exists);
        let retry = ConflictRetry::default();
        handle.send_retrying("a", Ask::Add, options, retry).await
    });
    assert!(poll(&mut sent).is_pending());
    partition.finish();
    let refused = answer(sent);
    assert!(
        matches!(refused, Err(CommandError::Conflict(_))),
        "{refused:?}"
    );
}

/// Story: commands for an instance that had broken were taken from the mailbox, whatever came, and held until its frame was durable.
#[test]
fn commands_for_a_broken_instance_wait_in_the_mailbox() {
    const COMMANDS: usize = 3_000;
    let mut partition = Partition::new(AggregateConfig::default());
    let added = partition.send("a", Ask::Add, CommandOptions::default());
    partition.decide();
    let broken = partition.send("a", Ask::Break, CommandOptions::default());
    partition.decide();
    let behind: Vec<_> = (0..COMMANDS)
        .map(|_| partition.send("a", Ask::Add, CommandOptions::default()))
        .collect();
    for _ in 0..20 {
        partition.core.step();
    }
    // One turn may pass the bound.
    assert!(
        partition.lane.len() > COMMANDS / 2,
        "{}",
        partition.lane.len()
    );
    partition.finish();
    answer(added).unwrap();
    assert!(matches!(answer(broken), Err(CommandError::Panicked { .. })));
    for (n, sent) in (0..).zip(behind) {
        // Of the empty log.
        assert_eq!(answer(sent).unwrap().version, Some(n));
    }
}

/// Story: what makes an empty state, and destructors, ran unguarded: one type could end the partition for all.
#[test]
fn states_that_cannot_be_made_or_dropped_end_nobody() {
    let mut partition = Partition::new(AggregateConfig::default());
    DEFAULT_PANICS.set(true);
    let made = partition.one("a", Ask::Add);
    assert!(
        matches!(made, Err(CommandError::Panicked { .. })),
        "{made:?}"
    );
    DEFAULT_PANICS.set(false);
    partition.one("a", Ask::Add).unwrap();

    // Dropped when it is passivated, and its place is used again.
    partition.one("a", Ask::Arm).unwrap();
    for default_panics in [true, false] {
        DEFAULT_PANICS.set(default_panics);
        partition.clock.advance(Duration::from_secs(3_600));
        partition.core.step();
        DEFAULT_PANICS.set(false);
        let before = partition.activations();
        partition.one("a", Ask::Arm).unwrap();
        assert_eq!(partition.activations(), before + 1);
    }

    partition.clock.advance(Duration::from_secs(3_600));
    partition.core.step();

    // An event is dropped with the next command, which is told of it.
    partition.one("b", Ask::Throw).unwrap();
    let next = partition.one("b", Ask::Add);
    assert!(
        matches!(next, Err(CommandError::Panicked { .. })),
        "{next:?}"
    );
    partition.one("b", Ask::Add).unwrap();
}
