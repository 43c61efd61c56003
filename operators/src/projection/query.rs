//! Queries: what is asked of a table, and how fresh the answer has to be.

use std::fmt;
use std::time::Duration;

use millstream_engine::event::Token;
use tokio::time::Instant;

use super::board::Mark;
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
    /// Since when it has waited, if it has.
    began: Option<Instant>,
}

/// What is read from, once it is as far as was asked for.
struct Fresh<K: TableKey, R: Row> {
    reader: TableReader<K, R>,
    /// If it is another one after the read, rows were taken back meanwhile.
    mark: Mark,
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
            began: None,
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
        let (key, has_condition) = (key.into(), self.has_condition());
        self.ask(has_condition, |reader| reader.get(&key)).await
    }

    /// The rows under `keys`, in their order, once the projection has come far enough.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_many(self, keys: &[K]) -> Result<Vec<Option<R>>, QueryError> {
        let has_condition = self.has_condition();
        self.ask(has_condition, |reader| reader.get_many(keys))
            .await
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
        // Rows that are taken back lack events of streams that are not told to be parked yet.
        self.ask(true, |reader| {
            let parked = reader.parked(stream);
            let row = reader.get(&key)?;
            Ok(Answer { row, parked })
        })
        .await
    }

    /// Whether `stream` (its id without the category) is parked, and by which letter, once the projection has come far enough:
    /// rows then lack the event of the letter and those of the stream behind it.
    ///
    /// A stream that is freed at this moment may still be told to be parked.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn parked(self, stream: &str) -> Result<Option<ParkedStream>, QueryError> {
        // Which streams are parked can be told only while no rows are being taken back.
        self.ask(true, |reader| reader.unless_dropped(reader.parked(stream)))
            .await
    }

    /// All rows in order of key, once the projection has come far enough. They are read on a thread for
    /// work that blocks, so that a large table does not hold up the runtime.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn rows(mut self) -> Result<Vec<(K, R)>, QueryError> {
        let has_condition = self.has_condition();
        loop {
            let fresh = self.fresh(has_condition).await?;
            let found = rows(fresh.reader.clone()).await;
            if !self.is_to_be_read_again(has_condition, &fresh, &found)? {
                return found;
            }
        }
    }

    /// The table, once the projection has come far enough: for ranges, pages, indexes and whatever else it answers. It is as
    /// far for as long as the projection does not begin again after a failure, which takes back what was not stored; a
    /// [`Snapshot`](super::Snapshot) stays as it was.
    ///
    /// # Errors
    /// As [`get`](Self::get), of waiting.
    pub async fn ready(mut self) -> Result<TableReader<K, R>, QueryError> {
        let has_condition = self.has_condition();
        Ok(self.fresh(has_condition).await?.reader)
    }

    fn has_condition(&self) -> bool {
        self.within.is_some() || !self.token.positions().is_empty()
    }

    /// What is left of the deadline.
    fn left(&mut self) -> Duration {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        self.deadline.saturating_sub(now - began)
    }

    /// The reader, once the projection has come far enough, and at once if it does not have to.
    async fn fresh(&mut self, is_asked: bool) -> Result<Fresh<K, R>, QueryError> {
        loop {
            let reader = self.reader.clone()?;
            let board = reader.board();
            let mark = if is_asked {
                board.fresh_now(&self.token, self.within)
            } else {
                Some(board.mark())
            };
            let fresh = match mark {
                Some(mark) => Ok(mark),
                None => {
                    let left = self.left();
                    board.settled(&self.token, self.within, left).await
                }
            };
            match (fresh, &self.again) {
                (_, Some(again)) if board.is_dropped() => self.reader = again(),
                (fresh, _) => return fresh.map(|mark| Fresh { reader, mark }),
            }
        }
    }

    /// Whether what was read is no answer: the version was dropped meanwhile and another one has the table, or the projection
    /// has begun again, so that rows may be from before what was waited for.
    fn is_to_be_read_again<T>(
        &mut self,
        is_asked: bool,
        from: &Fresh<K, R>,
        found: &Result<T, QueryError>,
    ) -> Result<bool, QueryError> {
        if matches!(found, Err(QueryError::Dropped { .. })) && self.again.is_some() {
            return Ok(true);
        }
        let board = from.reader.board();
        if !is_asked || board.mark() == from.mark {
            return Ok(false);
        }
        if self.left().is_zero() {
            return Err(board.begins_again(self.deadline));
        }
        Ok(true)
    }

    /// Asks the reader: another one if it is dropped before it has answered, and once more if rows were taken back meanwhile.
    pub(super) async fn ask<T>(
        mut self,
        is_asked: bool,
        ask: impl Fn(&TableReader<K, R>) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        loop {
            let fresh = self.fresh(is_asked).await?;
            let found = ask(&fresh.reader);
            if !self.is_to_be_read_again(is_asked, &fresh, &found)? {
                return found;
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
