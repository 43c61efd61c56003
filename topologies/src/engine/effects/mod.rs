//! Side effects of projections: their outboxes, and the stages that deliver what is in them.
//!
//! Place: [`versions`](super::versions) opens the outboxes of a projection once it is known which version answers -> a stage
//! per outbox and partition -> the functions that the topology was given. A switch moves the place from which on a version
//! sends, see `switching.rs`.
//! Order at a shutdown: projections first, which store what they send, then deliveries, which wait for the calls that are
//! under way; then the state's writer. What is not delivered by then is by the next engine.

mod switching;

use std::any::TypeId;
use std::sync::Arc;

use millstream_engine::event::PartitionId;
use millstream_engine::mailbox::Mailbox;
use millstream_engine::stage::{NoCore, StageCore, StageHandle, StageSpec, spawn_stage};
use millstream_engine::state::{ProjectionId, StateStore};
use millstream_operators::projection::{
    DeclaredOutbox, Delivering, DeliveryCore, DeliveryParts, GivenUpEffects, OpenOutlets,
    OpenProjectionError, Outbox, Outlets, QueryError, Row, tell_undeclared as tell_undeclared_of,
};

pub(super) use switching::Handover;

use super::projections::{AnyProjection, Prepared, Surroundings, lane_limits};
use super::versions::Versions;
use super::{Engine, OpenError};

/// Opens the outboxes of a projection, if a version of it has some. Blocks on the state's writer.
pub(super) fn open(
    name: &'static str,
    declared: &[&dyn AnyProjection],
    active: ProjectionId,
    around: &Surroundings,
) -> Result<Option<Arc<Outlets>>, OpenProjectionError> {
    let mut outboxes: Vec<DeclaredOutbox> = Vec::new();
    for outbox in declared.iter().flat_map(|one| one.outboxes()) {
        if outboxes.iter().all(|known| known.name != outbox.name) {
            outboxes.push(outbox);
        }
    }
    if outboxes.is_empty() {
        return Ok(None);
    }
    let all = around.store.projections()?;
    let registered = all.iter().filter(|known| known.name == name);
    let registered: Vec<_> = registered.map(|known| known.id).collect();
    let partitions = (0..around.feed.partitions()).map(PartitionId);
    let heads: Vec<_> = partitions.map(|one| around.feed.durable(one)).collect();
    let outlets = Outlets::open(&OpenOutlets {
        projection: name,
        outboxes: &outboxes,
        active,
        registered: &registered,
        heads: &heads,
        store_id: around.store_id,
        log: &*around.streams,
        now: around.clock.now(),
        store: &around.store,
        writer: &around.writer,
    })?;
    Ok(Some(outlets))
}

/// Says which effects wait in outboxes that no version declares which runs.
pub(super) fn tell_undeclared(prepared: &[Vec<Prepared>], store: &StateStore) {
    let opened = || {
        prepared
            .iter()
            .flatten()
            .filter_map(|one| one.outlets.as_ref())
    };
    let told = tell_undeclared_of(store, |projection, outbox| {
        let mut own = opened().filter(|outlets| outlets.projection() == projection);
        own.any(|outlets| outlets.depth(outbox).is_some())
    });
    if let Err(cause) = told {
        tracing::warn!(%cause, "it cannot be looked at whether effects wait in outboxes that are not declared");
    }
}

/// Starts what delivers.
pub(super) async fn start(
    deliveries: &[Delivering],
    versions: &[Arc<Versions>],
    around: &Surroundings,
    stages: &mut Vec<StageHandle>,
) -> Result<(), OpenError> {
    for outlets in versions.iter().filter_map(|one| one.outlets.as_ref()) {
        for delivering in deliveries {
            if outlets.depth(delivering.outbox).is_none() {
                continue; // Another projection's.
            }
            for partition in (0..around.feed.partitions()).map(PartitionId) {
                let spec = stage(outlets, delivering, partition, around);
                stages.push(spawn_stage(spec).await?);
            }
        }
    }
    Ok(())
}

fn stage(
    outlets: &Arc<Outlets>,
    delivering: &Delivering,
    partition: PartitionId,
    around: &Surroundings,
) -> StageSpec {
    let mailbox = Mailbox::new(lane_limits(), Arc::clone(&around.clock));
    let name = format!("{}!{}/{partition}", outlets.projection(), delivering.outbox);
    let factory = {
        let (outlets, delivering) = (Arc::clone(outlets), delivering.clone());
        let (mailbox, clock) = (Arc::clone(&mailbox), Arc::clone(&around.clock));
        move || {
            let core = DeliveryCore::open(DeliveryParts {
                outlets: Arc::clone(&outlets),
                delivering: delivering.clone(),
                partition,
                mailbox: Arc::clone(&mailbox),
                clock: Arc::clone(&clock),
            });
            match core {
                Some(core) => Ok(Box::new(core) as Box<dyn StageCore>),
                None => Err(NoCore::Failed(
                    "the projection has no such outbox".to_owned(),
                )),
            }
        }
    };
    StageSpec {
        name,
        mailbox,
        clock: Arc::clone(&around.clock),
        factory: Box::new(factory),
        policy: around.restart,
        // Effects stay where they are until the next start; metrics tell how long they have waited.
        on_give_up: Box::new(|_, _| {}),
    }
}

impl Engine {
    /// An outbox of a projection: how many effects wait in it, and those that were given up, to be sent again or thrown away.
    ///
    /// # Errors
    /// [`QueryError::UnknownTable`]: no projection of the topology has it, with such effects.
    pub fn outbox<E: Row>(&self, outbox: &Outbox<E>) -> Result<GivenUpEffects<E>, QueryError> {
        let all = self.inner.versions.iter();
        let mut all = all.filter_map(|versions| versions.outlets.as_ref());
        let found = all.find(|outlets| outlets.has(outbox.name(), TypeId::of::<E>()));
        let outlets = found.ok_or(QueryError::UnknownTable {
            table: outbox.name(),
        })?;
        Ok(GivenUpEffects::of(outlets, outbox.name()))
    }
}
