//! Comparing a candidate with the version that answers, at one position.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::event::Token;
use millstream_engine::fail_point;
use millstream_operators::projection::{Comparison, ProgressBoard, QueryError, Snapshot, compare};

use super::guards::Hurried;
use super::{Rebuild, RebuildError};
use crate::engine::query::KEPT_ROWS_MAX;
use crate::engine::start::blocking;
use crate::engine::under_way::SHUT_DOWN;
use crate::engine::versions::Version;

/// Tries to have both versions stand at one position.
const TRIES: usize = 50;
/// Longest that each is waited for in a try.
const STILL: Duration = Duration::from_secs(1);

impl Rebuild {
    /// Compares the candidate with the version that answers, row by row in each table that both have, at one position. What
    /// runs goes on meanwhile; the version that answers stands still until the candidate has come as far, some milliseconds
    /// for one that has caught up. Within the deadline it comes as far, and within as long again both stand still, or it is given up,
    /// as where one waits for an outbox that is full; no version is changed meanwhile. Once the rows are read, versions may be switched and dropped: a rollback does not wait. One
    /// comparison of a projection at a time.
    ///
    /// Cost: each row of both is read and hashed; rows that change meanwhile are kept in memory as they were, at most
    /// 1,000,000 per table.
    ///
    /// # Errors
    /// [`RebuildError::NoCandidate`]; [`RebuildError::Behind`]; [`RebuildError::Moving`]; [`RebuildError::Query`], such as
    /// [`Dropped`](QueryError::Dropped) of one that was dropped meanwhile, and [`Stopped`](QueryError::Stopped) once the engine was
    /// shut down.
    pub async fn compare(&self) -> Result<Comparison, RebuildError> {
        self.compare_with(false).await
    }

    /// The same, but rows are the same if the fields that both have are: for a version whose rows have others as well.
    ///
    /// # Errors
    /// As [`compare`](Self::compare).
    pub async fn compare_common_fields(&self) -> Result<Comparison, RebuildError> {
        self.compare_with(true).await
    }

    async fn compare_with(&self, common_fields: bool) -> Result<Comparison, RebuildError> {
        let _one = self.versions.comparing.lock().await;
        let unchanged = self.versions.changing.lock().await;
        let (active, candidate) = (self.versions.active(), self.candidate()?);
        let hurried = Hurried::new(&candidate.board);
        self.reached(candidate, active).await?;
        let (before, after) = self.both(active, candidate).await?;
        // Snapshots stay what they are. Who hurries a version next says when that is over.
        drop((hurried, unchanged));
        fail_point!(VERSION_COMPARED);
        let parked = |version: &Version| version.board.parked_count() as u64;
        let mut comparison = Comparison {
            projection: self.versions.name,
            active: active.version,
            candidate: candidate.version,
            token: before.token().clone(),
            parked: (parked(active), parked(candidate)),
            tables: Vec::new(),
            only_active: Vec::new(),
            only_candidate: Vec::new(),
        };
        // It holds what it reads, also if nobody waits for it any more.
        let under_way = self.engine.inner.running.requests().one();
        let compared = blocking(move || {
            let projection = comparison.projection;
            let goes_on = || match under_way.is_over() {
                true => Err(QueryError::Stopped {
                    projection,
                    cause: SHUT_DOWN.to_owned(),
                }),
                false => Ok(()),
            };
            let outcome = compare(&before, &after, common_fields, &goes_on, &mut comparison);
            drop((before, after));
            outcome.map(|()| comparison)
        });
        Ok(compared.await?)
    }

    /// Both versions at one position.
    async fn both(
        &self,
        active: &Version,
        candidate: &Version,
    ) -> Result<(Snapshot, Snapshot), RebuildError> {
        let clock = &self.engine.inner.clock;
        let mut tries = Tries::within(self.deadline, clock.monotonic());
        while tries.next(clock.monotonic()) {
            let target = self.engine.durable();
            let still = Still::at(&target, [&active.board, &candidate.board]);
            for board in still.0 {
                // One that is held up for longer is tried again.
                let wait = tries.wait(clock.monotonic());
                let _ = board.reached(&target, wait).await;
            }
            let of =
                |version: &Version| Snapshot::of(&version.board, &version.readers, KEPT_ROWS_MAX);
            let (before, after) = (of(active), of(candidate));
            // One may have been further already when it was told to stop.
            if before.token() == after.token() {
                return Ok((before, after));
            }
            if active.board.is_stopped() || candidate.board.is_stopped() {
                // Says why.
                candidate.board.reached(&target, Duration::ZERO).await?;
                active.board.reached(&target, Duration::ZERO).await?;
            }
        }
        Err(RebuildError::Moving {
            projection: self.versions.name,
        })
    }
}

/// Tries to have both versions stand at one position: nobody else changes versions meanwhile, so they are over with the time
/// that the caller has. There is always a first one.
struct Tries {
    left: usize,
    until: Option<Duration>,
    is_first: bool,
}

impl Tries {
    fn within(deadline: Duration, now: Duration) -> Self {
        Self {
            left: TRIES,
            until: now.checked_add(deadline),
            is_first: true,
        }
    }

    /// Whether there is another one.
    fn next(&mut self, now: Duration) -> bool {
        let is_in_time = self.until.is_none_or(|until| now < until);
        let is_next = self.left > 0 && (self.is_first || is_in_time);
        self.left = self.left.saturating_sub(1);
        self.is_first = false;
        is_next
    }

    /// How long one of both may be waited for.
    fn wait(&self, now: Duration) -> Duration {
        let left = self.until.map(|until| until.saturating_sub(now));
        left.map_or(STILL, |left| left.min(STILL))
    }
}

/// Versions that apply nothing behind a position until this is gone.
struct Still<'b>([&'b Arc<ProgressBoard>; 2]);

impl<'b> Still<'b> {
    fn at(token: &Token, boards: [&'b Arc<ProgressBoard>; 2]) -> Self {
        for board in boards {
            board.stop_behind(Some(token));
        }
        Self(boards)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        for board in self.0 {
            board.stop_behind(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Story: while one of both stood still for an outbox that was full, a comparison kept others from changing versions for a
    /// hundred seconds, whatever its deadline was.
    #[test]
    fn tries_are_over_with_the_deadline() {
        let seconds = Duration::from_secs;
        let mut tries = Tries::within(seconds(3), seconds(10));
        let (mut now, mut count) = (seconds(10), 0);
        while tries.next(now) {
            // Each of both is waited for as long as may be.
            now += tries.wait(now);
            now += tries.wait(now);
            count += 1;
        }
        assert_eq!((now, count), (seconds(13), 2));

        let mut tries = Tries::within(Duration::ZERO, seconds(10));
        assert!(tries.next(seconds(10)), "what stands still already is seen");
        assert_eq!(tries.wait(seconds(10)), Duration::ZERO);
        assert!(!tries.next(seconds(10)));

        let mut tries = Tries::within(Duration::MAX, seconds(10));
        assert_eq!(tries.wait(seconds(10)), STILL);
        let all = (0..).take_while(|_| tries.next(seconds(10)));
        assert_eq!(all.count(), TRIES);
    }
}
