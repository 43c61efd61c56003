//! Queries: what is asked of a table, and how fresh the answer has to be.

use std::fmt;
use std::time::Duration;

use millstream_engine::event::Token;

use super::{Lag, ParkedStream, QueryError, Row, TableKey, TableReader};

/// How long a query waits for its token unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// No bound on how far it may be behind.
const ANY_LAG: Lag = Lag {
    events: u64::MAX,
    age: Duration::MAX,
};

/// A row, with whether it is all that it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<R> {
    /// The row; `None` when there is none.
    pub row: Option<R>,
    /// The letter of the stream that was asked about, if it is parked: the row lacks its later events, although the
    /// projection has come as far as it was asked to.
    pub parked: Option<ParkedStream>,
}

/// Gives the reader of a table, as it is asked for by name.
type Again<K, R> = Box<dyn Fn() -> Result<TableReader<K, R>, QueryError> + Send + Sync>;

/// A query with a condition on how fresh the answer is.
pub struct Query<K: TableKey, R: Row> {
    reader: Result<TableReader<K, R>, QueryError>,
    /// Where another reader is had, if the version that this one was got of is dropped meanwhile.
    again: Option<Again<K, R>>,
    token: Token,
    /// How far it may be behind the log.
    within: Option<Lag>,
    deadline: Duration,
}

impl<K: TableKey, R: Row> fmt::Debug for Query<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("reader", &self.reader)
            .field("token", &self.token)
            .field("within", &self.within)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<K: TableKey, R: Row> Query<K, R> {
    /// A query on a table, or one that answers why there is none.
    #[must_use]
    pub fn on(reader: Result<TableReader<K, R>, QueryError>) -> Self {
        Self {
            reader,
            again: None,
            token: Token::default(),
            within: None,
            deadline: DEADLINE,
        }
    }

    /// A query on whatever has the table when it is answered.
    #[must_use]
    pub fn by_name(
        find: impl Fn() -> Result<TableReader<K, R>, QueryError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            reader: find(),
            again: Some(Box::new(find)),
            ..Self::on(Err(QueryError::ForeignCursor))
        }
    }

    /// Asks that all that `token` has seen is in the answer: read your writes, and never go back behind
    /// what was read before. Tokens add up.
    #[must_use]
    pub fn at_least(mut self, token: &Token) -> Self {
        self.token.merge(token);
        self
    }

    /// Asks that nothing which was recorded longer ago than this is missing from the answer. Waits until that is so. Such a
    /// question does not need a token. An event that is still to be seen counts as old as the last one that was: the first after
    /// a silence is waited for.
    #[must_use]
    pub fn within(mut self, age: Duration) -> Self {
        let most = self.within.get_or_insert(ANY_LAG);
        most.age = most.age.min(age);
        self
    }

    /// Asks that at most so many durable events are missing from the answer.
    #[must_use]
    pub fn within_events(mut self, events: u64) -> Self {
        let most = self.within.get_or_insert(ANY_LAG);
        most.events = most.events.min(events);
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
        let key = key.into();
        self.ask(|reader| reader.get(&key)).await
    }

    /// The rows under `keys`, in their order, once the projection has come far enough.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_many(self, keys: &[K]) -> Result<Vec<Option<R>>, QueryError> {
        self.ask(|reader| reader.get_many(keys)).await
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
        let key = key.into();
        self.ask(|reader| {
            let parked = reader.parked(stream);
            let row = reader.get(&key)?;
            Ok(Answer { row, parked })
        })
        .await
    }

    /// All rows in order of key, once the projection has come far enough. They are read on a thread for
    /// work that blocks, so that a large table does not hold up the runtime.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn rows(mut self) -> Result<Vec<(K, R)>, QueryError> {
        loop {
            match (rows(self.fresh().await?).await, &self.again) {
                (Err(QueryError::Dropped { .. }), Some(_)) => {}
                (rows, _) => return rows,
            }
        }
    }

    /// The table, once the projection has come far enough: for ranges, pages, indexes and whatever else it answers.
    ///
    /// # Errors
    /// As [`get`](Self::get), of waiting.
    pub async fn ready(self) -> Result<TableReader<K, R>, QueryError> {
        let mut own = self;
        own.fresh().await
    }

    /// The reader, once the projection has come far enough.
    async fn fresh(&mut self) -> Result<TableReader<K, R>, QueryError> {
        loop {
            let reader = self.reader.clone()?;
            let board = reader.board();
            let fresh = board.fresh(&self.token, self.within, self.deadline).await;
            match (fresh, &self.again) {
                (_, Some(again)) if board.is_dropped() => self.reader = again(),
                (fresh, _) => return fresh.map(|()| reader),
            }
        }
    }

    /// Asks the reader, and another one if it is dropped before it has answered.
    async fn ask<T>(
        mut self,
        ask: impl Fn(&TableReader<K, R>) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        loop {
            match (ask(&self.fresh().await?), &self.again) {
                (Err(QueryError::Dropped { .. }), Some(_)) => {}
                (answer, _) => return answer,
            }
        }
    }
}

/// All rows of a table, read on a thread for work that blocks.
async fn rows<K: TableKey, R: Row>(reader: TableReader<K, R>) -> Result<Vec<(K, R)>, QueryError> {
    let projection = reader.board().projection();
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
