//! Waiting until what is visible has come far enough.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_engine::event::{PartitionId, Token};

use super::{Lag, Mark, ProgressBoard};
use crate::projection::QueryError;

impl ProgressBoard {
    /// The first partition in which `token` is ahead of what is visible, and by how many events.
    #[must_use]
    pub fn behind(&self, token: &Token) -> Option<(PartitionId, u64)> {
        token.positions().iter().find_map(|position| {
            let visible = self.visible(position.partition);
            (visible <= position.offset)
                .then(|| (position.partition, position.offset.plus(1).0 - visible.0))
        })
    }

    /// Waits until all that `token` has seen is visible, at most `deadline`.
    ///
    /// # Errors
    /// [`QueryError::Behind`] with how far it is; [`QueryError::Stopped`]; [`QueryError::NoPositions`].
    pub async fn reached(&self, token: &Token, deadline: Duration) -> Result<(), QueryError> {
        self.fresh(token, None, deadline).await
    }

    /// The same, and until what is visible is not further behind the log than `most`. Whoever asks for nothing waits for nothing.
    ///
    /// # Errors
    /// As [`reached`](Self::reached); [`QueryError::Stale`] with how far it is; [`QueryError::BeginsAgain`].
    pub async fn fresh(
        &self,
        token: &Token,
        most: Option<Lag>,
        deadline: Duration,
    ) -> Result<(), QueryError> {
        if token.positions().is_empty() && most.is_none() {
            return Ok(());
        }
        self.settled(token, most, deadline).await.map(drop)
    }

    /// What to compare with [`mark`](Self::mark) once rows were read, if those of now are what is asked for.
    #[inline]
    pub(in crate::projection) fn fresh_now(
        &self,
        token: &Token,
        most: Option<Lag>,
    ) -> Option<Mark> {
        // Before the positions.
        let mark = self.settled_mark()?;
        let is_within = most.is_none_or(|most| self.lag().is_some_and(|lag| lag.is_within(most)));
        (self.behind(token).is_none() && is_within).then_some(mark)
    }

    /// The same, once it is so and no rows are being taken back.
    ///
    /// # Errors
    /// As [`fresh`](Self::fresh).
    pub(in crate::projection) async fn settled(
        &self,
        token: &Token,
        most: Option<Lag>,
        deadline: Duration,
    ) -> Result<Mark, QueryError> {
        let asks_token = !token.positions().is_empty();
        if (asks_token && !self.knows_positions) || (most.is_some() && self.log.is_none()) {
            return Err(QueryError::NoPositions {
                table: self.projection,
            });
        }
        let is_there = || self.fresh_now(token, most);
        if let Some(mark) = self.until(is_there, deadline).await? {
            return Ok(mark);
        }
        let (projection, waited) = (self.projection, deadline);
        if let Some((partition, behind)) = self.behind(token) {
            return Err(QueryError::Behind {
                projection,
                partition,
                behind,
                waited,
            });
        }
        let lag = most.and_then(|most| self.lag().filter(|lag| !lag.is_within(most)));
        match (lag, is_there()) {
            (Some(lag), _) => Err(QueryError::Stale {
                projection,
                lag,
                waited,
            }),
            (None, Some(mark)) => Ok(mark),
            (None, None) => Err(self.begins_again(waited)),
        }
    }

    pub(in crate::projection) fn begins_again(&self, waited: Duration) -> QueryError {
        QueryError::BeginsAgain {
            projection: self.projection,
            waited,
        }
    }

    /// Waits for what moves the projection, until there is what is waited for or the deadline has passed; gives what there is.
    pub(in crate::projection) async fn until<T>(
        &self,
        is_there: impl Fn() -> Option<T>,
        deadline: Duration,
    ) -> Result<Option<T>, QueryError> {
        if let Some(there) = is_there() {
            return Ok(Some(there));
        }
        let wait = async {
            loop {
                let mut moved = std::pin::pin!(self.moved.notified());
                // In the list before the look, so that a move in between is not missed.
                moved.as_mut().enable();
                if let Some(there) = is_there() {
                    return Ok(Some(there));
                }
                if self.stopped.load(Ordering::Acquire) {
                    return Err(self.stopped_error());
                }
                moved.await;
            }
        };
        let waited = tokio::time::timeout(deadline, wait).await;
        waited.unwrap_or(Ok(None))
    }

    pub(in crate::projection) fn stopped_error(&self) -> QueryError {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        QueryError::Stopped {
            projection: self.projection,
            cause: cause.clone(),
        }
    }
}
