//! The read side of a table: hot rows from a shared map, cold ones from the store.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use millstream_engine::codec::StandaloneReader;
use millstream_engine::event::Token;
use millstream_engine::state::{StateStore, TableId};

use super::{ParkedStream, ProgressBoard, QueryError, Row, TableKey};

/// How long a query waits for its token unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// Stored rows that one read transaction of a scan looks at.
const SCAN_ROWS: usize = 1_024;

/// Rows that many threads read without asking the projection's actor. `None` is a row that is gone, while
/// the store may still have it.
#[derive(Debug)]
pub struct HotRows<K: Eq + std::hash::Hash, R> {
    rows: DashMap<K, Option<R>, foldhash::fast::RandomState>,
}

impl<K: TableKey, R> Default for HotRows<K, R> {
    fn default() -> Self {
        Self {
            rows: DashMap::default(),
        }
    }
}

impl<K: TableKey, R: Row> HotRows<K, R> {
    pub(super) fn set(&self, key: K, row: Option<R>) {
        self.rows.insert(key, row);
    }

    /// A row that is here.
    pub(super) fn get(&self, key: &K) -> Option<R> {
        self.rows.get(key).and_then(|row| row.clone())
    }

    /// All rows that are here, in no order.
    pub(super) fn all(&self) -> Vec<(K, R)> {
        let rows = self.rows.iter();
        rows.filter_map(|entry| Some((entry.key().clone(), entry.value().clone()?)))
            .collect()
    }

    /// Leaves all rows to the store.
    pub(crate) fn forget_all(&self) {
        self.rows.clear();
    }

    /// Leaves a row to the store.
    pub(super) fn forget(&self, key: &K) {
        self.rows.remove(key);
    }
}

/// Answers queries on one table, from any thread. Cheap to clone.
pub struct TableReader<K: TableKey, R: Row> {
    /// Shared: a table that is made anew has another one.
    id: Arc<AtomicU32>,
    store: StateStore,
    hot: Arc<HotRows<K, R>>,
    board: Arc<ProgressBoard>,
}

impl<K: TableKey, R: Row> Clone for TableReader<K, R> {
    fn clone(&self) -> Self {
        Self {
            id: Arc::clone(&self.id),
            store: self.store.clone(),
            hot: Arc::clone(&self.hot),
            board: Arc::clone(&self.board),
        }
    }
}

impl<K: TableKey, R: Row> std::fmt::Debug for TableReader<K, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableReader")
            .field("id", &self.id())
            .field("projection", &self.board.projection())
            .finish_non_exhaustive()
    }
}

impl<K: TableKey, R: Row> TableReader<K, R> {
    /// A reader of table `id`.
    #[must_use]
    pub fn new(
        id: TableId,
        store: StateStore,
        hot: Arc<HotRows<K, R>>,
        board: Arc<ProgressBoard>,
    ) -> Self {
        Self {
            id: Arc::new(AtomicU32::new(id.0)),
            store,
            hot,
            board,
        }
    }

    /// The table that it reads.
    fn id(&self) -> TableId {
        TableId(self.id.load(Ordering::Acquire))
    }

    /// Reads table `id` from now on, and so do all clones: the table was made anew.
    pub(crate) fn read_from(&self, id: TableId) {
        self.id.store(id.0, Ordering::Release);
    }

    /// How far the table's projection has come.
    #[must_use]
    pub fn board(&self) -> &Arc<ProgressBoard> {
        &self.board
    }

    /// The row under `key` as of now; `None` when there is none. Cost of a hot row: a hash lookup and a
    /// copy; of a cold one a read of the store.
    ///
    /// # Errors
    /// [`QueryError::State`], [`QueryError::Row`]; never for a hot row.
    pub fn get(&self, key: &K) -> Result<Option<R>, QueryError> {
        if let Some(hot) = self.hot.rows.get(key) {
            return Ok(hot.clone());
        }
        let mut bytes = Vec::new();
        key.write(&mut bytes);
        match self.store.get(self.id(), &bytes)? {
            Some(value) => Ok(Some(StandaloneReader::new().decode(&value)?)),
            None => Ok(None),
        }
    }

    /// Whether the stream with this id (without the category, such as `42` of `account-42`) is parked now, and by
    /// which dead letter: rows lack the event that failed and those of its stream that came later. `None` for the
    /// table of a dataflow, which parks nothing. Cost: a hash lookup.
    #[must_use]
    pub fn parked(&self, stream: &str) -> Option<ParkedStream> {
        self.board.parked(stream)
    }

    /// A query with a condition on how fresh its answer is.
    #[must_use]
    pub fn query(&self) -> Query<K, R> {
        Query::on(Ok(self.clone()))
    }

    /// A query that waits until all that `token` has seen is in the answer.
    #[must_use]
    pub fn at_least(&self, token: &Token) -> Query<K, R> {
        self.query().at_least(token)
    }

    /// Every row as of now, in order of key, to `with`. Rows may be of different moments: those that change
    /// meanwhile are given once, as they were before or after.
    ///
    /// Cost: reads all stored rows, and copies the hot ones to sort them in.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn for_each(&self, mut with: impl FnMut(K, R)) -> Result<(), QueryError>
    where
        K: Ord,
    {
        let hot: std::collections::BTreeMap<Vec<u8>, (K, Option<R>)> = self
            .hot
            .rows
            .iter()
            .map(|entry| {
                let mut bytes = Vec::new();
                entry.key().write(&mut bytes);
                (bytes, (entry.key().clone(), entry.value().clone()))
            })
            .collect();
        let mut hot = hot.into_iter().peekable();
        let (mut from, mut decoder) = (None::<Vec<u8>>, StandaloneReader::new());
        loop {
            let start = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let page = self.store.scan(self.id(), start, SCAN_ROWS)?;
            for (key, value) in &page {
                while let Some((_, (key, row))) = hot.next_if(|(bytes, _)| bytes < key) {
                    row.into_iter().for_each(|row| with(key.clone(), row));
                }
                if let Some((_, (key, row))) = hot.next_if(|(bytes, _)| bytes == key) {
                    row.into_iter().for_each(|row| with(key.clone(), row));
                } else if let Some(key) = K::read(key) {
                    with(key, decoder.decode(value)?);
                }
            }
            match page.into_iter().next_back() {
                Some((key, _)) => from = Some(key),
                None => break,
            }
        }
        for (_, (key, row)) in hot {
            row.into_iter().for_each(|row| with(key.clone(), row));
        }
        Ok(())
    }

    /// All rows of [`for_each`](Self::for_each), in order of key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn rows(&self) -> Result<Vec<(K, R)>, QueryError>
    where
        K: Ord,
    {
        let mut rows = Vec::new();
        self.for_each(|key, row| rows.push((key, row)))?;
        Ok(rows)
    }
}

/// A row, with whether it is all that it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<R> {
    /// The row; `None` when there is none.
    pub row: Option<R>,
    /// The letter of the stream that was asked about, if it is parked: the row lacks its later events, although the
    /// projection has come as far as it was asked to.
    pub parked: Option<ParkedStream>,
}

/// A query with a condition on how fresh the answer is.
#[derive(Debug)]
pub struct Query<K: TableKey, R: Row> {
    reader: Result<TableReader<K, R>, QueryError>,
    token: Token,
    deadline: Duration,
}

impl<K: TableKey, R: Row> Query<K, R> {
    /// A query on a table, or one that answers why there is none.
    #[must_use]
    pub fn on(reader: Result<TableReader<K, R>, QueryError>) -> Self {
        Self {
            reader,
            token: Token::default(),
            deadline: DEADLINE,
        }
    }

    /// Asks that all that `token` has seen is in the answer: read your writes, and never go back behind
    /// what was read before. Tokens add up.
    #[must_use]
    pub fn at_least(mut self, token: &Token) -> Self {
        self.token.merge(token);
        self
    }

    /// Waits at most so long; 10 seconds unless said otherwise.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The row under `key`, once the projection has come far enough; `None` when there is none.
    ///
    /// # Errors
    /// [`QueryError::Behind`] when the deadline passes; [`QueryError::Stopped`],
    /// [`QueryError::UnknownTable`]; as [`TableReader::get`].
    pub async fn get(self, key: impl Into<K>) -> Result<Option<R>, QueryError> {
        self.ready().await?.get(&key.into())
    }

    /// As [`get`](Self::get), with whether `stream` is parked, which is the id of the stream (without the category)
    /// that the row is made from; as a rule it is the key.
    ///
    /// A stream that is freed at this moment may still be told to be parked beside its new row, never the other
    /// way round: a row that lacks events is not given as complete.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn answer(self, key: impl Into<K>, stream: &str) -> Result<Answer<R>, QueryError> {
        let reader = self.ready().await?;
        let parked = reader.parked(stream);
        let row = reader.get(&key.into())?;
        Ok(Answer { row, parked })
    }

    /// All rows in order of key, once the projection has come far enough. They are read on a thread for
    /// work that blocks, so that a large table does not hold up the runtime.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn rows(self) -> Result<Vec<(K, R)>, QueryError>
    where
        K: Ord,
    {
        let reader = self.ready().await?;
        let projection = reader.board.projection();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // Polled by hand: there is no runtime to hold up.
            return reader.rows();
        };
        match runtime.spawn_blocking(move || reader.rows()).await {
            Ok(rows) => rows,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(QueryError::Stopped {
                    projection,
                    cause: "the runtime is shutting down".to_owned(),
                }),
            },
        }
    }

    async fn ready(self) -> Result<TableReader<K, R>, QueryError> {
        let reader = self.reader?;
        reader.board.reached(&self.token, self.deadline).await?;
        Ok(reader)
    }
}
