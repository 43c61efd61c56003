//! Changes of tables, and tables as they were: from versions of rows where a table keeps them and they reach back far
//! enough, else from a replay.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId};
use millstream_operators::past::{At, PastError};
use millstream_operators::projection::{
    Changes, ChangesError, ChangesFrom, FoundIn, PastTables, QueryError, Row, Rows, Table, TableAt,
    TableKey, TableReader,
};

use super::Engine;
use super::start::blocking;

/// How long a question waits for what it asks about to be stored unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// A whole table costs two reads of the store for each row that it ever had; a replay applies so many events meanwhile.
const EVENTS_PER_ROW: u64 = 8;

/// Replays a projection, whose type is not known.
pub(super) type Replayer = Arc<dyn Fn(At) -> Result<PastTables, PastError> + Send + Sync>;

/// What a projection that runs can tell of its past.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) rows: Rows,
    pub(crate) replay: Replayer,
}

/// Why there is no answer about a table of the past. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableAtError {
    /// The table is a dataflow's, of which nobody keeps what it was.
    #[error("table {table:?} is a dataflow's, of which nobody keeps what it was")]
    NoPast {
        /// Its name.
        table: &'static str,
    },
    /// The versions do not reach back so far, or cannot tell such a moment: ask for a replay.
    #[error(
        "the versions of table {table:?} cannot tell what it was at that moment: they are not kept that long, or it is \
         one that only a replay can tell"
    )]
    NotKept {
        /// Its name.
        table: &'static str,
    },
    /// The versions could not be read.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// The table, or its projection, is not there, or not far enough.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The moment is none of this log, or it could not be replayed.
    #[error(transparent)]
    Past(#[from] PastError),
}

/// A row as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowAt<R> {
    /// The row; `None` when there was none.
    pub row: Option<R>,
    /// What it was read from.
    pub found_in: FoundIn,
}

/// Where the answer may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Cheapest,
    Versions,
    Replay,
}

/// A question about a table as it was.
#[derive(Clone, Debug)]
pub struct TableAtQuery<K: TableKey, R: Row> {
    engine: Engine,
    table: Table<K, R>,
    at: At,
    way: Way,
    deadline: Duration,
}

impl Engine {
    /// The changes of a table's rows, from a place on and live: see [`TableReader::changes`].
    ///
    /// ```
    /// use millstream::prelude::*;
    /// # use millstream::catalog::bank::{Account, AccountCommand, AccountEvent, Cents};
    /// # struct Limits;
    /// const LIMITS: Table<String, u64> = Table::named("limits").versioned(Retention::FOREVER);
    /// # impl Projection for Limits {
    /// #     const NAME: &'static str = "limits";
    /// #     const VERSION: u32 = 1;
    /// #     const ROWS: Rows = Rows::ByPartition;
    /// #     const CATEGORY: &'static str = "account";
    /// #     type Event = AccountEvent;
    /// #     type Tables = (Table<String, u64>,);
    /// #     type Error = std::convert::Infallible;
    /// #     fn tables(&self) -> Self::Tables { (LIMITS,) }
    /// #     fn project(&self, event: &ProjectedEvent<'_, AccountEvent>, (limits,): &mut (TableMut<String, u64>,))
    /// #         -> Result<(), Self::Error> {
    /// #         limits.update(&event.id.to_owned(), |events| *events += 1);
    /// #         Ok(())
    /// #     }
    /// # }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let topology = Topology::named("bank").aggregate::<Account>().projection(Limits).build()?;
    /// # let engine = Engine::open(folder.path()).run(topology).await?;
    /// let mut changes = engine.changes(&LIMITS, ChangesFrom::Now)?;
    /// let open = AccountCommand::Open { overdraft_limit: Cents::ZERO };
    /// engine.send::<Account>("42", open).await?;
    ///
    /// let change = changes.next().await?.expect("the engine runs");
    /// assert_eq!((change.key.as_str(), change.row), ("42", Some(1)));
    /// let place = changes.cursor().to_string(); // To be stored with what was done about it.
    /// # let _ = place;
    /// # engine.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ChangesError`]; [`QueryError::UnknownTable`] in it.
    pub fn changes<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
        from: impl Into<ChangesFrom>,
    ) -> Result<Changes<K, R>, ChangesError> {
        self.table(table)?.changes(from)
    }

    /// Begins a question about a table of a projection that runs, as it was at a moment.
    #[must_use]
    pub fn table_at<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
        at: impl Into<At>,
    ) -> TableAtQuery<K, R> {
        TableAtQuery {
            engine: self.clone(),
            table: *table,
            at: at.into(),
            way: Way::Cheapest,
            deadline: DEADLINE,
        }
    }
}

impl<K: TableKey, R: Row> TableAtQuery<K, R> {
    /// From versions of rows or not at all.
    #[must_use]
    pub fn from_versions(self) -> Self {
        Self {
            way: Way::Versions,
            ..self
        }
    }

    /// From a replay, whatever is kept: what the code of today makes of the log.
    #[must_use]
    pub fn from_replay(self) -> Self {
        Self {
            way: Way::Replay,
            ..self
        }
    }

    /// Waits at most so long for the projection to have stored what is asked about; 10 seconds unless said otherwise.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// One row. Cost: from versions about log2(changes kept) reads of the store per partition; else a whole replay.
    ///
    /// # Errors
    /// [`TableAtError`].
    pub async fn row(self, key: impl Into<K>) -> Result<RowAt<R>, TableAtError> {
        let key = key.into();
        let table = self.find(false).await?;
        let (row, found_in) = (table.get(&key)?, table.found_in());
        Ok(RowAt { row, found_in })
    }

    /// The whole table. Cost: from versions as [`row`](Self::row), and then two reads of the store for each row that is
    /// read; else a whole replay. Where the log up to the moment is much shorter than what is kept of the table, that is
    /// cheaper.
    ///
    /// # Errors
    /// [`TableAtError`].
    pub async fn open(self) -> Result<TableAt<K, R>, TableAtError> {
        self.find(true).await
    }

    async fn find(self, is_whole: bool) -> Result<TableAt<K, R>, TableAtError> {
        let reader = self.engine.table(&self.table)?;
        let told = self.told(&reader)?.clone();
        let ends = self.ends()?;
        let versions = match self.way {
            Way::Replay => None,
            Way::Versions | Way::Cheapest => self.versions(&reader, told.rows, &ends, is_whole),
        };
        if let Some(reader) = versions {
            reader.board().until_stored(&ends, self.deadline).await?;
            if let Some(found) = TableAt::before(&reader, &ends)? {
                return Ok(found);
            }
        }
        if self.way == Way::Versions {
            let table = self.table.name();
            return Err(TableAtError::NotKept { table });
        }
        let at = self.at;
        let tables = blocking(move || (told.replay)(at)).await?;
        Ok(TableAt::replayed(&reader, Arc::new(tables)))
    }

    /// The reader, if versions are to be looked at.
    fn versions(
        &self,
        reader: &TableReader<K, R>,
        rows: Rows,
        ends: &[(PartitionId, Offset)],
        is_whole: bool,
    ) -> Option<TableReader<K, R>> {
        // Versions are in the order of the log, and in the one of partitions that there was.
        let tells = rows == Rows::ByPartition && !matches!(self.at, At::EventTime(_));
        self.table.retention().filter(|_| tells)?;
        if is_whole && self.way == Way::Cheapest {
            let events: u64 = ends.iter().map(|(_, end)| end.0).sum();
            let kept = reader.changes_kept().ok()?;
            if events.saturating_mul(EVENTS_PER_ROW) < kept {
                return None;
            }
        }
        Some(reader.clone())
    }

    /// What the version tells that the reader is of: another one may answer by now.
    fn told(&self, reader: &TableReader<K, R>) -> Result<&Told, TableAtError> {
        let table = self.table.name();
        let versions = self.engine.inner.owner(table);
        let versions = versions.ok_or(TableAtError::NoPast { table })?;
        let mut all = versions.started().iter();
        let own = all.find(|version| Arc::ptr_eq(&version.board, reader.board()));
        Ok(&own.ok_or(TableAtError::NoPast { table })?.told)
    }

    /// The offset of each partition from which on no event counts.
    fn ends(&self) -> Result<Vec<(PartitionId, Offset)>, TableAtError> {
        if matches!(self.at, At::Version(_)) {
            return Err(PastError::NotOneStream.into());
        }
        let partitions = (0..self.engine.partitions()).map(PartitionId);
        let ends = partitions.map(|partition| {
            let cut = self.at.cut(self.engine.log(), partition)?;
            Ok((partition, cut.end()))
        });
        Ok(ends.collect::<Result<_, PastError>>()?)
    }
}
