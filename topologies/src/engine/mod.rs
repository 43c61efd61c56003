//! An engine: a topology at work on a data folder.
//!
//! Place: what users hold. [`Engine::open`] starts the log's writer, a partition stage per partition, the
//! projections and the dataflows; callers send commands, append events, query tables and subscribe through it.
//! A data folder holds `log/`, which is the truth, and `state/`, which can be deleted.
//! Threads: callers anywhere; stages on the tokio runtime that opened it; one thread writes the log, one
//! the state. Shutdown: [`Engine::shutdown`] stops the dataflows first, which may append, then what takes
//! commands, then the log's writer, then the projections once they have applied all of it; everyone who waits is answered.

pub(crate) mod aggregates;
pub(crate) mod asking;
mod builder;
pub(crate) mod checkpoint_requests;
mod config;
mod dataflows;
mod dead_letters;
mod derived;
mod effects;
mod error;
mod left_behind;
mod merge;
mod monitor;
mod pace;
mod past;
pub(crate) mod projections;
mod query;
mod read;
pub(crate) mod reads;
mod rebuild;
pub(crate) mod requests;
mod said;
mod sending;
mod shutdown;
mod signals;
#[cfg(feature = "sql")]
mod sql;
mod start;
mod state_memory;
mod table_at;
mod tokens;
mod under_way;
pub(crate) mod verify;
pub(crate) mod version_requests;
mod versions;
mod watchdog;

pub use builder::EngineBuilder;
pub use config::{EngineConfig, LogConfig, StallPolicy, WatchdogConfig};
pub use dead_letters::{DeadLetters, DecideError};
pub use error::{OpenError, ShutdownError};
pub use merge::read_all;
pub use query::{ProjectionVersion, SnapshotQuery};
pub use read::{ReadEventsError, StoredEvent, read_partition, read_stream};
pub use rebuild::{PartitionProgress, Rebuild, RebuildError, VersionProgress};
pub use sending::ProjectedError;
pub use shutdown::StuckPartition;
pub(crate) use signals::signal;
pub use table_at::{RowAt, TableAtError, TableAtQuery};
pub use verify::VerifyError;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_engine::event::{Offset, PartitionId, Token, TokenSeal};
use millstream_engine::log::{
    EmbeddedReader, Feed, LogError, LogReader, StreamReader, Subscription, SubscriptionLimits,
};
use millstream_engine::partition::{Appender, PartitionShared};
use millstream_engine::state::{StateStore, StateWriterHandle};
use millstream_engine::time::{Clock, SystemClock};
use millstream_operators::projection::{AnyReader, DECISIONS};

/// A running engine. Clones mean the same one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    folder: PathBuf,
    config: EngineConfig,
    clock: Arc<dyn Clock>,
    reader: EmbeddedReader,
    feed: Arc<Feed>,
    store: StateStore,
    partitions: Vec<Arc<PartitionShared>>,
    appender: Appender,
    /// Handles by aggregate type.
    handles: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// Readers of the tables of dataflows, by name.
    tables: HashMap<&'static str, Arc<dyn AnyReader>>,
    /// Projections with their tables.
    versions: Vec<Arc<versions::Versions>>,
    /// Place in `versions` of the projection that has a table.
    owners: HashMap<&'static str, usize>,
    state: StateWriterHandle,
    inputs: dataflows::Inputs,
    seal: TokenSeal,
    running: shutdown::Running,
    /// The runtime that its stages run on: it may be dropped on any thread.
    runtime: tokio::runtime::Handle,
}

impl Inner {
    /// The projection that has a table, in any of its versions.
    fn owner(&self, table: &str) -> Option<&Arc<versions::Versions>> {
        let at = self.owners.get(table)?;
        self.versions.get(*at)
    }
}

impl Engine {
    /// Begins to open the data folder `folder`, which is made if it is not there.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::catalog::bank::{Account, AccountCommand, BALANCES, Balances, Cents, Channel};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let topology = Topology::named("bank")
    ///     .aggregate::<Account>()
    ///     .projection(Balances)
    ///     .build()?;
    /// let engine = Engine::open(folder.path()).run(topology).await?;
    ///
    /// let open = AccountCommand::Open { overdraft_limit: Cents::ZERO };
    /// engine.send::<Account>("42", open).await?;
    /// let amount = Cents::new(100_00);
    /// let deposit = AccountCommand::Deposit { amount, channel: Channel::Cash, reference: 1 };
    /// let ack = engine.send::<Account>("42", deposit).await?;
    ///
    /// let balance = engine.query(&BALANCES).at_least(&ack.token()).get("42").await?;
    /// assert_eq!(balance, Some(amount));
    /// engine.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(folder: impl AsRef<Path>) -> EngineBuilder {
        EngineBuilder {
            folder: folder.as_ref().to_path_buf(),
            config: EngineConfig::default(),
            clock: Arc::new(SystemClock::new()),
            token_key: None,
        }
    }

    /// Name of the topology.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Its limits.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// Number of partitions of its store.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.inner.reader.partitions()
    }

    /// Appends events to streams of categories that no aggregate owns.
    #[must_use]
    pub fn appender(&self) -> Appender {
        self.inner.appender.clone().refusing(&[DECISIONS])
    }

    /// All that is durable now.
    #[must_use]
    pub fn durable(&self) -> Token {
        let mut token = Token::default();
        for partition in (0..self.partitions()).map(PartitionId) {
            let next = self.inner.feed.durable(partition);
            if let Some(last) = next.0.checked_sub(1) {
                token.observe(millstream_engine::event::Position {
                    partition,
                    offset: Offset(last),
                });
            }
        }
        token
    }

    /// Committed events of all partitions, from behind `after` on, live.
    ///
    /// # Errors
    /// As [`Subscription::new`].
    pub fn subscribe(&self, after: &Token) -> Result<Subscription, LogError> {
        let mut from: Vec<_> = (0..self.partitions())
            .map(|partition| (PartitionId(partition), Offset(0)))
            .collect();
        for position in after.positions() {
            if let Some(place) = from.get_mut(usize::from(position.partition.0)) {
                place.1 = position.offset.plus(1);
            }
        }
        self.subscribe_from(&from, SubscriptionLimits::default())
    }

    /// Committed events of some partitions, each from an offset (inclusive) on, live.
    ///
    /// # Errors
    /// As [`Subscription::new`].
    pub fn subscribe_from(
        &self,
        from: &[(PartitionId, Offset)],
        limits: SubscriptionLimits,
    ) -> Result<Subscription, LogError> {
        let reader: Arc<dyn LogReader> = Arc::new(self.inner.reader.clone());
        let clock = Arc::clone(&self.inner.clock);
        Subscription::new(&self.inner.feed, &reader, from, limits, clock)
    }

    /// The log, for reading.
    #[must_use]
    pub fn log(&self) -> &EmbeddedReader {
        &self.inner.reader
    }

    /// The derived state, for reading.
    #[must_use]
    pub fn state(&self) -> &StateStore {
        &self.inner.store
    }

    fn streams(&self) -> &dyn StreamReader {
        &self.inner.reader
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.inner.name)
            .field("folder", &self.inner.folder)
            .finish_non_exhaustive()
    }
}
