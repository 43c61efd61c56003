//! Projections without their types: what a topology holds of them, and what an engine starts.

use std::any::Any;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use millstream_engine::event::PartitionId;
use millstream_engine::log::{Feed, StreamReader};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::stage::{NoCore, RestartPolicy, StageCore, StageSpec};
use millstream_engine::state::{RegisteredProjection, StateStore, StateWriterHandle};
use millstream_engine::time::Clock;
use millstream_operators::projection::{
    AnyReader, DeclaredOutbox, OpenProjectionError, OpenReads, Order, Outlets, Owners, Pacer,
    ProgressBoard, Projection, ProjectionConfig, ProjectionCore, ProjectionParts, ReadFault, Reads,
    Replay, Rows, TableSet, Verification, register,
};

use super::table_at::Told;
use super::verify::{self, VerifyError};

/// What projections of an engine share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) feed: Arc<Feed>,
    pub(crate) streams: Arc<dyn StreamReader>,
    pub(crate) store: StateStore,
    pub(crate) writer: StateWriterHandle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) restart: RestartPolicy,
    /// Processors that its stages have.
    pub(crate) processors: usize,
    /// Identity of the log.
    pub(crate) store_id: Option<uuid::Uuid>,
}

/// A projection ready to be started.
pub(crate) struct Prepared {
    pub(crate) stages: Vec<StageSpec>,
    pub(crate) name: &'static str,
    /// Category of the events that it reads.
    pub(crate) category: &'static str,
    pub(crate) board: Arc<ProgressBoard>,
    pub(crate) registered: RegisteredProjection,
    /// Table readers by name, each a `TableReader<K, R>`.
    pub(crate) readers: Vec<(&'static str, Arc<dyn AnyReader>)>,
    pub(crate) told: Told,
    /// Tables of others that it looks into.
    pub(crate) reads: Reads,
    /// Readers of these, to be filled in before a stage runs.
    pub(crate) open_reads: Arc<OnceLock<OpenReads>>,
    /// The outboxes of all versions.
    pub(crate) outlets: Option<Arc<Outlets>>,
}

/// A projection in a topology.
pub(crate) trait AnyProjection: Send + Sync {
    fn name(&self) -> &'static str;
    fn version(&self) -> u32;
    /// Whether it is declared as the candidate of another version.
    fn is_candidate(&self) -> bool;
    fn tables(&self) -> Vec<&'static str>;
    fn outboxes(&self) -> Vec<DeclaredOutbox>;
    /// Its tables with an index that is to be unique, and the index, where nobody could see to it.
    fn unkept_unique(&self) -> Vec<(&'static str, &'static str)>;
    /// Whether it wants an order of all partitions, and has actors that see one each.
    fn is_ordered_in_vain(&self) -> bool;
    /// Tables of others that it looks into.
    fn reads(&self) -> Reads;
    /// What is wrong with these, as far as can be told without the others.
    fn read_faults(&self) -> Vec<ReadFault>;
    /// Whether it wants batches of events, and has tables that need each by itself.
    fn is_batched_in_vain(&self) -> bool;
    /// Whether its rows are routed by key, and it has tables that need to see each event of all keys.
    fn is_routed_in_vain(&self) -> bool;
    /// Compares its stored rows with what its code makes of the log; `None` if it was never stored. Blocks.
    fn verify_stored(
        &self,
        streams: Arc<dyn StreamReader>,
        store: &StateStore,
    ) -> Result<Option<Verification>, VerifyError>;
    /// Finds its rows again, or makes a place for them. Blocks on the state's writer.
    fn register(&self, around: &Surroundings) -> Result<RegisteredProjection, OpenProjectionError>;
    /// Makes the stages of one that is registered, and whether it is the version that answers.
    fn prepare(
        &self,
        around: &Surroundings,
        registered: RegisteredProjection,
        is_active: bool,
        outlets: Option<Arc<Outlets>>,
    ) -> Result<Prepared, OpenProjectionError>;
}

/// Registration of `P`.
pub(crate) struct Declared<P> {
    projection: Arc<P>,
    config: ProjectionConfig,
    is_candidate: bool,
}

impl<P: Projection> Declared<P> {
    pub(crate) fn new(projection: P, config: ProjectionConfig, is_candidate: bool) -> Self {
        Self {
            projection: Arc::new(projection),
            config,
            is_candidate,
        }
    }

    fn told(&self, around: &Surroundings) -> Told {
        let (projection, streams) = (Arc::clone(&self.projection), Arc::clone(&around.streams));
        Told {
            rows: P::ROWS,
            replay: Arc::new(move |at| {
                let replay = Replay::<P>::new(Arc::clone(&streams), Arc::clone(&projection));
                replay.at(at).tables()
            }),
        }
    }

    fn stage(
        &self,
        around: &Surroundings,
        (registered, reads): (&RegisteredProjection, Arc<OnceLock<OpenReads>>),
        owners: &Owners,
        partitions: &[PartitionId],
        hot: &[Arc<dyn Any + Send + Sync>],
        board: &Arc<ProgressBoard>,
    ) -> StageSpec {
        let mailbox = Mailbox::new(lane_limits(), Arc::clone(&around.clock));
        let storing = Arc::new(AtomicBool::new(false));
        let name = match partitions {
            [one] if P::ROWS == Rows::ByPartition => format!("{}/{one}", board.stage_name()),
            _ => board.stage_name(),
        };
        let factory = {
            let (projection, registered) = (Arc::clone(&self.projection), registered.clone());
            let (config, partitions) = (self.config.clone(), partitions.to_vec());
            let (mailbox, around) = (Arc::clone(&mailbox), around.clone());
            let (hot, board) = (hot.to_vec(), Arc::clone(board));
            let owners = owners.clone();
            move || {
                let core = ProjectionCore::<P>::open(ProjectionParts {
                    projection: Arc::clone(&projection),
                    registered: registered.clone(),
                    config: config.clone(),
                    partitions: partitions.clone(),
                    mailbox: Arc::clone(&mailbox),
                    feed: Arc::clone(&around.feed),
                    streams: Arc::clone(&around.streams),
                    store: around.store.clone(),
                    writer: around.writer.clone(),
                    hot: hot.clone(),
                    board: Arc::clone(&board),
                    clock: Arc::clone(&around.clock),
                    storing: Arc::clone(&storing),
                    reads: reads.get().cloned().unwrap_or_default(),
                    owners: owners.clone(),
                });
                match core {
                    Ok(core) => Ok(Box::new(core) as Box<dyn StageCore>),
                    Err(error @ OpenProjectionError::InFlight) => {
                        Err(NoCore::NotYet(error.to_string()))
                    }
                    Err(error) => Err(NoCore::Failed(error.to_string())),
                }
            }
        };
        let board = Arc::clone(board);
        StageSpec {
            name,
            mailbox,
            clock: Arc::clone(&around.clock),
            factory: Box::new(factory),
            policy: around.restart,
            on_give_up: Box::new(move |_, cause| board.stop(cause)),
        }
    }
}

/// Frames that wait in memory for a projection; the log keeps the rest.
pub(super) fn lane_limits() -> MailboxLimits {
    MailboxLimits {
        items_max: const { std::num::NonZeroU32::new(256).unwrap() },
        bytes_max: const { std::num::NonZeroU64::new(32 << 20).unwrap() },
    }
}

impl<P: Projection> AnyProjection for Declared<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> u32 {
        P::VERSION
    }

    fn is_candidate(&self) -> bool {
        self.is_candidate
    }

    fn tables(&self) -> Vec<&'static str> {
        self.projection.tables().names()
    }

    fn outboxes(&self) -> Vec<DeclaredOutbox> {
        self.projection.tables().outboxes()
    }

    fn unkept_unique(&self) -> Vec<(&'static str, &'static str)> {
        match P::ROWS {
            // Those of a projection that is routed are told of together with all else that it cannot have.
            Rows::Global | Rows::ByKey => Vec::new(),
            Rows::ByPartition => self.projection.tables().unique_indexes(),
        }
    }

    fn is_ordered_in_vain(&self) -> bool {
        P::ORDER == Order::Recorded && P::ROWS == Rows::ByPartition
    }

    fn reads(&self) -> Reads {
        self.projection.reads()
    }

    fn read_faults(&self) -> Vec<ReadFault> {
        self.projection.reads().faults::<P>()
    }

    fn is_batched_in_vain(&self) -> bool {
        let is_each_alone = self.projection.tables().need_each_event();
        P::BATCH > 1 && (is_each_alone || !self.projection.reads().is_empty())
    }

    fn is_routed_in_vain(&self) -> bool {
        let is_each_alone = self.projection.tables().need_each_event() || P::BATCH > 1;
        P::ROWS == Rows::ByKey && (is_each_alone || !self.projection.reads().is_empty())
    }

    fn verify_stored(
        &self,
        streams: Arc<dyn StreamReader>,
        store: &StateStore,
    ) -> Result<Option<Verification>, VerifyError> {
        verify::stored(&self.projection, streams, store)
    }

    fn register(&self, around: &Surroundings) -> Result<RegisteredProjection, OpenProjectionError> {
        let Surroundings { store, writer, .. } = around;
        register(&*self.projection, store, writer, &*around.streams)
    }

    fn prepare(
        &self,
        around: &Surroundings,
        registered: RegisteredProjection,
        is_active: bool,
        outlets: Option<Arc<Outlets>>,
    ) -> Result<Prepared, OpenProjectionError> {
        let all: Vec<_> = (0..around.feed.partitions()).map(PartitionId).collect();
        let (feed, clock) = (Arc::clone(&around.feed), Arc::clone(&around.clock));
        let board = ProgressBoard::of_version(P::NAME, P::VERSION, feed, clock);
        board.set_active(is_active);
        if let Some(outlets) = &outlets {
            board.set_outlet(outlets.of_version(registered.id));
        }
        let share = self.config.rebuild_share_percent;
        board.set_pacer(Arc::new(Pacer::new(share, around.processors)));
        let tables = self.projection.tables();
        let hot = tables.hot();
        let groups = match P::ROWS {
            Rows::Global | Rows::ByKey => vec![all],
            Rows::ByPartition => all.into_iter().map(|one| vec![one]).collect(),
        };
        let open_reads = Arc::new(OnceLock::new());
        let (owners, processors) = (self.config.owners, around.processors);
        let owners = Owners::of::<P>(owners, processors)?;
        let stages = groups
            .iter()
            .map(|group| {
                let reads = Arc::clone(&open_reads);
                self.stage(around, (&registered, reads), &owners, group, &hot, &board)
            })
            .collect();
        let readers = tables
            .readers(&registered.tables, &around.store, &hot, &board)
            .ok_or(OpenProjectionError::Tables)?;
        Ok(Prepared {
            name: P::NAME,
            category: P::CATEGORY,
            stages,
            board,
            registered,
            readers,
            told: self.told(around),
            reads: self.projection.reads(),
            open_reads,
            outlets,
        })
    }
}
