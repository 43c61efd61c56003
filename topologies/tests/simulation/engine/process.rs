//! One life of the engine's process: everything that [`Engine::open`](millstream::Engine) starts, without its threads.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use millstream::dataflow::{Driver, FlowOptions};
use millstream::prelude::*;
use millstream_engine::codec::EventReader;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::flow::Resources;
use millstream_engine::log::frame::SHAPES;
use millstream_engine::log::{
    EmbeddedLog, EmbeddedReader, EmbeddedStore, Feed, GroupWriter, LogReader, LogWriter,
    SteppedLogWriter, StreamReader, Subscription,
};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::partition::{
    AppendRequest, Appends, OpenPartitionError, PartitionConfig, PartitionCore, PartitionInput,
    PartitionParts, PartitionShared,
};
use millstream_engine::stage::StageCore;
use millstream_engine::state::{
    self, DeadLetter, StateOptions, StateStore, StateWriterHandle, SteppedStateWriter,
};
use millstream_engine::store::SimulatedDisk;
use millstream_engine::time::{Clock, ManualClock};
use millstream_operators::aggregate::{
    AggregateHandle, CommandItem, CommandLane, Host, SnapshotStore,
};
use millstream_operators::failing::ItemLetters;
use millstream_operators::projection::{
    AnyReader, DECISIONS, OpenProjectionError, ProgressBoard, ProjectionConfig, ProjectionCore,
    ProjectionParts, Row, TableKey, TableReader, TableSet, register,
};
use millstream_operators::source::LogAccess;
use uuid::Uuid;

use super::actor::Actor;
use super::topology::{
    Account, AccountEvent, BALANCES, BalanceRow, Balances, TOTALS, Totals, Trouble, dataflow,
};

/// The two disks, which outlive the process.
#[derive(Clone, Default, Debug)]
pub(crate) struct Disks {
    pub(crate) log: SimulatedDisk,
    pub(crate) state: SimulatedDisk,
}

/// What may differ between two lives.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) partitions: u16,
    pub(crate) partition: PartitionConfig,
    pub(crate) aggregate: AggregateConfig,
    pub(crate) projection: ProjectionConfig,
    pub(crate) state: StateOptions,
    pub(crate) flow: FlowOptions,
}

pub(crate) struct Process {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) log_writer: SteppedLogWriter<EmbeddedStore>,
    pub(crate) state_writer: SteppedStateWriter,
    pub(crate) state: StateWriterHandle,
    pub(crate) reader: EmbeddedReader,
    pub(crate) feed: Arc<Feed>,
    pub(crate) store: StateStore,
    pub(crate) accounts: AggregateHandle<Account>,
    pub(crate) appender: Appender,
    pub(crate) letters: ItemLetters,
    pub(crate) partitions: Vec<Actor>,
    pub(crate) projections: Vec<Actor>,
    pub(crate) balances: TableReader<String, BalanceRow>,
    pub(crate) totals: TableReader<u64, i64>,
    pub(crate) driver: Driver,
}

thread_local! {
    /// Of the last frame whose events got ids.
    static FRAMES: std::cell::Cell<u128> = const { std::cell::Cell::new(0) };
}

/// Ids that are the same for a seed.
fn ids(_now: Timestamp) -> Uuid {
    FRAMES.set(FRAMES.get() + 1);
    Uuid::from_u128(FRAMES.get() << 64)
}

/// Forgets which ids were given.
pub(crate) fn begin_ids() {
    FRAMES.set(0);
}

/// What the stages share.
struct Surroundings {
    feed: Arc<Feed>,
    streams: Arc<dyn StreamReader>,
    store: StateStore,
    state: StateWriterHandle,
    clock: Arc<ManualClock>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Process {
    /// Opens everything, as far as the disks let it.
    pub(crate) fn open(
        disks: &Disks,
        shape: &Shape,
        now: Timestamp,
        trouble: &Trouble,
        seed: u64,
    ) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::new(now));
        let shared_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let opened = EmbeddedLog::open_simulated(&disks.log, shape.partitions).map_err(text)?;
        let EmbeddedLog { store, reader } = opened;
        let feed = Arc::new(Feed::new(&reader).map_err(text)?);
        let group_writer = GroupWriter::new(store, Arc::clone(&feed), Arc::clone(&shared_clock));
        let places =
            (shape.partition.frames_in_flight_max as usize + 1) * usize::from(shape.partitions);
        let (writer, log_writer) = LogWriter::stepped(group_writer, places);
        let (store, state) =
            StateStore::open_simulated(&disks.state, shape.state.clone()).map_err(text)?;
        let (state, state_writer) = state::stepped(state);
        let streams: Arc<dyn StreamReader> = Arc::new(reader.clone());
        let around = Surroundings {
            feed: Arc::clone(&feed),
            streams: Arc::clone(&streams),
            store: store.clone(),
            state: state.clone(),
            clock: Arc::clone(&clock),
        };
        let (balance_actors, balances) =
            start_projection(Balances(trouble.clone()), shape, &around)?;
        let (total_actors, totals) = start_projection(Totals, shape, &around)?;
        let write_side = WriteSide::start(shape, &around, &writer)?;
        let letters = ItemLetters::new(Arc::clone(&streams));
        let categories = HashMap::from([(
            TypeId::of::<AccountEvent>(),
            vec![Account::CATEGORY.to_owned()],
        )]);
        let resources = {
            let log = LogAccess::new(Arc::clone(&feed), Arc::clone(&streams));
            let log = log.with_categories(categories);
            let (appender, letters) = (write_side.appender.clone(), letters.clone());
            let appender = appender.refusing(&[DECISIONS]);
            move || {
                Resources::new()
                    .with(log.clone())
                    .with(appender.clone())
                    .with(letters.clone())
            }
        };
        let flow = dataflow(shape.flow.clone(), trouble);
        let own_clock = Arc::clone(&clock);
        let state_side = (store.clone(), state.clone());
        let driver = Driver::over_state(&flow, seed, own_clock, resources, state_side);
        Ok(Self {
            clock,
            log_writer,
            state_writer,
            state,
            reader,
            feed,
            store,
            accounts: write_side.accounts,
            appender: write_side.appender,
            letters,
            partitions: write_side.actors,
            projections: balance_actors.into_iter().chain(total_actors).collect(),
            balances: reader_of(balances, BALANCES.name()),
            totals: reader_of(totals, TOTALS.name()),
            driver: driver.map_err(text)?,
        })
    }

    /// Committed events from these offsets on.
    pub(crate) fn subscribe(&self, from: &[(PartitionId, Offset)]) -> Subscription {
        let reader: Arc<dyn LogReader> = Arc::new(self.reader.clone());
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let limits = MailboxLimits {
            items_max: const { std::num::NonZeroU32::new(2).unwrap() },
            ..MailboxLimits::default()
        };
        Subscription::new(&self.feed, &reader, from, limits, clock).unwrap()
    }

    /// The event that a letter of a projection is about.
    pub(crate) fn event_of(&self, letter: &DeadLetter) -> Option<AccountEvent> {
        let position = letter.position;
        let found = self.reader.frame_at(position.partition, position.offset);
        let frame = found.unwrap()?;
        let mut events = EventReader::<AccountEvent>::new();
        let shapes = frame.attachment(SHAPES).unwrap_or_default();
        events.begin_frame(shapes).unwrap();
        let slot = position.offset.0 - frame.header().first.0;
        let record = frame.records_from(slot as u32).next()?;
        Some(events.decode(record.kind, record.payload).unwrap())
    }

    pub(crate) fn heads(&self) -> Vec<Offset> {
        let partitions = (0..self.reader.partitions()).map(PartitionId);
        partitions
            .map(|partition| self.reader.head(partition).unwrap().next)
            .collect()
    }
}

type Readers = Vec<(&'static str, Arc<dyn AnyReader>)>;

fn reader_of<K: TableKey, R: Row>(readers: Readers, table: &str) -> TableReader<K, R> {
    let found = readers.into_iter().find(|(name, _)| *name == table);
    let found = found.unwrap().1;
    let reader = found.as_any().downcast_ref::<TableReader<K, R>>();
    reader.unwrap().clone()
}

fn start_projection<P: Projection>(
    projection: P,
    shape: &Shape,
    around: &Surroundings,
) -> Result<(Vec<Actor>, Readers), String> {
    let Surroundings { store, state, .. } = around;
    let registered = register(&projection, store, state, &*around.streams).map_err(text)?;
    let board = ProgressBoard::new(P::NAME, shape.partitions);
    let tables = projection.tables();
    let hot = tables.hot();
    let all: Vec<_> = (0..shape.partitions).map(PartitionId).collect();
    let groups = match P::ROWS {
        Rows::ByKey | Rows::Global => vec![all],
        Rows::ByPartition => all.into_iter().map(|one| vec![one]).collect(),
    };
    let readers = tables.readers(&registered.tables, store, &hot, &board);
    let projection = Arc::new(projection);
    let mut actors = Vec::new();
    for partitions in groups {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&around.clock);
        let limits = MailboxLimits {
            items_max: const { std::num::NonZeroU32::new(3).unwrap() },
            ..MailboxLimits::default()
        };
        let mailbox = Mailbox::new(limits, Arc::clone(&clock));
        let storing = Arc::new(AtomicBool::new(false));
        let factory = {
            let (projection, registered) = (Arc::clone(&projection), registered.clone());
            let (config, mailbox) = (shape.projection.clone(), Arc::clone(&mailbox));
            let (feed, streams) = (Arc::clone(&around.feed), Arc::clone(&around.streams));
            let (store, state) = (around.store.clone(), around.state.clone());
            let (hot, board) = (hot.clone(), Arc::clone(&board));
            move || {
                let core = ProjectionCore::<P>::open(ProjectionParts {
                    projection: Arc::clone(&projection),
                    reads: Default::default(),
                    owners: Default::default(),
                    registered: registered.clone(),
                    config: config.clone(),
                    partitions: partitions.clone(),
                    mailbox: Arc::clone(&mailbox),
                    feed: Arc::clone(&feed),
                    streams: Arc::clone(&streams),
                    store: store.clone(),
                    writer: state.clone(),
                    hot: hot.clone(),
                    board: Arc::clone(&board),
                    clock: Arc::clone(&clock),
                    storing: Arc::clone(&storing),
                });
                match core {
                    Ok(core) => Ok(Some(Box::new(core) as Box<dyn StageCore>)),
                    Err(OpenProjectionError::InFlight) => Ok(None),
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        actors.push(Actor::new(P::NAME, mailbox, Box::new(factory))?);
    }
    Ok((actors, readers.unwrap()))
}

struct WriteSide {
    actors: Vec<Actor>,
    accounts: AggregateHandle<Account>,
    appender: Appender,
}

impl WriteSide {
    fn start(shape: &Shape, around: &Surroundings, writer: &LogWriter) -> Result<Self, String> {
        let (mut actors, mut command_lanes, mut append_lanes) =
            (Vec::new(), Vec::new(), Vec::new());
        for partition in (0..shape.partitions).map(PartitionId) {
            let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&around.clock);
            let mailbox = Mailbox::new(shape.partition.mailbox, Arc::clone(&clock));
            let (append_sender, appends) = mailbox.lane::<AppendRequest>();
            let (sender, commands) = mailbox.lane::<CommandItem<Account>>();
            let extra = Arc::new(AtomicUsize::new(0));
            append_lanes.push(append_sender);
            command_lanes.push(CommandLane {
                sender,
                extra: Arc::clone(&extra),
            });
            let snapshots = SnapshotStore {
                store: around.store.clone(),
                writer: around.state.clone(),
            };
            let owned: Arc<[String]> = Arc::new([Account::CATEGORY.to_owned()]);
            let aggregate = shape.aggregate.clone();
            let inputs = move || {
                let host = Host::<Account>::new(
                    partition,
                    aggregate.clone(),
                    commands.clone(),
                    Arc::clone(&extra),
                    Some(snapshots.clone()),
                );
                let appends = Appends::new(appends.clone(), Arc::clone(&owned));
                let inputs: Vec<Box<dyn PartitionInput>> = vec![Box::new(appends), Box::new(host)];
                inputs
            };
            let shared = Arc::new(PartitionShared::default());
            let (config, writer) = (shape.partition.clone(), writer.clone());
            let (streams, own) = (Arc::clone(&around.streams), Arc::clone(&mailbox));
            let stamps = Arc::clone(around.feed.stamps());
            let factory = move || {
                let core = PartitionCore::open(PartitionParts {
                    partition,
                    config: config.clone(),
                    mailbox: Arc::clone(&own),
                    inputs: inputs(),
                    writer: writer.clone(),
                    streams: Arc::clone(&streams),
                    clock: Arc::clone(&clock),
                    ids,
                    stamps: Arc::clone(&stamps),
                    shared: Arc::clone(&shared),
                });
                match core {
                    Ok(core) => Ok(Some(Box::new(core) as Box<dyn StageCore>)),
                    Err(OpenPartitionError::InFlight { .. }) => Ok(None),
                    Err(error) => Err(error.to_string()),
                }
            };
            actors.push(Actor::new("partition", mailbox, Box::new(factory))?);
        }
        Ok(Self {
            actors,
            accounts: AggregateHandle::new(command_lanes, Arc::clone(&around.streams)),
            appender: Appender::new(append_lanes),
        })
    }
}
