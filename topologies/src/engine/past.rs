//! Questions about the past: where the log stood, and what aggregates were or would have been.
//!
//! Place: [`At`] names a moment -> **here** -> [`Past`], which replays. Reads only, from what is durable; nothing is kept
//! between two questions. These calls block for as long as they read, a millisecond as a rule: questions that replay much
//! belong on a thread for work that blocks.

use std::sync::Arc;

use millstream_engine::event::Token;
use millstream_engine::time::Timestamp;
use millstream_operators::aggregate::{Aggregate, AggregateAt, AggregateDiff, Fork, History, Past};
use millstream_operators::past::{At, PastError};

use super::Engine;

impl Engine {
    /// What the log held at a time: the last event of each partition that was recorded at it or earlier. Subscribed or
    /// read from there, the log goes on with what was recorded later.
    ///
    /// For a time that is not over yet it is what is durable now; an event that is recorded at this moment may still come.
    ///
    /// Cost: a search by halves in each partition, of the heads of about log2(frames) frames.
    ///
    /// # Errors
    /// [`PastError::Log`].
    pub fn position_at(&self, recorded: Timestamp) -> Result<Token, PastError> {
        At::RecordedTime(recorded).token(self.log())
    }

    /// The past of the aggregate `id`: for several questions about one. The topology need not have the aggregate.
    ///
    /// # Errors
    /// [`PastError::StreamId`].
    pub fn past<A: Aggregate>(&self, id: &str) -> Result<Past<A>, PastError> {
        let streams = Arc::new(self.log().clone());
        Past::open(streams, Some(self.state().clone()), id)
    }

    /// The aggregate `id` as it was at a moment; `None` when nothing had happened to it by then.
    ///
    /// Cost: the nearest snapshot at or before the moment, and the events from there on. By event time: the events of the
    /// aggregate.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn aggregate_at<A: Aggregate>(
        &self,
        id: &str,
        at: impl Into<At>,
    ) -> Result<Option<AggregateAt<A>>, PastError> {
        self.past(id)?.at(&at.into())
    }

    /// All that happened to the aggregate `id`, each event with the state after it, oldest first.
    ///
    /// # Errors
    /// [`PastError`]; also in the items.
    pub fn history<A: Aggregate>(&self, id: &str) -> Result<History<A>, PastError> {
        self.past(id)?.history(0)
    }

    /// Two moments of the aggregate `id`, and the events between them.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn diff<A: Aggregate>(
        &self,
        id: &str,
        from: impl Into<At>,
        to: impl Into<At>,
    ) -> Result<AggregateDiff<A>, PastError> {
        self.past(id)?.diff(&from.into(), &to.into())
    }

    /// Asks what the aggregate `id` would have been at a moment with other events, or with other code. Nothing is written.
    ///
    /// # Errors
    /// [`PastError::StreamId`].
    pub fn fork<A: Aggregate>(&self, id: &str, at: impl Into<At>) -> Result<Fork<A>, PastError> {
        Ok(self.past(id)?.fork(at.into()))
    }
}
