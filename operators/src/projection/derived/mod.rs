//! Answers made of rows, kept until a row that they were made of changes.
//!
//! Place: rows of a projection -> a function of them and an argument -> **[`Derived`]** -> callers. An answer is made in a
//! snapshot, so its rows are of one moment. What it read is noted (rows by key; ranges and indexes stand for their whole
//! table), and it is given again for as long as the projection has shown no change of that: events invalidate it, never
//! its age.
//! Invariants: an answer that is given was right when it was asked for; after a query waited for a token, it has what the
//! token has seen. Threads: any; one makes an answer, who asks for the same meanwhile waits for it. Memory: a bounded number of answers,
//! those asked for least and longest ago go first. Cost: of an answer that is there a lookup and a look at what it read.

mod tracked;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::event::Token;
use millstream_engine::metrics::DerivedMetrics;
use quick_cache::sync::{Cache, GuardResult};

use super::{AnyReader, ProgressBoard, QueryError, Snapshot};
use tracked::Seen;
pub use tracked::{TrackedRows, TrackedTable};

/// Rows of each table that a snapshot keeps while an answer is made.
const KEPT_ROWS_MAX: usize = 1_000_000;

type Compute<A, T> = dyn Fn(&TrackedRows, &A) -> Result<T, QueryError> + Send + Sync;

/// An answer with what it was made of.
struct Made<T> {
    answer: Arc<T>,
    token: Token,
    seen: Vec<Seen>,
}

impl<T> Made<T> {
    fn holds(&self) -> bool {
        self.seen.iter().all(Seen::holds)
    }
}

/// A function of a projection's rows and an argument, whose answers are kept. Cheap to clone; clones share the answers.
pub struct Derived<A, T> {
    shared: Arc<Shared<A, T>>,
}

struct Shared<A, T> {
    name: &'static str,
    board: Arc<ProgressBoard>,
    readers: Vec<(&'static str, Arc<dyn AnyReader>)>,
    answers: Cache<A, Arc<Made<T>>>,
    compute: Box<Compute<A, T>>,
    metrics: DerivedMetrics,
}

impl<A, T> Clone for Derived<A, T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<A, T> fmt::Debug for Derived<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived")
            .field("name", &self.shared.name)
            .field("projection", &self.shared.board.projection())
            .finish_non_exhaustive()
    }
}

impl<A, T> Derived<A, T>
where
    A: Clone + Eq + Hash + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    /// A function `compute` over the tables of these readers, which share a board. At most `answers_max` answers are kept,
    /// and at least one.
    pub fn of(
        name: &'static str,
        board: Arc<ProgressBoard>,
        readers: Vec<(&'static str, Arc<dyn AnyReader>)>,
        answers_max: usize,
        compute: impl Fn(&TrackedRows, &A) -> Result<T, QueryError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                name,
                metrics: DerivedMetrics::new(board.projection(), name),
                board,
                readers,
                answers: Cache::new(answers_max.max(1)),
                compute: Box::new(compute),
            }),
        }
    }

    /// The answer for `argument` as of now. Blocks while it is made.
    ///
    /// # Errors
    /// As the function; an error is not kept.
    pub fn get(&self, argument: &A) -> Result<Arc<T>, QueryError> {
        self.made(argument).map(|made| Arc::clone(&made.answer))
    }

    /// The same, once the projection shows all that `token` has seen.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`QueryError::Behind`] when `deadline` passes; [`QueryError::Stopped`].
    pub async fn at_least(
        &self,
        argument: &A,
        token: &Token,
        deadline: Duration,
    ) -> Result<Arc<T>, QueryError> {
        loop {
            self.shared.board.reached(token, deadline).await?;
            let made = self.made(argument)?;
            let mut both = made.token.clone();
            both.merge(token);
            // One that was made before the token and holds has nothing to do with what it has seen; an actor that has begun
            // again since has gone back behind it.
            if both == made.token || (self.shared.board.behind(token).is_none() && made.holds()) {
                return Ok(Arc::clone(&made.answer));
            }
        }
    }

    fn made(&self, argument: &A) -> Result<Arc<Made<T>>, QueryError> {
        let shared = &*self.shared;
        // Its rows change no more, so what is kept would hold for ever.
        shared.board.check_there()?;
        loop {
            match shared.answers.get_value_or_guard(argument, None) {
                GuardResult::Value(made) if made.holds() => {
                    shared.metrics.count_hit();
                    return Ok(made);
                }
                GuardResult::Value(made) => {
                    // Unless somebody else has made another one already.
                    let is_same = |other: &Arc<Made<T>>| Arc::ptr_eq(other, &made);
                    shared.answers.remove_if(argument, is_same);
                }
                GuardResult::Guard(place) => {
                    shared.metrics.count_miss();
                    let made = Arc::new(shared.make(argument)?);
                    // It was taken out meanwhile: whoever asks next makes it anew.
                    let _ = place.insert(Arc::clone(&made));
                    return Ok(made);
                }
                GuardResult::Timeout => {}
            }
        }
    }
}

impl<A, T> Shared<A, T> {
    fn make(&self, argument: &A) -> Result<Made<T>, QueryError> {
        let snapshot = Snapshot::of(&self.board, &self.readers, KEPT_ROWS_MAX);
        let token = snapshot.token().clone();
        let rows = TrackedRows::of(snapshot);
        let answer = (self.compute)(&rows, argument)?;
        Ok(Made {
            answer: Arc::new(answer),
            token,
            seen: rows.into_seen(),
        })
    }
}
