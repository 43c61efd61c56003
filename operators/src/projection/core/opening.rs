//! What a projection's core is made from, and how it goes on from what is stored.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{Feed, LogReader, StreamReader};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::{DeadLetterMetrics, ProjectionMetrics};
use millstream_engine::state::{ProjectionId, RegisteredProjection, StateStore, StateWriterHandle};
use millstream_engine::time::{Clock, Timestamp};

use super::super::applier::Applier;
use super::super::decided::Decided;
use super::super::enrich::{Following, Scope};
use super::super::owners::Owner;
use super::super::parked::{Parked, Sender};
use super::super::{
    OpenProjectionError, OpenReads, Owners, Places, ProgressBoard, Projection, ProjectionConfig,
    TableSet,
};
use super::{ProjectionCore, Source};
use crate::failing::Telling;

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
        let taking_back = board.take_back();
        for source in &sources {
            // Before the rows: should this fail on the way, nobody is told that they are further.
            board.show_at_most(source.cursor.partition(), source.stored);
        }
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
            room: parts.mailbox.waker(),
            mailbox: parts.mailbox,
            storing: parts.storing,
            lost: Arc::new(AtomicBool::new(false)),
            refused: None,
            opened_at: now,
            published_at: now,
            stored_at: now,
            shown_at: now,
            stopping: false,
            is_unbuilt: false,
            waits: false,
            is_choked: false,
            is_held_back: false,
            shared_for: Duration::ZERO,
            telling: Telling::default(),
            is_behind: false,
            dead_letters: DeadLetterMetrics::new(&stage_name, first),
        };
        let kinds = core.applier.kinds();
        for source in &mut core.sources {
            source.cursor.want(Arc::clone(&kinds));
        }
        core.restore_parked(&parts.store)?;
        // Not before it is known which streams these rows lack events of.
        core.show_stored();
        board.begin(first.0, &core.mailbox);
        for other in &core.following.boards {
            other.wake_when_stored(&core.mailbox);
        }
        drop((taking_back, shown));
        core.read_decisions()?;
        core.board.count_opened();
        core.board.announce();
        Ok(core)
    }

    /// Shows how far what is stored is.
    fn show_stored(&self) {
        for source in &self.sources {
            let partition = source.cursor.partition();
            // A switch may come before the first turn: it must not take this for a version that has applied nothing.
            if let Some(outlet) = self.board.outlet() {
                outlet.note_applied(partition, source.stored);
            }
            self.board.show(partition, source.stored, Timestamp::MIN);
            self.board.store(partition, source.stored);
        }
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
            unshown: None,
            begun_at: parts.feed.durable(partition),
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
    let limits = config.parked();
    Parked::new(sender, config.failures, limits, Arc::clone(board))
}
