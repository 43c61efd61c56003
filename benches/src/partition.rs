//! One partition without an engine around it: its core is stepped by hand, and its log keeps nothing.
//!
//! So the cost of a turn can be told from everything else: no disk, no scheduler. Answers still come from
//! the log writer's thread, as they do in an engine.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::{Context, Result, ensure};
use compact_str::{CompactString, ToCompactString};
use millstream::catalog::bank::{Account, AccountCommand, Cents, Channel};
use millstream_engine::batch::BatchLimits;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::index::IndexEntry;
use millstream_engine::log::frame::{Frame, SealedFrame};
use millstream_engine::log::{
    Direction, Feed, GroupWriter, Head, LogError, LogReader, LogStore, LogWriter, StreamReader,
};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::partition::{
    PartitionConfig, PartitionCore, PartitionInput, PartitionParts, PartitionShared, random_ids,
};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::time::{Clock, SystemClock};
use millstream_operators::aggregate::{
    AggregateConfig, AggregateHandle, CommandItem, CommandLane, CommandResult, Host,
};

/// Places of the log writer's channel.
const SUBMISSIONS: usize = 64;

/// A store that keeps nothing and is never slow.
#[derive(Debug)]
struct NoStore;

impl LogStore for NoStore {
    fn append(&mut self, _group: &[SealedFrame]) -> Result<(), LogError> {
        Ok(())
    }
}

/// A log in which nothing ever is.
#[derive(Debug)]
struct NoLog;

impl LogReader for NoLog {
    fn partitions(&self) -> u16 {
        1
    }

    fn head(&self, _partition: PartitionId) -> Result<Head, LogError> {
        Ok(Head::default())
    }

    fn read(
        &self,
        _partition: PartitionId,
        _from: Offset,
        _bytes_max: usize,
    ) -> Result<Vec<Frame>, LogError> {
        Ok(Vec::new())
    }
}

impl StreamReader for NoLog {
    fn locate(
        &self,
        _partition: PartitionId,
        _hash: u64,
        _from_version: u64,
        _limit: usize,
        _direction: Direction,
    ) -> Result<Vec<IndexEntry>, LogError> {
        Ok(Vec::new())
    }
}

/// A partition of accounts.
#[derive(Debug)]
pub struct SoloPartition {
    core: PartitionCore,
    handle: AggregateHandle<Account>,
    ids: Vec<CompactString>,
    runtime: tokio::runtime::Runtime,
    mailbox: Arc<Mailbox>,
    clock: SystemClock,
    sent: u64,
}

impl SoloPartition {
    /// A partition with so many accounts, all open. A turn takes what is queued.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(accounts: usize) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let streams: Arc<dyn StreamReader> = Arc::new(NoLog);
        let feed = Arc::new(Feed::new(&NoLog)?);
        let stamps = Arc::clone(feed.stamps());
        let group = GroupWriter::new(NoStore, feed, Arc::clone(&clock));
        let (writer, _thread) = LogWriter::start(group, SUBMISSIONS);
        let config = PartitionConfig {
            batch: BatchLimits {
                items_min: BatchLimits::default().items_max,
                work_us_max: u64::from(u32::MAX),
                latency_us_target: u64::from(u32::MAX),
                ..BatchLimits::default()
            },
            // A frame is called settled a moment after its answers are given: the next turn must not be
            // held up by that.
            frames_in_flight_max: 64,
            ..PartitionConfig::default()
        };
        let mailbox = Mailbox::new(config.mailbox, Arc::clone(&clock));
        let (sender, receiver) = mailbox.lane::<CommandItem<Account>>();
        let extra = Arc::new(AtomicUsize::new(0));
        let lane = CommandLane {
            sender,
            extra: Arc::clone(&extra),
        };
        let limits = AggregateConfig::default();
        let host = Host::<Account>::new(PartitionId(0), limits, receiver, extra, None);
        let inputs: Vec<Box<dyn PartitionInput>> = vec![Box::new(host)];
        let core = PartitionCore::open(PartitionParts {
            partition: PartitionId(0),
            config,
            mailbox: Arc::clone(&mailbox),
            inputs,
            writer,
            streams: Arc::clone(&streams),
            clock,
            ids: random_ids,
            stamps,
            shared: Arc::new(PartitionShared::default()),
        })?;
        let mut made = Self {
            core,
            handle: AggregateHandle::new(vec![lane], streams),
            ids: (0..accounts).map(|id| id.to_compact_string()).collect(),
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
            mailbox,
            clock: SystemClock::new(),
            sent: 0,
        };
        let open = |_| AccountCommand::Open {
            overdraft_limit: Cents::ZERO,
        };
        let chunk = 1_024;
        for from in (0..accounts).step_by(chunk) {
            made.turn(chunk.min(accounts - from), open)?;
        }
        made.sent = 0;
        Ok(made)
    }

    /// Queues so many deposits, each to another account, then decides them in one turn; gives what the
    /// turn alone took, in seconds. All must be accepted.
    ///
    /// # Errors
    /// When a command is not accepted.
    pub fn deposits(&mut self, count: usize) -> Result<f64> {
        self.turn(count, |reference| AccountCommand::Deposit {
            amount: Cents::new(1),
            channel: Channel::Cash,
            reference,
        })
    }

    fn turn(&mut self, count: usize, command: impl Fn(u64) -> AccountCommand) -> Result<f64> {
        let tasks: Vec<_> = (0..count)
            .map(|_| {
                // A large odd step: neighbours in time are no neighbours in memory.
                let at = (self.sent as usize).wrapping_mul(7_919) % self.ids.len();
                let (handle, id) = (self.handle.clone(), self.ids[at].clone());
                let command = command(self.sent);
                self.sent += 1;
                self.runtime
                    .spawn(async move { handle.send(&id, command).await })
            })
            .collect();
        let queued = Arc::clone(&self.mailbox);
        self.runtime.block_on(async move {
            while queued.statistics().items < count {
                tokio::task::yield_now().await;
            }
        });
        let start = self.clock.monotonic();
        let step = self.core.step();
        let took = (self.clock.monotonic() - start).as_secs_f64();
        ensure!(
            matches!(step, Step::Idle | Step::IdleUntil(_)),
            "a turn left something: {step:?}"
        );
        let answers: Vec<CommandResult<Account>> = self.runtime.block_on(async {
            let mut answers = Vec::with_capacity(count);
            for task in tasks {
                answers.push(task.await.context("a sender panicked")?);
            }
            anyhow::Ok(answers)
        })?;
        for answer in answers {
            answer?;
        }
        Ok(took)
    }
}
