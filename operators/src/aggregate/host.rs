//! The instances of one aggregate type in one partition: virtual actors inside the partition's actor.
//!
//! Place: a lane of commands -> **host** -> the partition's frame. An instance is addressed by id, activated
//! at its first use, fed in the lane's order, and passivated when idle or over the memory budget. It has
//! no queue and no task of its own, so a million of them cost little more than their state.
//! Invariants: (1) an instance with a frame in flight stays resident, so what is activated is always
//! durable; (2) `decide`, `evolve`, `Default`, destructors and what reads and writes events and states run guarded: a panic is one
//! caller's error, takes back that command's events, and leaves neighbours alone; (3) checks run repeat, expected version, decide.
//! Cost: one hash lookup per command, no allocation that the aggregate does not make itself.

mod ahead;
mod items;
mod pending;
mod residence;
mod storing;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::log::{LogError, StreamRef};
use millstream_engine::mailbox::LaneReceiver;
use millstream_engine::metrics::{AggregateMetrics, AggregateTally};
use millstream_engine::partition::{
    Completion, PartitionInput, Replies, Reply, Seen, Target, Turn,
};
use millstream_engine::stage::{caught, panic_message};
use millstream_engine::state::{StateStore, StateWriterHandle};

use super::activation::Activator;
use super::command::{
    Ack, Acknowledge, BulkReply, CommandError, CommandItem, CommandOptions, CommandResult,
    Envelope, Item,
};
use super::config::AggregateConfig;
use super::instances::{Instance, Instances, Verdict, fold, weight};
use super::snapshots::SnapshotPolicy;
use super::taking::{Taken, Taker};
use super::{Aggregate, Decision};
use pending::Pending;

/// Where a host keeps and finds snapshots.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    /// Finds them.
    pub store: StateStore,
    /// Keeps them.
    pub writer: StateWriterHandle,
}

/// Commands that may wait for an instance that broke, until what else comes is left in the lane. They hold no credits of the mailbox
/// any more, so they have a bound of their own.
const WAITING_MAX: usize = 1_024;
/// Places looked at per sweep, at least; more where the last sweep was longer ago.
const SWEEP_STEPS: usize = 256;
/// Sweeps that are made up for at once: about a millisecond.
const SWEEPS_MAX: u128 = 64;
/// Places looked at per instance that came since the sweep before, so that a flood of new ones is kept up with.
const SWEEP_PER_ACTIVATION: usize = 4;
/// Time between two sweeps for idle instances.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// The input of a partition for the commands of `A`.
pub struct Host<A: Aggregate> {
    partition: PartitionId,
    config: AggregateConfig,
    lane: LaneReceiver<CommandItem<A>>,
    /// Commands in bulks that wait in the lane, beyond one per item.
    extra: Arc<AtomicUsize>,
    /// Commands that were put back; first in the next turn.
    waiting: VecDeque<Waiting<A>>,
    instances: Instances<A>,
    activator: Activator<A>,
    policy: SnapshotPolicy,
    taker: Taker<A>,
    snapshots: Option<SnapshotStore>,
    replies: Replies<Ack, CommandError<A::Rejection>>,
    bulk_replies: Replies<Vec<CommandResult<A>>, CommandError<A::Rejection>>,
    /// Snapshots taken this turn, stored once its frame is durable.
    taken: Vec<Taken>,
    events: Vec<A::Event>,
    drained: Vec<CommandItem<A>>,
    tally: AggregateTally,
    metrics: AggregateMetrics,
    settled: u64,
    swept_at: Duration,
    /// Instances that came since the last sweep.
    activated: usize,
    /// Whether it was said that what is in flight alone is more than the budget.
    is_excess_said: bool,
}

impl<A: Aggregate> std::fmt::Debug for Host<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("category", &A::CATEGORY)
            .field("partition", &self.partition)
            .field("resident", &self.instances.len())
            .finish_non_exhaustive()
    }
}

/// What was put back because an instance must first be durable, or because the frame was full.
enum Waiting<A: Aggregate> {
    One(Pending<A>, Reply<Ack, CommandError<A::Rejection>>),
    /// A bulk of which some commands wait, each with its place among the answers.
    Bulk {
        answers: Vec<Option<CommandResult<A>>>,
        rest: Vec<(usize, Pending<A>)>,
        accepted: bool,
        reply: BulkReply<A>,
    },
}

/// How a command ended, or why it did not yet.
enum Outcome<A: Aggregate> {
    Done(CommandResult<A>),
    /// Its instance must be activated anew and is still in flight, or its events want a frame of their own.
    Wait(Pending<A>),
}

impl<A: Aggregate> Host<A> {
    /// A host behind `lane`; `extra` counts with the handles that send bulks.
    pub fn new(
        partition: PartitionId,
        config: AggregateConfig,
        lane: LaneReceiver<CommandItem<A>>,
        extra: Arc<AtomicUsize>,
        snapshots: Option<SnapshotStore>,
    ) -> Self {
        let store = snapshots.as_ref().map(|snapshots| snapshots.store.clone());
        Self {
            policy: SnapshotPolicy::new(Duration::from_micros(config.reload_target_us)),
            partition,
            config,
            lane,
            extra,
            waiting: VecDeque::new(),
            instances: Instances::new(),
            activator: Activator::new(store),
            taker: Taker::new(),
            snapshots,
            replies: Replies::default(),
            bulk_replies: Replies::default(),
            taken: Vec::new(),
            events: Vec::new(),
            drained: Vec::new(),
            tally: AggregateTally::default(),
            metrics: AggregateMetrics::new(A::CATEGORY, partition),
            settled: 0,
            swept_at: Duration::ZERO,
            activated: 0,
            is_excess_said: false,
        }
    }

    /// Decides a command; `seen` is where its instance was a moment ago, if that is known.
    fn decide(
        &mut self,
        envelope: Envelope<A>,
        seen: Option<u32>,
        turn: &mut Turn<'_>,
    ) -> Outcome<A> {
        self.tally.commands += 1;
        turn.deciding(&envelope.id);
        let named = envelope.options.id;
        if let Some(before) = named.and_then(|id| turn.seen(envelope.hash, id)) {
            self.tally.repeats += 1;
            let_go(envelope);
            return Outcome::Done(Ok(self.repeated(before)));
        }
        let slot = match self.resident(&envelope.id, envelope.hash, seen, turn) {
            Ok(Some(slot)) => slot,
            Ok(None) => return self.wait(Pending::Asked(envelope)),
            Err(error) => {
                let_go(envelope);
                return Outcome::Done(Err(error));
            }
        };
        let events = self.instances.get_mut(slot).events;
        if let Err(conflict) = envelope.options.expected.check(events) {
            self.tally.conflicts += 1;
            let_go(envelope);
            return Outcome::Done(Err(conflict.into()));
        }
        self.decide_on(slot, envelope, turn)
    }

    fn wait(&mut self, pending: Pending<A>) -> Outcome<A> {
        self.tally.commands -= 1; // Counted once, when it is done.
        Outcome::Wait(pending)
    }

    fn repeated(&self, seen: Seen) -> Ack {
        Ack {
            events: seen.events,
            version: Some(seen.version),
            position: Some(Position {
                partition: self.partition,
                offset: Offset(seen.first.0 + u64::from(seen.events) - 1),
            }),
            is_repeat: true,
        }
    }

    /// The instance of a command, activated if need be; `None` while it is broken and in flight.
    fn resident(
        &mut self,
        id: &CompactString,
        hash: u64,
        seen: Option<u32>,
        turn: &Turn<'_>,
    ) -> Result<Option<u32>, CommandError<A::Rejection>> {
        let found = self.instances.find_again(seen, hash, id);
        if let Some(slot) = found {
            let instance = self.instances.get_mut(slot);
            if !instance.broken {
                return Ok(Some(slot));
            }
            if instance.frame > turn.settled {
                return Ok(None);
            }
            self.instances.remove(slot);
        }
        let start = turn.clock.monotonic();
        let stream = StreamRef {
            partition: self.partition,
            category: A::CATEGORY,
            id,
            hash,
        };
        let found = match caught(|| self.activator.activate(stream, turn.streams)) {
            Ok(found) => found?,
            Err(panic) => return Err(self.panicked(&*panic)),
        };
        self.activated += 1;
        if found.events > 0 {
            let elapsed = turn.clock.monotonic().saturating_sub(start);
            self.policy.observe_reload(found.replayed, elapsed);
            self.metrics.observe_activation(elapsed);
        }
        let unsaved = u16::try_from(found.replayed).unwrap_or(u16::MAX);
        Ok(Some(self.instances.insert(Instance {
            id: id.clone(),
            fold: fold(hash),
            state: found.state,
            events: found.events,
            frame: 0,
            used: seconds(turn.monotonic),
            unsaved,
            heap_bytes: u32::try_from(found.bytes).unwrap_or(u32::MAX),
            broken: false,
        })))
    }

    fn decide_on(&mut self, slot: u32, envelope: Envelope<A>, turn: &mut Turn<'_>) -> Outcome<A> {
        let Envelope {
            command,
            options,
            hash,
            ..
        } = envelope;
        let instance = self.instances.get_mut(slot);
        instance.used = seconds(turn.monotonic);
        let (state, out) = (&instance.state, &mut self.events);
        let decided = caught(|| {
            out.clear(); // Of the command before: destructors of events.
            state.decide(command, &mut Decision::at(out, turn.now))
        });
        match decided {
            Ok(Ok(())) => {}
            Ok(Err(rejection)) => {
                self.tally.rejections += 1;
                return Outcome::Done(Err(CommandError::Rejected(rejection)));
            }
            Err(panic) => return Outcome::Done(Err(self.panicked(&*panic))),
        }
        self.store(slot, hash, options, turn)
    }

    fn panicked(&mut self, panic: &(dyn Any + Send)) -> CommandError<A::Rejection> {
        self.tally.panics += 1;
        let message = panic_message(panic).to_owned();
        tracing::error!(category = A::CATEGORY, message, "an aggregate panicked");
        CommandError::Panicked { message }
    }
}

/// Drops what is the program's own. Whom a panic in there would concern is gone.
fn let_go<T>(value: T) {
    if let Err(panic) = caught(|| drop(value)) {
        let message = panic_message(&*panic);
        tracing::error!(message, "a destructor panicked");
    }
}

fn seconds(monotonic: Duration) -> u32 {
    u32::try_from(monotonic.as_secs()).unwrap_or(u32::MAX)
}
