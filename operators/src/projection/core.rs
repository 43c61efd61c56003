//! The projection as a step core: pull frames, apply, show, store.

mod batching;
mod deciding;
mod enriching;
mod freeing;
mod halting;
mod ordering;
mod pacing;
mod sending;
mod sharing;
mod storing;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::frame::{Frame, FrameHash, KindSet, Record};
use millstream_engine::log::{
    Asked, Direction, Feed, FrameSlice, LogCursor, LogError, LogReader, StreamReader, StreamRef,
    for_each_event,
};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::{DeadLetterMetrics, ParkedNow, ProjectionMetrics};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::state::{
    Progress, ProjectionId, RegisteredProjection, StateBatch, StateError, StateStore, StateWrite,
    StateWriterHandle,
};
use millstream_engine::time::{Clock, Timestamp};

use self::halting::Halt;
use super::applier::Applier;
use super::decided::{Decided, Fate};
use super::decision::DECISIONS;
use super::enrich::{Following, Scope};
use super::owners::Owner;
use super::parked::{Moment, Parked, Sender};
use super::wanted::Portion;
use super::{
    OpenProjectionError, OpenReads, Order, Owners, Places, ProgressBoard, Projection,
    ProjectionConfig, TableSet, UnreadablePolicy,
};
use crate::failing::{ERROR, Failure, Telling};

/// Time of one turn, after which others have theirs.
const TURN: Duration = Duration::from_millis(1);
/// How often lag is shown while nothing comes.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// Time after which rows are offered again to a state writer that had no room for them.
const REFUSED_EVERY: Duration = Duration::from_millis(2);
/// Events of one parked key that are applied per turn once it is freed.
const FREED_EVENTS: usize = 1_024;
/// Bytes of versions that are kept in memory before a store is waited for.
const VERSION_BYTES_MAX: usize = 64 << 20;
/// Bytes of versions that are stored without waiting for the time.
const VERSION_BYTES_STORED: usize = 16 << 20;
/// Dead letters read at a time when a projection starts.
const LETTERS: usize = 256;

/// What a core is made from.
pub struct ProjectionParts<P: Projection> {
    /// The projection.
    pub projection: Arc<P>,
    /// As it is registered in the state.
    pub registered: RegisteredProjection,
    /// Its limits.
    pub config: ProjectionConfig,
    /// The partitions that this actor reads.
    pub partitions: Vec<PartitionId>,
    /// Where it is woken.
    pub mailbox: Arc<Mailbox>,
    /// Committed frames.
    pub feed: Arc<Feed>,
    /// The log.
    pub streams: Arc<dyn StreamReader>,
    /// Stored rows.
    pub store: StateStore,
    /// Stores rows.
    pub writer: StateWriterHandle,
    /// Maps that readers look into, from [`TableSet::hot`].
    pub hot: Vec<Arc<dyn std::any::Any + Send + Sync>>,
    /// Where positions are shown.
    pub board: Arc<ProgressBoard>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Readers of the tables that [`Projection::reads`] names, in its order.
    pub reads: OpenReads,
    /// Owners of its rows.
    pub owners: Owners,
    /// Whether rows of a predecessor are still being stored; the same for every incarnation.
    pub storing: Arc<AtomicBool>,
}

impl<P: Projection> fmt::Debug for ProjectionParts<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionParts")
            .field("projection", &P::NAME)
            .finish_non_exhaustive()
    }
}

/// One partition that is read.
struct Source {
    cursor: LogCursor,
    /// The frame that holds the event before the position.
    frame: Option<(Offset, FrameHash)>,
    moved: bool,
    /// Position that was stored last.
    stored: Offset,
    metrics: ProjectionMetrics,
    /// When the newest event that was applied had been recorded.
    recorded: Timestamp,
    /// What was decided about events that wait or are still to come.
    decided: Decided,
    /// Decisions before this offset are in `decided`, those about settled events apart.
    read_upto: Offset,
    /// Up to when its partition was last asked to be quiet, by a projection that goes by recorded time.
    asked: Option<Asked>,
}

/// A projection at work.
pub struct ProjectionCore<P: Projection> {
    applier: Applier<P>,
    registered: RegisteredProjection,
    config: ProjectionConfig,
    sources: Vec<Source>,
    turn: usize,
    parked: Parked,
    feed: Arc<Feed>,
    streams: Arc<dyn StreamReader>,
    writer: StateWriterHandle,
    board: Arc<ProgressBoard>,
    clock: Arc<dyn Clock>,
    mailbox: Arc<Mailbox>,
    storing: Arc<AtomicBool>,
    /// A store of this core failed.
    lost: Arc<AtomicBool>,
    /// What the state's writer had no room for: to be handed over before anything else.
    refused: Option<StateBatch>,
    /// Parked keys that were due then are looked at before anything else.
    opened_at: Duration,
    published_at: Duration,
    stored_at: Duration,
    shown_at: Duration,
    stopping: bool,
    /// Something was left when the last turn was over.
    is_behind: bool,
    /// Events are there which others may have to come before.
    waits: bool,
    /// An outbox is full.
    is_choked: bool,
    /// Time of this turn in which all owners were at work.
    shared_for: Duration,
    /// Of batches that fail.
    telling: Telling,
    dead_letters: DeadLetterMetrics,
    /// Those that are read.
    following: Following,
}

impl<P: Projection> fmt::Debug for ProjectionCore<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionCore")
            .field("projection", &P::NAME)
            .finish_non_exhaustive()
    }
}

impl<P: Projection> ProjectionCore<P> {
    /// A core that goes on from its stored positions.
    ///
    /// # Errors
    /// [`OpenProjectionError`]; `InFlight` right after a core failed.
    pub fn open(parts: ProjectionParts<P>) -> Result<Self, OpenProjectionError> {
        if parts.storing.load(Ordering::Acquire) {
            return Err(OpenProjectionError::InFlight);
        }
        // Rows go back to what is stored as their positions do.
        let board = Arc::clone(&parts.board);
        let shown = board.show_together();
        let (sources, complete) = sources(&parts)?;
        let first = parts.partitions.first().copied().unwrap_or_default();
        let (writers, others) = writers(&parts, complete)?;
        let sight = Self::sight(&parts)?;
        let following = Following::new(sight.boards(), Scope::of::<P>(), first.0);
        let now = parts.clock.monotonic();
        let parked = parked::<P>(&parts.config, parts.registered.id, &parts.board);
        let stage_name = parts.board.stage_name();
        let mut core = Self {
            applier: Applier::new(parts.projection, writers)
                .seeing(sight)
                .beside(others, parts.owners.fit::<P>()),
            following,
            parked,
            registered: parts.registered,
            config: parts.config,
            sources,
            turn: 0,
            feed: parts.feed,
            streams: parts.streams,
            writer: parts.writer,
            board: parts.board,
            clock: parts.clock,
            mailbox: parts.mailbox,
            storing: parts.storing,
            lost: Arc::new(AtomicBool::new(false)),
            refused: None,
            opened_at: now,
            published_at: now,
            stored_at: now,
            shown_at: now,
            stopping: false,
            waits: false,
            is_choked: false,
            shared_for: Duration::ZERO,
            telling: Telling::default(),
            is_behind: false,
            dead_letters: DeadLetterMetrics::new(&stage_name, first),
        };
        core.restore_parked(&parts.store)?;
        // Not before it is known which streams these rows lack events of.
        for source in &core.sources {
            let partition = source.cursor.partition();
            // A switch may come before the first turn: it must not take this for a version that has applied nothing.
            if let Some(outlet) = board.outlet() {
                outlet.note_applied(partition, source.stored);
            }
            board.show(partition, source.stored, Timestamp::MIN);
            board.store(partition, source.stored);
        }
        board.begin(first.0, &core.mailbox);
        for other in &core.following.boards {
            other.wake_when_stored(&core.mailbox);
        }
        drop(shown);
        core.read_decisions()?;
        core.board.count_opened();
        core.board.announce();
        Ok(core)
    }

    fn moment(&self) -> Moment {
        Moment {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }

    /// Tries again what is due and applies frames; gives whether something is left for the next turn.
    fn apply_some(&mut self, start: Duration) -> Result<bool, Halt> {
        if self.is_leaving() {
            return Ok(false);
        }
        if self.may_retry() {
            self.retry_parked(start)?;
        }
        self.apply_frames(start)
    }

    /// Applies frames until the turn is over or nothing is left; gives whether something is left.
    fn apply_frames(&mut self, start: Duration) -> Result<bool, Halt> {
        // A full projection has no place for what fails next before what was decided has made some.
        let waits = |due: Duration| due <= self.opened_at;
        if self.parked.next_due().is_some_and(waits) {
            return Ok(self.following.waits.is_none());
        }
        loop {
            if let Some(id) = self.parked.overfull() {
                // Not before the letter is stored: somebody has to decide about it.
                return if self.is_all_stored() {
                    Err(Halt::queue::<P>(&self.config, id))
                } else {
                    Ok(false)
                };
            }
            let next = match P::ORDER {
                Order::Arrival => self.next_to_arrive()?,
                Order::Recorded => self.next_recorded()?,
            };
            let Some((at, slice)) = next else {
                return Ok(false);
            };
            self.apply_slice(at, &slice)?;
            if self.clock.monotonic().saturating_sub(start) >= TURN {
                return Ok(true);
            }
        }
    }

    fn apply_slice(&mut self, at: usize, slice: &FrameSlice) -> Result<(), Halt> {
        let kinds = slice.frame.kinds();
        let mut applied = 0;
        let is_decided = kinds.iter().any(|kind| kind.category == DECISIONS);
        let portion = self.applier.portion(kinds);
        if is_decided || portion != Portion::Nothing {
            self.stand();
            // Shapes that cannot be read fail each event that needs them, with its own cause.
            let _ = self.applier.begin(&slice.frame);
            applied = if P::BATCH > 1 && !is_decided {
                self.apply_batches(at, slice, portion)?
            } else if self.is_for_all_owners(at, slice, is_decided) {
                self.apply_shared(at, slice, portion)?
            } else {
                self.apply_each(at, slice, portion, is_decided)?
            };
        }
        let header = slice.frame.header();
        let source = &mut self.sources[at];
        source.frame = Some((header.first, header.hash));
        source.moved = true;
        source.recorded = header.recorded_last;
        source.metrics.observe_batch(applied);
        Ok(())
    }

    /// Applies the events of a frame begun last, one by one; gives how many.
    #[inline]
    fn apply_each(
        &mut self,
        at: usize,
        slice: &FrameSlice,
        portion: Portion,
        is_decided: bool,
    ) -> Result<u64, Halt> {
        let mut applied = 0;
        // Decisions are of a kind that nobody wants, and heard of.
        let kinds = match portion {
            Portion::Some(kinds) if !is_decided => kinds,
            _ => KindSet::ALL,
        };
        for record in slice.records_of(kinds) {
            if is_decided && record.kind.category == DECISIONS {
                self.decide(at, &slice.frame, &record)?;
            }
            if portion != Portion::All && !self.applier.wants(&record) {
                continue;
            }
            applied += 1;
            self.apply_record(at, &slice.frame, &record)?;
        }
        Ok(applied)
    }

    /// Applies an event of the frame begun last, unless it waits behind another one or is given up; as it was edited if it was.
    #[inline]
    fn apply_record(&mut self, at: usize, frame: &Frame, record: &Record<'_>) -> Result<(), Halt> {
        if !self.parked.is_empty() && self.parked.queue_behind(record) {
            return Ok(());
        }
        let source = &self.sources[at];
        match source.decided.fate(record.stream, record.offset) {
            Fate::Kept => self.try_record(at, frame, record, None),
            Fate::Edited(edit) => {
                let payload = edit.payload(&*self.streams, source.cursor.partition())?;
                self.try_record(at, frame, record, Some(&payload))
            }
            Fate::Discarded => {
                self.dead_letters.count_discarded(ERROR, 1);
                let decided = &mut self.sources[at].decided;
                decided.forget(record.stream, record.offset);
                Ok(())
            }
        }
    }

    /// Applies an event, as it was edited if it was.
    #[inline]
    fn try_record(
        &mut self,
        at: usize,
        frame: &Frame,
        record: &Record<'_>,
        edit: Option<&str>,
    ) -> Result<(), Halt> {
        let source = &mut self.sources[at];
        let partition = source.cursor.partition();
        let applier = &mut self.applier;
        if let Err(failure) = applier.apply_as(edit, partition, record, None) {
            if let Some(fault) = self.applier.sight.take_fault() {
                return Err(Halt::lookup(partition, record, fault));
            }
            return self.park(at, frame, record, failure);
        }
        source.decided.forget(record.stream, record.offset);
        Ok(())
    }

    #[cold]
    fn park(
        &mut self,
        at: usize,
        frame: &Frame,
        record: &Record<'_>,
        failure: Failure,
    ) -> Result<(), Halt> {
        let now = self.moment();
        let source = &mut self.sources[at];
        let partition = source.cursor.partition();
        let verdict = source.decided.get(record.stream, record.offset).cloned();
        let is_edited = verdict
            .as_ref()
            .is_some_and(|verdict| verdict.edit.is_some());
        let policy = self.config.unreadable.of(is_edited);
        let Some(failure) = unreadable::<P>(policy, partition, record, failure)? else {
            self.dead_letters.count_skipped(1);
            self.parked.tell_skipped(partition, record, now);
            source.decided.forget(record.stream, record.offset);
            return Ok(());
        };
        source.metrics.count_failures(1);
        self.board.count_failure();
        self.dead_letters.count_added(failure.class(), 1);
        let is_full = self.parked.len() >= self.config.parked_keys_max
            || self.parked.bytes() >= self.config.parked_bytes_max;
        if is_full {
            return Err(Halt::full::<P>(&self.parked, record.stream, failure));
        }
        self.parked.park(partition, frame, record, failure, now);
        self.parked
            .know(record.stream, verdict.as_ref(), &*self.streams)?;
        Ok(())
    }
}

/// The partitions, each from its stored position on; and whether nothing was ever stored.
fn sources<P: Projection>(
    parts: &ProjectionParts<P>,
) -> Result<(Vec<Source>, bool), OpenProjectionError> {
    let reader: Arc<dyn LogReader> = Arc::clone(&parts.streams) as Arc<dyn LogReader>;
    let mut sources = Vec::with_capacity(parts.partitions.len());
    let mut complete = true;
    for &partition in &parts.partitions {
        let progress = parts
            .store
            .progress(parts.registered.id, partition)?
            .unwrap_or_default();
        complete &= progress.next == Offset(0);
        let cursor = parts.feed.subscribe(
            partition,
            progress.next,
            &parts.mailbox,
            Arc::clone(&reader),
        )?;
        sources.push(Source {
            cursor,
            frame: progress.frame,
            moved: false,
            stored: progress.next,
            metrics: ProjectionMetrics::new(P::NAME, P::VERSION, partition),
            recorded: Timestamp::MIN,
            decided: Decided::default(),
            read_upto: progress.next,
            asked: None,
        });
    }
    Ok((sources, complete))
}

/// What the first owner of its rows changes them with, and the others.
#[expect(
    clippy::type_complexity,
    reason = "the writers of a projection, and owners of the same"
)]
fn writers<P: Projection>(
    parts: &ProjectionParts<P>,
    is_complete: bool,
) -> Result<(<P::Tables as TableSet>::Writers, Vec<Owner<P>>), OpenProjectionError> {
    let first = parts.partitions.first().copied().unwrap_or_default();
    let of = |actor| {
        let writers = parts.projection.tables().writers(&Places {
            ids: &parts.registered.tables,
            store: Some(&parts.store),
            hot: &parts.hot,
            is_complete,
            actor,
        });
        writers.ok_or(OpenProjectionError::Tables)
    };
    let mut writers = of(first.0)?;
    if let Some(outlet) = parts.board.outlet() {
        P::Tables::connect(&mut writers, outlet);
    }
    let owners = parts.owners.clone().fit::<P>();
    let others = (first.0..).skip(1).take(owners.count() - 1);
    let others = others.map(|number| of(number).map(Owner::new));
    Ok((writers, others.collect::<Result<_, _>>()?))
}

/// What is done about an event that cannot be read: gives the failure back if it is to be parked, as any other is.
fn unreadable<P: Projection>(
    policy: UnreadablePolicy,
    partition: PartitionId,
    record: &Record<'_>,
    failure: Failure,
) -> Result<Option<Failure>, Halt> {
    match policy {
        UnreadablePolicy::Skip if failure.is_unreadable() => Ok(None),
        UnreadablePolicy::Halt if failure.is_unreadable() => {
            Err(Halt::unreadable::<P>(partition, record, failure))
        }
        _ => Ok(Some(failure)),
    }
}

/// No keys yet.
fn parked<P: Projection>(
    config: &ProjectionConfig,
    id: ProjectionId,
    board: &Arc<ProgressBoard>,
) -> Parked {
    let sender = Sender {
        projection: id,
        stage: P::NAME,
        version: P::VERSION,
        category: P::CATEGORY,
    };
    let limits = config.followers();
    Parked::new(sender, config.failures, limits, Arc::clone(board))
}

impl<P: Projection> StageCore for ProjectionCore<P> {
    fn step(&mut self) -> Step {
        let start = self.clock.monotonic();
        if self.lost.load(Ordering::Acquire) {
            return Step::Failed("rows could not be stored".to_owned());
        }
        // Over the memory bound: go on once all rows are stored, so that they can be let go.
        let full = self.applier.rows() > self.config.hot_rows_max;
        // Versions cannot be let go, only handed over.
        let heavy = self.applier.version_bytes() > VERSION_BYTES_MAX;
        if full && self.is_all_stored() {
            self.publish(start);
            self.applier.shrink();
        } else if full || heavy {
            self.publish(start);
            return match self.store(start, true, true) {
                // Not `Idle`: that would end a stage that is stopping, with events left to apply.
                Ok(()) => Step::IdleUntil(self.next_look(start)),
                Err(cause) => Step::Failed(cause),
            };
        }
        if let Some(wait) = self.wait_for_turn(start) {
            return Step::IdleUntil(wait);
        }
        let more = match self.apply_and_send(start) {
            Ok(more) => more,
            Err(error) => return Step::Failed(error.to_string()),
        };
        let now = self.clock.monotonic();
        self.turn_over(start, now, more);
        let late = now.saturating_sub(self.published_at)
            >= Duration::from_millis(self.config.publish_every_ms);
        if !more || late {
            self.publish(now);
        }
        let ending = self.stopping && !more && self.is_at_end();
        let is_behind = more && self.is_far_behind();
        if let Err(cause) = self.store(now, is_behind, ending) {
            return Step::Failed(cause);
        }
        self.show(now);
        let due = self.parked.next_due().is_some_and(|due| due <= now);
        self.following.turn_over(&self.board);
        // Before those that are read have come as far, or an outbox has room again, nothing can be tried.
        let due = due && self.following.waits.is_none();
        if (more || (due && !ending)) && !self.is_choked {
            return Step::Again;
        }
        if ending && (self.feed.is_closed() || self.is_leaving()) && self.is_all_stored() {
            self.sources.iter().for_each(|source| {
                self.board.end_of(source.cursor.partition().0);
            });
            return Step::Done;
        }
        Step::IdleUntil(self.next_look(now))
    }

    fn stop(&mut self) {
        self.stopping = true;
    }
}
