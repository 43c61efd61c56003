//! The load that suites share: the bank's accounts, and tellers that pay in and take out.

mod tellers;

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use compact_str::{CompactString, ToCompactString};
use millstream::catalog::bank::{Account, AccountCommand, AccountEvent, BALANCES, Balances, Cents};
use millstream::{Engine, EngineConfig, Topology};
use millstream_engine::event::PartitionId;
use millstream_operators::aggregate::{Aggregate, BulkCommand, CommandOptions};
use millstream_operators::projection::{ProjectedEvent, Projection, Rows, Table, TableMut};

use crate::{DataFolder, Harness};

pub use tellers::{Pace, Teller, Tellers};

/// Commands that open accounts and travel together.
const OPENING_BULK: usize = 8_192;
/// Commands of one bulk while a log is filled.
const FILLING_BULK: usize = 2_048;
/// Bulks in flight then.
const FILLING_TELLERS: u64 = 16;
/// No load reaches it, so that no withdrawal is refused.
const OVERDRAFT_LIMIT: Cents = Cents::new(1 << 40);
/// Longest wait for a projection.
const PROJECTED: std::time::Duration = std::time::Duration::from_secs(600);

/// [`Balances`], but for all partitions together: with global rows, or with `BY_KEY` with rows that are routed by key.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharedBalances<const BY_KEY: bool>;

/// Kept by one actor.
pub type GlobalBalances = SharedBalances<false>;
/// Kept by the owners of its keys.
pub type RoutedBalances = SharedBalances<true>;

impl<const BY_KEY: bool> SharedBalances<BY_KEY> {
    /// Balance by account id.
    pub const TABLE: Table<CompactString, Cents> = Table::named(Self::NAME);
}

impl<const BY_KEY: bool> Projection for SharedBalances<BY_KEY> {
    const NAME: &'static str = if BY_KEY {
        "routed-balances"
    } else {
        "global-balances"
    };
    const VERSION: u32 = 1;
    const ROWS: Rows = if BY_KEY { Rows::ByKey } else { Rows::Global };
    const CATEGORY: &'static str = Account::CATEGORY;
    type Event = AccountEvent;
    type Tables = (Table<CompactString, Cents>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (Self::TABLE,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, AccountEvent>,
        tables: &mut (TableMut<CompactString, Cents>,),
    ) -> Result<(), Infallible> {
        Balances.project(event, tables)
    }
}

/// What reads along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadSide {
    /// Nothing.
    None,
    /// [`Balances`], an actor per partition.
    Balances,
    /// [`GlobalBalances`], one actor.
    Global,
    /// [`RoutedBalances`], one actor with an owner of rows per core.
    Routed,
}

/// A bank at work.
#[derive(Debug)]
pub struct Bank {
    engine: Engine,
    ids: Arc<[CompactString]>,
    reads: ReadSide,
}

impl Bank {
    /// Opens the bank in a folder.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn open(
        harness: &Harness,
        folder: &DataFolder,
        keys: u64,
        reads: ReadSide,
    ) -> Result<Self> {
        let config = EngineConfig {
            partitions: harness.options().partitions,
            ..EngineConfig::default()
        };
        Self::open_with(folder, config, keys, reads).await
    }

    /// Opens the bank in a folder, with limits.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn open_with(
        folder: &DataFolder,
        config: EngineConfig,
        keys: u64,
        reads: ReadSide,
    ) -> Result<Self> {
        let topology = Topology::named("bank").aggregate::<Account>();
        let topology = match reads {
            ReadSide::None => topology,
            ReadSide::Balances => topology.projection(Balances),
            ReadSide::Global => topology.projection(SharedBalances::<false>),
            ReadSide::Routed => topology.projection(SharedBalances::<true>),
        };
        let engine = Engine::open(folder.path())
            .config(config)
            .run(topology.build()?)
            .await?;
        let ids = (0..keys).map(|key| key.to_compact_string()).collect();
        Ok(Self { engine, ids, reads })
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Ids of its accounts.
    #[must_use]
    pub fn ids(&self) -> &Arc<[CompactString]> {
        &self.ids
    }

    /// The same bank for its first `count` accounts alone.
    #[must_use]
    pub fn first(&self, count: u64) -> Self {
        let end = (count as usize).min(self.ids.len());
        self.part(&self.ids[..end])
    }

    /// The same bank for the other accounts.
    #[must_use]
    pub fn rest(&self, count: u64) -> Self {
        let from = (count as usize).min(self.ids.len());
        self.part(&self.ids[from..])
    }

    fn part(&self, ids: &[CompactString]) -> Self {
        Self {
            engine: self.engine.clone(),
            ids: ids.into(),
            reads: self.reads,
        }
    }

    /// Opens all accounts, a bulk at a time.
    ///
    /// # Errors
    /// When a command is not accepted.
    pub async fn open_accounts(&self) -> Result<()> {
        let handle = self.engine.aggregate::<Account>();
        for ids in self.ids.chunks(OPENING_BULK) {
            let bulk = ids.iter().map(|id| BulkCommand {
                id: id.clone(),
                command: AccountCommand::Open {
                    overdraft_limit: OVERDRAFT_LIMIT,
                },
                options: CommandOptions::default(),
            });
            for answer in handle.send_bulk(bulk.collect()).await {
                answer.context("opening an account")?;
            }
        }
        Ok(())
    }

    /// Sends so many commands in bulks, several at a time, and gives what they added to the balances.
    ///
    /// # Errors
    /// When a command is not accepted.
    pub async fn fill(&self, commands: u64) -> Result<i64> {
        let tellers = self.tellers();
        let per_teller = commands / FILLING_TELLERS;
        let tasks: Vec<_> = (0..FILLING_TELLERS)
            .map(|number| {
                let mut teller = tellers.teller(number, Pace::Bulk(FILLING_BULK));
                let rest = if number == 0 {
                    commands % FILLING_TELLERS
                } else {
                    0
                };
                let mut left = (per_teller + rest) as usize;
                tokio::spawn(async move {
                    while left > 0 {
                        let size = left.min(FILLING_BULK);
                        teller.bulk(size).await?;
                        left -= size;
                    }
                    anyhow::Ok(teller.paid())
                })
            })
            .collect();
        let mut paid = 0;
        for task in tasks {
            paid += task.await.context("a teller panicked")??;
        }
        Ok(paid)
    }

    /// Where tellers come from, also after the bank was moved.
    #[must_use]
    pub fn tellers(&self) -> Tellers {
        Tellers {
            handle: self.engine.aggregate(),
            ids: Arc::clone(&self.ids),
        }
    }

    /// Events that are durable.
    #[must_use]
    pub fn events(&self) -> u64 {
        let log = self.engine.durable();
        log.positions().iter().map(|last| last.offset.0 + 1).sum()
    }

    /// Waits until the read side has seen everything.
    ///
    /// # Errors
    /// When it does not come that far.
    pub async fn settle(&self) -> Result<()> {
        let durable = self.engine.durable();
        Ok(self.engine.projected(&durable, PROJECTED).await?)
    }

    /// Checks the log and the read side: so many events, and balances that add up to `sum`.
    ///
    /// # Errors
    /// When they do not.
    pub async fn check(&self, events: u64, sum: i64) -> Result<()> {
        let found = self.events();
        ensure!(found == events, "{found} events in the log, not {events}");
        let table = match self.reads {
            ReadSide::None => return Ok(()),
            ReadSide::Balances => &BALANCES,
            ReadSide::Global => &GlobalBalances::TABLE,
            ReadSide::Routed => &RoutedBalances::TABLE,
        };
        self.settle().await?;
        let mut total = 0;
        let reader = self.engine.table(table)?;
        reader.for_each(|_, balance: Cents| total += balance.hundredths())?;
        ensure!(total == sum, "balances add up to {total}, not to {sum}");
        Ok(())
    }

    /// Closes it in order.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn close(self) -> Result<()> {
        Ok(self.engine.shutdown().await?)
    }

    /// The partitions of its store.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.engine.partitions()).map(PartitionId)
    }
}
