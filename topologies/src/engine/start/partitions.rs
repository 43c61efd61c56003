//! Starting the partitions of the log.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use millstream_engine::event::PartitionId;
use millstream_engine::log::{LogReader, StreamReader};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::partition::{
    AppendRequest, Appender, Appends, OpenPartitionError, PartitionCore, PartitionInput,
    PartitionParts, PartitionShared, random_ids,
};
use millstream_engine::stage::{NoCore, StageCore, StageHandle, StageSpec, spawn_stage};
use millstream_engine::time::Clock;
use millstream_operators::aggregate::SnapshotStore;

use super::Opened;
use crate::Topology;
use crate::engine::{EngineConfig, OpenError};

/// The partitions, and the ways into them.
pub(super) struct WriteSide {
    pub(super) shared: Vec<Arc<PartitionShared>>,
    pub(super) appender: Appender,
    pub(super) handles: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

/// Starts them; they are added to `stages`.
pub(super) async fn start_partitions(
    topology: &Topology,
    config: &EngineConfig,
    clock: &Arc<dyn Clock>,
    opened: &Opened,
    streams: &Arc<dyn StreamReader>,
    stages: &mut Vec<StageHandle>,
) -> Result<WriteSide, OpenError> {
    let partitions = opened.reader.partitions();
    let mailboxes: Vec<_> = (0..partitions)
        .map(|_| Mailbox::new(config.partition.mailbox, Arc::clone(clock)))
        .collect();
    let aggregates = &topology.aggregates;
    let lanes: Vec<_> = aggregates
        .iter()
        .map(|aggregate| aggregate.lanes(&mailboxes))
        .collect();
    let owned: Arc<[String]> = aggregates
        .iter()
        .map(|aggregate| aggregate.category().to_owned())
        .collect();
    let (mut shared, mut append_lanes) = (Vec::new(), Vec::new());
    for (partition, mailbox) in (0..partitions).map(PartitionId).zip(&mailboxes) {
        let (sender, receiver) = mailbox.lane::<AppendRequest>();
        append_lanes.push(sender);
        let own_lanes: Vec<_> = lanes.iter().map(|lanes| lanes.lane(partition)).collect();
        let owned = Arc::clone(&owned);
        let inputs = move |snapshots: SnapshotStore| {
            let appends = Appends::new(receiver.clone(), Arc::clone(&owned));
            let mut inputs: Vec<Box<dyn PartitionInput>> = vec![Box::new(appends)];
            for lane in &own_lanes {
                inputs.push(lane.input(Some(snapshots.clone())));
            }
            inputs
        };
        let own = Arc::new(PartitionShared::default());
        shared.push(Arc::clone(&own));
        let site = PartitionSite {
            partition,
            mailbox: Arc::clone(mailbox),
            shared: own,
        };
        let spec = partition_stage(site, config, clock, opened, streams, inputs);
        stages.push(spawn_stage(spec).await?);
    }
    let handles = lanes.iter().map(|lanes| lanes.handle(Arc::clone(streams)));
    Ok(WriteSide {
        shared,
        appender: Appender::new(append_lanes),
        handles: handles.collect(),
    })
}

/// What belongs to one partition alone.
struct PartitionSite {
    partition: PartitionId,
    mailbox: Arc<Mailbox>,
    shared: Arc<PartitionShared>,
}

fn partition_stage(
    site: PartitionSite,
    config: &EngineConfig,
    clock: &Arc<dyn Clock>,
    opened: &Opened,
    streams: &Arc<dyn StreamReader>,
    inputs: impl Fn(SnapshotStore) -> Vec<Box<dyn PartitionInput>> + Send + 'static,
) -> StageSpec {
    let PartitionSite {
        partition,
        mailbox,
        shared,
    } = site;
    let snapshots = SnapshotStore {
        store: opened.store.clone(),
        writer: opened.state.clone(),
    };
    let (writer, streams) = (opened.writer.clone(), Arc::clone(streams));
    let stamps = Arc::clone(opened.feed.stamps());
    let (core_mailbox, core_clock) = (Arc::clone(&mailbox), Arc::clone(clock));
    let partition_config = config.partition.clone();
    let factory = move || {
        let core = PartitionCore::open(PartitionParts {
            partition,
            config: partition_config.clone(),
            mailbox: Arc::clone(&core_mailbox),
            inputs: inputs(snapshots.clone()),
            writer: writer.clone(),
            streams: Arc::clone(&streams),
            clock: Arc::clone(&core_clock),
            ids: random_ids,
            stamps: Arc::clone(&stamps),
            shared: Arc::clone(&shared),
        });
        match core {
            Ok(core) => Ok(Box::new(core) as Box<dyn StageCore>),
            Err(error @ OpenPartitionError::InFlight { .. }) => {
                Err(NoCore::NotYet(error.to_string()))
            }
            Err(error) => Err(NoCore::Failed(error.to_string())),
        }
    };
    StageSpec {
        name: format!("partition/{partition}"),
        mailbox,
        clock: Arc::clone(clock),
        factory: Box::new(factory),
        policy: config.restart,
        // Its mailbox is closed then, which is what callers see.
        on_give_up: Box::new(|_, _| {}),
    }
}
