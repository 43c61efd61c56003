//! A version of a projection, registered and at work.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use millstream_engine::event::PartitionId;
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::state::RegisteredProjection;
use millstream_operators::projection::{
    AnyReader, OpenReads, Owners, ProgressBoard, Projection, ProjectionConfig, ProjectionCore,
    ProjectionParts, Row, Rows, Table, TableKey, TableReader, TableSet,
};

use super::{Log, State};

type Readers = Vec<(&'static str, Arc<dyn AnyReader>)>;

/// A projection in a process: what is there for longer than its actors are.
pub(crate) struct Declared<P: Projection> {
    pub(crate) projection: Arc<P>,
    pub(crate) registered: RegisteredProjection,
    hot: Vec<Arc<dyn Any + Send + Sync>>,
    /// By actor.
    storing: Vec<Arc<AtomicBool>>,
}

/// With what its actors are opened.
pub(crate) struct Opening<'o> {
    pub(crate) board: Arc<ProgressBoard>,
    pub(crate) config: &'o ProjectionConfig,
    pub(crate) reads: OpenReads,
    pub(crate) owners: Owners,
}

/// Its actors, and what others see of it.
pub(crate) struct Running<P: Projection> {
    pub(crate) cores: Vec<ProjectionCore<P>>,
    /// Where they are woken.
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) readers: Readers,
    pub(crate) board: Arc<ProgressBoard>,
}

impl<P: Projection> Declared<P> {
    pub(crate) fn new(projection: P, state: &State) -> Self {
        let tables = projection.tables();
        let names = tables.stored_names();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let registered = state
            .writer
            .register_projection(P::NAME, P::VERSION, &names);
        Self {
            registered: registered.unwrap(),
            hot: tables.hot(),
            storing: Vec::new(),
            projection: Arc::new(projection),
        }
    }

    /// Opens its actors from what is stored: one for all partitions, or one for each, as it says.
    pub(crate) fn open(&mut self, log: &Log, state: &State, opening: Opening<'_>) -> Running<P> {
        let readers = self.readers(state, &self.hot, &opening.board);
        let all: Vec<_> = log.partitions().collect();
        let groups: Vec<Vec<_>> = match P::ROWS {
            Rows::ByKey | Rows::Global => vec![all],
            Rows::ByPartition => all.into_iter().map(|one| vec![one]).collect(),
        };
        self.storing.resize_with(groups.len(), Arc::default);
        let actors = groups.into_iter().zip(&self.storing);
        let parts = actors.map(|actor| self.parts(log, state, &opening, actor));
        let opened = parts.map(|parts| {
            let mailbox = Arc::clone(&parts.mailbox);
            (ProjectionCore::open(parts).unwrap(), mailbox)
        });
        let (cores, mailboxes) = opened.unzip();
        Running {
            cores,
            mailboxes,
            readers,
            board: opening.board,
        }
    }

    fn parts(
        &self,
        log: &Log,
        state: &State,
        opening: &Opening<'_>,
        (partitions, storing): (Vec<PartitionId>, &Arc<AtomicBool>),
    ) -> ProjectionParts<P> {
        ProjectionParts {
            projection: Arc::clone(&self.projection),
            registered: self.registered.clone(),
            config: opening.config.clone(),
            partitions,
            mailbox: Mailbox::new(MailboxLimits::default(), log.clock()),
            feed: Arc::clone(&log.feed),
            streams: Arc::clone(&log.streams),
            store: state.store.clone(),
            writer: state.writer.clone(),
            hot: self.hot.clone(),
            board: Arc::clone(&opening.board),
            clock: log.clock(),
            reads: opening.reads.clone(),
            owners: opening.owners.clone(),
            storing: Arc::clone(storing),
        }
    }

    fn readers(
        &self,
        state: &State,
        hot: &[Arc<dyn Any + Send + Sync>],
        board: &Arc<ProgressBoard>,
    ) -> Readers {
        let tables = self.projection.tables();
        let readers = tables.readers(&self.registered.tables, &state.store, hot, board);
        readers.unwrap()
    }

    /// A table, without what is shown and not stored.
    pub(crate) fn stored<K: TableKey, R: Row>(
        &self,
        log: &Log,
        state: &State,
        table: &Table<K, R>,
    ) -> TableReader<K, R> {
        let board = ProgressBoard::new(P::NAME, log.feed.partitions());
        let nothing = self.projection.tables().hot();
        reader(&self.readers(state, &nothing, &board), table)
    }
}

impl<P: Projection> Running<P> {
    /// One turn of each actor; whether one has more to do.
    ///
    /// # Errors
    /// Why one of them failed.
    pub(crate) fn step(&mut self) -> Result<bool, String> {
        let mut again = false;
        for core in &mut self.cores {
            match core.step() {
                Step::Failed(cause) => return Err(cause),
                step => again |= matches!(step, Step::Again),
            }
        }
        Ok(again)
    }

    /// A table as it is shown.
    pub(crate) fn table<K: TableKey, R: Row>(&self, table: &Table<K, R>) -> TableReader<K, R> {
        reader(&self.readers, table)
    }

    /// Whether all of the log is shown and stored.
    pub(crate) fn is_at_the_end(&self, log: &Log) -> bool {
        log.ends_at(|partition| self.board.visible(partition))
            && log.ends_at(|partition| self.board.stored(partition))
    }
}

fn reader<K: TableKey, R: Row>(
    readers: &[(&'static str, Arc<dyn AnyReader>)],
    table: &Table<K, R>,
) -> TableReader<K, R> {
    let found = readers.iter().find(|(name, _)| *name == table.name());
    let reader = found
        .unwrap()
        .1
        .as_any()
        .downcast_ref::<TableReader<K, R>>();
    reader.unwrap().clone()
}
