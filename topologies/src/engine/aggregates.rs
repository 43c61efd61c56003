//! Aggregate types without their types: what a topology holds of them, and what an engine starts.

use std::any::{Any, TypeId};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use millstream_engine::event::PartitionId;
use millstream_engine::log::StreamReader;
use millstream_engine::mailbox::{LaneReceiver, Mailbox};
use millstream_engine::partition::PartitionInput;
use millstream_operators::aggregate::{
    Aggregate, AggregateConfig, AggregateHandle, CommandItem, CommandLane, Host, SnapshotStore,
};

/// An aggregate type in a topology.
pub(crate) trait AnyAggregate: Send + Sync {
    fn category(&self) -> &'static str;
    fn version(&self) -> u32;
    /// Type of its events.
    fn events(&self) -> TypeId;
    /// Makes its lanes into the partitions.
    fn lanes(&self, mailboxes: &[Arc<Mailbox>]) -> Arc<dyn AnyLanes>;
}

/// The lanes of an aggregate type, one per partition.
pub(crate) trait AnyLanes: Send + Sync {
    /// The receiving end of one partition's lane. Whoever holds the last one of a lane answers for it: when it
    /// is gone, so is the lane, and those who wait in it are told.
    fn lane(&self, partition: PartitionId) -> Arc<dyn AnyLane>;

    /// The aggregate's type and its [`AggregateHandle`].
    fn handle(&self, streams: Arc<dyn StreamReader>) -> (TypeId, Arc<dyn Any + Send + Sync>);
}

/// The receiving end of one partition's lane.
pub(crate) trait AnyLane: Send + Sync {
    /// The partition's host: made anew whenever its partition is.
    fn input(&self, snapshots: Option<SnapshotStore>) -> Box<dyn PartitionInput>;
}

/// Registration of `A`.
pub(crate) struct Registered<A> {
    config: AggregateConfig,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate> Registered<A> {
    pub(crate) fn new(config: AggregateConfig) -> Self {
        Self {
            config,
            aggregate: PhantomData,
        }
    }
}

struct Lanes<A: Aggregate> {
    partitions: Vec<Arc<Lane<A>>>,
}

struct Lane<A: Aggregate> {
    partition: PartitionId,
    config: AggregateConfig,
    sender: millstream_engine::mailbox::LaneSender<CommandItem<A>>,
    receiver: LaneReceiver<CommandItem<A>>,
    extra: Arc<AtomicUsize>,
}

impl<A: Aggregate> AnyAggregate for Registered<A> {
    fn category(&self) -> &'static str {
        A::CATEGORY
    }

    fn version(&self) -> u32 {
        A::VERSION
    }

    fn events(&self) -> TypeId {
        TypeId::of::<A::Event>()
    }

    fn lanes(&self, mailboxes: &[Arc<Mailbox>]) -> Arc<dyn AnyLanes> {
        let partitions = (0..).map(PartitionId).zip(mailboxes);
        let partitions = partitions.map(|(partition, mailbox)| {
            let (sender, receiver) = mailbox.lane::<CommandItem<A>>();
            Arc::new(Lane {
                partition,
                config: self.config.clone(),
                sender,
                receiver,
                extra: Arc::new(AtomicUsize::new(0)),
            })
        });
        Arc::new(Lanes {
            partitions: partitions.collect(),
        })
    }
}

impl<A: Aggregate> AnyLane for Lane<A> {
    fn input(&self, snapshots: Option<SnapshotStore>) -> Box<dyn PartitionInput> {
        Box::new(Host::<A>::new(
            self.partition,
            self.config.clone(),
            self.receiver.clone(),
            Arc::clone(&self.extra),
            snapshots,
        ))
    }
}

impl<A: Aggregate> AnyLanes for Lanes<A> {
    fn lane(&self, partition: PartitionId) -> Arc<dyn AnyLane> {
        let lane: Arc<Lane<A>> = Arc::clone(&self.partitions[usize::from(partition.0)]);
        lane
    }

    fn handle(&self, streams: Arc<dyn StreamReader>) -> (TypeId, Arc<dyn Any + Send + Sync>) {
        let lanes = self
            .partitions
            .iter()
            .map(|lane| CommandLane {
                sender: lane.sender.clone(),
                extra: Arc::clone(&lane.extra),
            })
            .collect();
        let handle = AggregateHandle::<A>::new(lanes, streams);
        (TypeId::of::<A>(), Arc::new(handle))
    }
}
