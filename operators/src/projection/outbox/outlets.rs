//! What the versions of a projection and the deliveries of its outboxes share.

use std::any::TypeId;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::{OutboxMetrics, OutboxNow};
use millstream_engine::state::{
    ProjectionId, RowsSize, StateBatch, StateError, StateStore, StateWrite, StateWriterHandle,
    TableId,
};
use millstream_engine::time::Timestamp;
use uuid::Uuid;

use super::super::ProgressBoard;
use super::cuts::Cuts;
use super::format::{self, EffectId, EffectPlace, Span, keys_of};

/// Where effects, those that were given up, and the records about them lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutletIds {
    pub(super) effects: TableId,
    pub(super) given_up: TableId,
    pub(super) records: TableId,
}

/// How often it is looked whether all turns are over.
const LOOK_EVERY: Duration = Duration::from_millis(1);

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
    inside: AtomicUsize,
    /// Somebody wants to know how far all of them are: none begins a turn.
    halting: AtomicBool,
    /// How far actors have applied, by version and partition.
    applied: Mutex<HashMap<ProjectionId, Applied, foldhash::fast::RandomState>>,
    /// Held while somebody settles an effect that was given up: two at once would count it twice.
    settling: Mutex<()>,
}

/// Offsets behind what was applied, by partition.
type Applied = Arc<[AtomicU64]>;

/// One outbox of a projection.
#[derive(Debug)]
pub(super) struct OutboxState {
    pub(super) name: &'static str,
    /// Type of its effects.
    pub(super) effect: TypeId,
    /// Where its effects begin, by partition.
    pub(super) begin: Vec<Offset>,
    pub(super) partitions: Vec<PartitionState>,
    /// Effects above which the projection waits.
    pub(super) rows_max: AtomicU64,
    pub(super) metrics: OutboxMetrics,
}

impl OutboxState {
    /// Effects that are stored and not deleted.
    fn depth(&self) -> u64 {
        self.partitions.iter().map(|own| own.size().rows).sum()
    }

    /// Whether that is as many as there may be.
    fn is_full(&self) -> bool {
        let max = self.rows_max.load(Ordering::Acquire);
        max < u64::MAX && self.depth() >= max
    }
}

/// One partition of an outbox.
#[derive(Debug, Default)]
pub(super) struct PartitionState {
    /// Where effects were stored since the delivery has looked.
    stored: Mutex<Option<Span>>,
    /// Effects that are stored and not deleted, and their bytes. Less than none for a moment where some are deleted before it
    /// was told that they are stored.
    depth: AtomicI64,
    bytes: AtomicI64,
    /// Who is told of what is stored.
    delivery: Mutex<Weak<Mailbox>>,
}

impl fmt::Debug for Outlets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlets")
            .field("projection", &self.projection)
            .field("boxes", &self.boxes)
            .finish_non_exhaustive()
    }
}

impl PartitionState {
    fn delivery(&self) -> MutexGuard<'_, Weak<Mailbox>> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever delivers look.
    pub(super) fn wake(&self) {
        let mailbox = self.delivery().upgrade();
        if let Some(mailbox) = mailbox {
            mailbox.wake();
        }
    }

    /// One that has so much to begin with.
    pub(super) fn of(size: RowsSize) -> Self {
        Self {
            depth: AtomicI64::new(size.rows.cast_signed()),
            bytes: AtomicI64::new(size.bytes.cast_signed()),
            ..Self::default()
        }
    }

    /// What is stored and not deleted.
    pub(super) fn size(&self) -> RowsSize {
        let now = |own: &AtomicI64| own.load(Ordering::Acquire).max(0).cast_unsigned();
        RowsSize {
            rows: now(&self.depth),
            bytes: now(&self.bytes),
        }
    }

    /// Effects were stored, all of them in this span.
    pub(super) fn add(&self, size: RowsSize, span: Span) {
        let (rows, bytes) = (size.rows.cast_signed(), size.bytes.cast_signed());
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.depth.fetch_add(rows, Ordering::AcqRel);
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        *stored = Some(span.with(*stored));
        drop(stored);
        self.wake();
    }

    /// Where effects were stored since this was asked last.
    pub(super) fn take_stored(&self) -> Option<Span> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.take()
    }

    /// Effects were deleted.
    pub(super) fn remove(&self, size: RowsSize) {
        let (rows, bytes) = (size.rows.cast_signed(), size.bytes.cast_signed());
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.depth.fetch_sub(rows, Ordering::AcqRel);
    }

    pub(super) fn deliver_to(&self, mailbox: &Arc<Mailbox>) {
        *self.delivery() = Arc::downgrade(mailbox);
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
            applied: Mutex::default(),
            settling: Mutex::default(),
        })
    }

    /// Held while an effect that was given up is settled.
    pub(super) fn settling(&self) -> MutexGuard<'_, ()> {
        let settling = self.settling.lock();
        settling.unwrap_or_else(PoisonError::into_inner)
    }

    fn cuts(&self) -> RwLockReadGuard<'_, Cuts> {
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

    /// Shows what waits in all outboxes at this time. Cost: a read of the store for each partition of one that has something.
    ///
    /// # Errors
    /// [`StateError`]: figures behind the first one that cannot be read stay as they were.
    #[doc(hidden)]
    pub fn observe(&self, now: Timestamp) -> Result<(), StateError> {
        for own in &self.boxes {
            own.metrics.observe_full(own.is_full());
            for (partition, waits) in (0..).map(PartitionId).zip(&own.partitions) {
                let RowsSize { rows, bytes } = waits.size();
                let oldest = match rows {
                    0 => None,
                    _ => self.oldest(own.name, partition)?,
                };
                own.metrics.observe(
                    partition,
                    OutboxNow {
                        effects: rows,
                        bytes,
                        oldest: oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)),
                    },
                );
            }
        }
        Ok(())
    }

    /// When the event of the first effect of a partition was recorded; `None` as well if that cannot be read.
    fn oldest(
        &self,
        outbox: &str,
        partition: PartitionId,
    ) -> Result<Option<Timestamp>, StateError> {
        let (first, last) = keys_of(outbox, partition);
        let (first, last) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let rows = self.store.scan_range(self.ids.effects, first, last, 1)?;
        let oldest = rows.first().and_then(|(_, row)| format::read(row));
        Ok(oldest.map(|oldest| oldest.recorded_at))
    }

    /// The way out of a version, which sends what is its own.
    #[must_use]
    pub fn of_version(self: &Arc<Self>, owner: ProjectionId) -> Outlet {
        let mut all = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = self.boxes.first().map_or(0, |own| own.partitions.len());
        let nothing = || (0..partitions).map(|_| AtomicU64::new(0)).collect();
        let applied = Arc::clone(all.entry(owner).or_insert_with(nothing));
        Outlet(Some(Way {
            outlets: Arc::clone(self),
            owner,
            applied,
        }))
    }

    /// Has two versions come no further than the further of them is now, partition by partition; gives how far that is. Until
    /// [`ProgressBoard::stop_behind`] frees them. `None`: a turn of one of their actors did not come to its end before the
    /// deadline, and nothing has changed.
    #[doc(hidden)]
    pub async fn halt(
        &self,
        versions: [(&ProgressBoard, ProjectionId); 2],
        deadline: Duration,
    ) -> Option<Vec<Offset>> {
        let halting = Halting::new(self);
        let at_rest = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            while self.inside.load(Ordering::SeqCst) > 0 {
                looks.tick().await;
            }
        };
        tokio::time::timeout(deadline, at_rest).await.ok()?;
        // No actor has a frame in hand that it did not count yet, nor looks at its bound.
        let ends = self.furthest(versions.map(|(_, id)| id));
        let mut token = Token::default();
        for (partition, end) in (0..).map(PartitionId).zip(&ends) {
            if let Some(offset) = end.0.checked_sub(1).map(Offset) {
                token.observe(Position { partition, offset });
            }
        }
        for (board, _) in &versions {
            board.stop_behind(Some(&token));
        }
        drop(halting);
        Some(ends)
    }

    /// Offsets behind what any of these versions has applied.
    fn furthest(&self, versions: [ProjectionId; 2]) -> Vec<Offset> {
        let all = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = self.boxes.first().map_or(0, |own| own.partitions.len());
        let mut ends = vec![Offset(0); partitions];
        for id in versions {
            let applied = all.get(&id).into_iter().flat_map(|applied| applied.iter());
            for (end, applied) in ends.iter_mut().zip(applied) {
                *end = (*end).max(Offset(applied.load(Ordering::Acquire)));
            }
        }
        ends
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

/// While it is there no actor begins a turn.
struct Halting<'o>(&'o Outlets);

impl<'o> Halting<'o> {
    fn new(outlets: &'o Outlets) -> Self {
        outlets.halting.store(true, Ordering::SeqCst);
        Self(outlets)
    }
}

impl Drop for Halting<'_> {
    fn drop(&mut self) {
        self.0.halting.store(false, Ordering::SeqCst);
    }
}

/// A turn of an actor.
#[derive(Debug)]
pub(in crate::projection) struct Turn(Option<Arc<Outlets>>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(outlets) = &self.0 {
            outlets.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The way of a version's effects into the outboxes, or of the test kit's to whoever looks.
#[derive(Clone, Debug)]
pub struct Outlet(Option<Way>);

/// A version's own.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) outlets: Arc<Outlets>,
    owner: ProjectionId,
    applied: Applied,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Way").field(&self.owner).finish()
    }
}

impl Outlet {
    /// All is kept in memory.
    pub(in crate::projection) const fn kept() -> Self {
        Self(None)
    }

    pub(super) const fn way(&self) -> Option<&Way> {
        self.0.as_ref()
    }

    /// Held while frames are taken from the log and applied; `None` while nobody may.
    pub(in crate::projection) fn turn(&self) -> Option<Turn> {
        let outlets = self.0.as_ref().map(|way| Arc::clone(&way.outlets));
        let turn = Turn(outlets);
        let Some(outlets) = &turn.0 else {
            return Some(turn);
        };
        // In this order, and the other one looks in the other order: one of the two sees what the other did.
        outlets.inside.fetch_add(1, Ordering::SeqCst);
        (!outlets.halting.load(Ordering::SeqCst)).then_some(turn)
    }

    /// All before `next` was applied.
    pub(in crate::projection) fn note_applied(&self, partition: PartitionId, next: Offset) {
        let Some(way) = &self.0 else { return };
        if let Some(applied) = way.applied.get(usize::from(partition.0)) {
            applied.store(next.0, Ordering::Release);
        }
    }

    /// Whether an outbox has more effects than it may before the projection waits.
    pub(in crate::projection) fn is_full(&self) -> bool {
        let Some(way) = &self.0 else { return false };
        way.outlets.boxes.iter().any(OutboxState::is_full)
    }
}

impl Way {
    /// Whether effects of an event are sent by this version.
    pub(super) fn sends(&self, outbox: usize, position: Position) -> bool {
        let Position { partition, offset } = position;
        let begin = self.outlets.boxes[outbox]
            .begin
            .get(usize::from(partition.0));
        begin.is_some_and(|begin| *begin <= offset)
            && self.outlets.cuts().owner(partition, offset) == Some(self.owner)
    }
}
