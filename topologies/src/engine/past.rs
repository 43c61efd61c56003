//! Questions about the past: where the log stood, what aggregates and tables were or would have been.
//!
//! Place: [`At`] names a moment -> **here** -> [`Past`] and [`Replay`], which replay. Reads only, from what is durable; nothing is kept
//! between two questions. These calls block for as long as they read, a millisecond as a rule: questions that replay much
//! belong on a thread for work that blocks.

use std::sync::Arc;

use millstream_engine::event::Token;
use millstream_engine::time::Timestamp;
use millstream_operators::aggregate::{Aggregate, AggregateAt, AggregateDiff, Fork, History, Past};
use millstream_operators::past::{At, PastError};
use millstream_operators::projection::{PastTables, Projection, Replay};

use super::Engine;
use super::start::blocking;

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

    /// The tables of a projection at a moment, from a replay of its code over the log up to there on a thread for work that
    /// blocks. The projection may be one that runs or any other.
    ///
    /// Cost: all frames of the log up to the moment are read. See [`replay`](Self::replay) for one row's.
    ///
    /// # Errors
    /// [`PastError`]; [`PastError::NotOneStream`] for [`At::Version`].
    pub async fn project_at<P: Projection>(
        &self,
        projection: P,
        at: impl Into<At>,
    ) -> Result<PastTables, PastError> {
        let replay = self.replay(projection).at(at);
        blocking(move || replay.tables()).await
    }

    /// Begins a replay of a projection, with a moment, events left out, or one stream alone. It blocks when it is run.
    #[must_use]
    pub fn replay<P: Projection>(&self, projection: P) -> Replay<P> {
        Replay::new(Arc::new(self.log().clone()), projection)
    }
}
