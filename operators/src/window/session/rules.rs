//! When the sessions of one key are given out and dropped.

use millstream_engine::checkpoint::{CheckpointError, Restoring};
use millstream_engine::flow::Emit;

use super::list::{One, Sessions};
use crate::function::AggregateFunction;
use crate::window::{Revision, TimeDomain, Trigger, Window, Windowed};

/// What all keys have in common.
#[derive(Clone)]
pub(super) struct Rules<A> {
    pub(super) function: A,
    pub(super) gap: i64,
    /// How long sessions are kept after their end.
    pub(super) keep: i64,
    pub(super) trigger: Trigger,
    pub(super) retracting: bool,
    /// Sessions that end by this have been given out.
    pub(super) watermark: i64,
}

impl<A> Rules<A> {
    /// # Errors
    /// [`CheckpointError::Parameters`]: sessions of this gap and time were stored, as far as that is known, and now they are
    /// to have another: they would end elsewhere than those that were given out, which would never be taken back.
    pub(super) fn check(
        &self,
        kind: &str,
        (gap, stored_domain): (Option<i64>, Option<TimeDomain>),
        domain: TimeDomain,
        restoring: &Restoring,
    ) -> Result<(), CheckpointError> {
        let now = (self.gap, domain);
        let stored = (gap.unwrap_or(self.gap), stored_domain.unwrap_or(domain));
        if stored == now {
            return Ok(());
        }
        let text =
            |(gap, domain): (i64, TimeDomain)| format!("a gap of {gap} µs{}", domain.suffix());
        Err(restoring.fail(CheckpointError::Parameters {
            kind: kind.to_owned(),
            stored: text(stored),
            now: text(now),
        }))
    }

    /// Gives a session out, after taking back what it replaces.
    fn give<T, K, E>(
        &self,
        key: &K,
        session: &mut One<A::Accumulator>,
        revision: Revision,
        out: &mut E,
    ) where
        K: Clone,
        A: AggregateFunction<T>,
        E: Emit<Windowed<K, A::Output>>,
    {
        let mut emit = |window: Window, sum: &A::Accumulator, revision| {
            let result = Windowed {
                key: key.clone(),
                window,
                value: self.function.finish(sum),
                revision,
            };
            out.emit(window.last(), result);
        };
        let window = session.window(self.gap);
        if session.shown && self.retracting {
            emit(window, &session.sum, Revision::Retraction);
        }
        for past in session.before.take().into_iter().flat_map(|past| *past) {
            if self.retracting || past.window != window {
                emit(past.window, &past.sum, Revision::Retraction);
            }
        }
        session.shown = true;
        emit(window, &session.sum, revision);
        session.changes = 0;
    }

    /// After an item for the session at `at`: gives it out, if the trigger says so. Gives whether it waits for an
    /// early result by the clock.
    pub(super) fn after_item<T, K, E>(
        &self,
        key: &K,
        sessions: &mut Sessions<A::Accumulator>,
        at: usize,
        out: &mut E,
    ) -> bool
    where
        K: Clone,
        A: AggregateFunction<T>,
        E: Emit<Windowed<K, A::Output>>,
    {
        let session = &mut sessions.list[at];
        session.closed = session.end(self.gap) <= self.watermark;
        if session.closed {
            if self.trigger.late_each {
                self.give(key, session, Revision::Late, out);
            }
            return false;
        }
        if self.trigger.is_enough(session.changes.into()) {
            self.give(key, session, Revision::Early, out);
        }
        self.trigger.early_every.is_some() && session.changes > 0
    }

    /// Gives out early what has changed.
    pub(super) fn give_early<T, K, E>(
        &self,
        key: &K,
        sessions: &mut Sessions<A::Accumulator>,
        out: &mut E,
    ) where
        K: Clone,
        A: AggregateFunction<T>,
        E: Emit<Windowed<K, A::Output>>,
    {
        for session in &mut sessions.list {
            if !session.closed && session.changes > 0 {
                self.give(key, session, Revision::Early, out);
            }
        }
    }

    /// Gives out the sessions that the watermark has passed and drops those that nothing can change any more.
    pub(super) fn look_again<T, K, E>(
        &self,
        key: &K,
        sessions: &mut Sessions<A::Accumulator>,
        out: &mut E,
    ) where
        K: Clone,
        A: AggregateFunction<T>,
        E: Emit<Windowed<K, A::Output>>,
    {
        sessions.list.retain(|session| {
            let end = session.end(self.gap);
            if end > self.watermark {
                return true;
            }
            if !session.closed {
                session.closed = true;
                self.give(key, session, Revision::OnTime, out);
            }
            let is_over = end.saturating_add(self.keep) <= self.watermark;
            if is_over && session.changes > 0 {
                self.give(key, session, Revision::Late, out);
            }
            !is_over
        });
    }

    /// When the key is to be looked at next; `None` if it has no session.
    pub(super) fn next_due<S>(&self, sessions: &Sessions<S>) -> Option<i64> {
        let due = |session: &One<S>| {
            let end = session.end(self.gap);
            if session.closed {
                end.saturating_add(self.keep)
            } else {
                end
            }
        };
        sessions.list.iter().map(due).min()
    }
}
