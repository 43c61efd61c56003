//! What the versions of a projection and the deliveries of its outboxes share.

use std::any::TypeId;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::state::{
    ProjectionId, StateBatch, StateError, StateStore, StateWrite, StateWriterHandle, TableId,
};
use millstream_engine::time::Timestamp;
use uuid::Uuid;

use super::cuts::Cuts;
use super::format::{EffectId, EffectPlace};
use super::waiting::OutboxState;
use super::ways::AppliedBy;

/// Where effects, those that were given up, and the records about them lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutletIds {
    pub(super) effects: TableId,
    pub(super) given_up: TableId,
    pub(super) records: TableId,
}

/// Key of the list of cuts among the records.
pub(super) const CUTS: &[u8] = b"cuts";

/// The outboxes of a projection, for all of its versions.
pub struct Outlets {
    pub(super) projection: &'static str,
    /// Identity of the log.
    store_id: Option<Uuid>,
    pub(super) ids: OutletIds,
    pub(super) store: StateStore,
    pub(super) writer: StateWriterHandle,
    cuts: RwLock<Cuts>,
    /// By place of the declared outboxes.
    pub(super) boxes: Vec<OutboxState>,
    /// Actors that take frames from the log and apply them just now.
    pub(super) inside: AtomicUsize,
    /// Somebody wants to know how far all of them are: none begins a turn.
    pub(super) halting: AtomicBool,
    /// One version sends the last that is its own before another one does: up to where both stand still, room or not.
    pub(super) handing_over: AtomicBool,
    /// How far actors have applied, by version and partition.
    pub(super) applied: Mutex<AppliedBy>,
    /// Held while somebody settles an effect that was given up: two at once would count it twice.
    settling: Mutex<()>,
}

impl fmt::Debug for Outlets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlets")
            .field("projection", &self.projection)
            .field("boxes", &self.boxes)
            .finish_non_exhaustive()
    }
}

/// What outlets are made of.
pub(super) struct OutletsParts {
    pub(super) projection: &'static str,
    pub(super) store_id: Option<Uuid>,
    pub(super) ids: OutletIds,
    pub(super) store: StateStore,
    pub(super) writer: StateWriterHandle,
    pub(super) cuts: Cuts,
    pub(super) boxes: Vec<OutboxState>,
}

impl Outlets {
    pub(super) fn new(parts: OutletsParts) -> Arc<Self> {
        Arc::new(Self {
            projection: parts.projection,
            store_id: parts.store_id,
            ids: parts.ids,
            store: parts.store,
            writer: parts.writer,
            cuts: RwLock::new(parts.cuts),
            boxes: parts.boxes,
            inside: AtomicUsize::new(0),
            halting: AtomicBool::new(false),
            handing_over: AtomicBool::new(false),
            applied: Mutex::default(),
            settling: Mutex::default(),
        })
    }

    /// Held while an effect that was given up is settled.
    pub(super) fn settling(&self) -> MutexGuard<'_, ()> {
        let settling = self.settling.lock();
        settling.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cuts(&self) -> RwLockReadGuard<'_, Cuts> {
        self.cuts.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name of the projection.
    #[must_use]
    pub fn projection(&self) -> &'static str {
        self.projection
    }

    pub(super) fn find(&self, outbox: &str) -> Option<&OutboxState> {
        self.boxes.iter().find(|own| own.name == outbox)
    }

    /// Whether there is an outbox of this name, with effects of this type.
    #[doc(hidden)]
    #[must_use]
    pub fn has(&self, outbox: &str, effect: TypeId) -> bool {
        self.find(outbox).is_some_and(|own| own.effect == effect)
    }

    /// Effects of an outbox that are stored and not delivered yet, those on their way included; `None` if there is no such
    /// outbox.
    #[must_use]
    pub fn depth(&self, outbox: &str) -> Option<u64> {
        self.find(outbox).map(OutboxState::depth)
    }

    /// Events before these offsets that a version's stored rows have not seen: effects of theirs that it would have to send are
    /// not stored.
    ///
    /// # Errors
    /// [`StateError`].
    #[doc(hidden)]
    pub fn unseen(&self, owner: ProjectionId, ends: &[Offset]) -> Result<u64, StateError> {
        let mut unseen = 0;
        for (partition, end) in (0..).map(PartitionId).zip(ends) {
            let seen = self.store.progress(owner, partition)?.unwrap_or_default();
            unseen += end.0.saturating_sub(seen.next.0);
        }
        Ok(unseen)
    }

    /// Has a version send what is behind these offsets, durably. Blocks on the state's writer.
    ///
    /// # Errors
    /// [`StateError`]: see after the next start who sends.
    #[doc(hidden)]
    pub fn cut(&self, owner: ProjectionId, from: &[Offset]) -> Result<(), StateError> {
        let mut cuts = self.cuts().clone();
        cuts.add(owner, from);
        self.record(CUTS, cuts.encode())?;
        self.writer.sync()?;
        *self.cuts.write().unwrap_or_else(PoisonError::into_inner) = cuts;
        Ok(())
    }

    /// The id of an effect of these outboxes.
    pub(super) fn effect_id(
        &self,
        outbox: &str,
        place: EffectPlace,
        recorded_at: Timestamp,
    ) -> EffectId {
        EffectId::derive(self.store_id, self.projection, outbox, place, recorded_at)
    }

    pub(super) fn record(&self, key: &[u8], value: Vec<u8>) -> Result<(), StateError> {
        let write = StateWrite::PutRow {
            table: self.ids.records,
            key: key.to_vec(),
            value,
        };
        let submitted = self.writer.submit_blocking(StateBatch::new(vec![write]));
        submitted.map_err(|refused| refused.reason)
    }
}
