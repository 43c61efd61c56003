//! Waiting until what is visible has come far enough.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_engine::event::{PartitionId, Token};

use super::{Lag, ProgressBoard};
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

    /// The same, and until what is visible is not further behind the log than `most`.
    ///
    /// # Errors
    /// As [`reached`](Self::reached); [`QueryError::Stale`] with how far it is.
    pub async fn fresh(
        &self,
        token: &Token,
        most: Option<Lag>,
        deadline: Duration,
    ) -> Result<(), QueryError> {
        let asks_token = !token.positions().is_empty();
        if (asks_token && !self.knows_positions) || (most.is_some() && self.log.is_none()) {
            return Err(QueryError::NoPositions {
                table: self.projection,
            });
        }
        let further = || {
            let (most, lag) = (most?, self.lag()?);
            (lag.events > most.events || lag.age > most.age).then_some(lag)
        };
        let is_there = || self.behind(token).is_none() && further().is_none();
        if self.until(is_there, deadline).await? {
            return Ok(());
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
        further().map_or(Ok(()), |lag| {
            Err(QueryError::Stale {
                projection,
                lag,
                waited,
            })
        })
    }

    /// Waits for what moves the projection, until `is_there` or the deadline has passed; gives which.
    pub(in crate::projection) async fn until(
        &self,
        is_there: impl Fn() -> bool,
        deadline: Duration,
    ) -> Result<bool, QueryError> {
        if is_there() {
            return Ok(true);
        }
        let wait = async {
            loop {
                let mut moved = std::pin::pin!(self.moved.notified());
                // In the list before the look, so that a move in between is not missed.
                moved.as_mut().enable();
                if is_there() {
                    return Ok(true);
                }
                if self.stopped.load(Ordering::Acquire) {
                    return Err(self.stopped_error());
                }
                moved.await;
            }
        };
        let waited = tokio::time::timeout(deadline, wait).await;
        waited.unwrap_or(Ok(false))
    }

    pub(in crate::projection) fn stopped_error(&self) -> QueryError {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        QueryError::Stopped {
            projection: self.projection,
            cause: cause.clone(),
        }
    }
}
