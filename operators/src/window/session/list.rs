//! The sessions of one key, in order of time.

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::function::AggregateFunction;
use crate::window::Window;

/// A session as it was given out.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Past<A> {
    pub(super) window: Window,
    pub(super) sum: A,
}

/// A session. Kept small: with many keys, what a lookup costs is the memory that it touches.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct One<A> {
    /// Times of the first and the last item.
    pub(super) start: i64,
    pub(super) last: i64,
    pub(super) sum: A,
    /// What was given out of it before it changed, to be taken back before it is given out again.
    #[expect(clippy::box_collection, reason = "rare, and a vector is three words")]
    pub(super) before: Option<Box<Vec<Past<A>>>>,
    /// Items since it was given out, as many as can be counted.
    pub(super) changes: u32,
    /// Whether the watermark has passed its end.
    pub(super) closed: bool,
    /// Whether it was given out as it is.
    pub(super) shown: bool,
}

impl<A> One<A> {
    pub(super) const fn new(time: i64, sum: A) -> Self {
        Self {
            start: time,
            last: time,
            sum,
            before: None,
            changes: 1,
            closed: false,
            shown: false,
        }
    }

    #[inline]
    pub(super) const fn end(&self, gap: i64) -> i64 {
        self.last.saturating_add(gap)
    }

    pub(super) const fn window(&self, gap: i64) -> Window {
        Window {
            start: Timestamp(self.start),
            end: Timestamp(self.end(gap)),
        }
    }
}

impl<A: Clone> One<A> {
    /// Takes what was given out of it, before it changes.
    fn take_shown(&mut self, gap: i64) -> Vec<Past<A>> {
        if std::mem::take(&mut self.shown) {
            return vec![Past {
                window: self.window(gap),
                sum: self.sum.clone(),
            }];
        }
        self.before.take().map(|past| *past).unwrap_or_default()
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Sessions<A> {
    /// When the key is looked at next; entries of other times in the queue are outdated.
    pub(super) queued: i64,
    /// Disjoint, ascending, never empty between two calls.
    pub(super) list: SmallVec<[One<A>; 1]>,
}

impl<A: Clone> Sessions<A> {
    pub(super) fn new(first: One<A>, queued: i64) -> Self {
        Self {
            queued,
            list: SmallVec::from_iter([first]),
        }
    }

    /// Takes an item, joining the sessions that it connects; gives the index of the session that has it.
    pub(super) fn add<T, F>(
        &mut self,
        function: &F,
        gap: i64,
        (time, item): (Timestamp, &T),
    ) -> usize
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        let end = time.0.saturating_add(gap);
        let first = self.list.partition_point(|one| one.end(gap) <= time.0);
        let behind = self.list.partition_point(|one| one.start < end);
        if first == behind {
            let mut sum = function.create();
            function.add(&mut sum, time, item);
            self.list.insert(first, One::new(time.0, sum));
            return first;
        }
        let (left, right) = self.list.split_at_mut(first + 1);
        let joined = &mut left[first];
        let mut shown = joined.take_shown(gap);
        for other in &mut right[..behind - first - 1] {
            shown.append(&mut other.take_shown(gap));
            function.merge(&mut joined.sum, &other.sum);
            joined.last = other.last;
            joined.changes = joined.changes.saturating_add(other.changes);
        }
        joined.start = joined.start.min(time.0);
        joined.last = joined.last.max(time.0);
        joined.changes = joined.changes.saturating_add(1);
        function.add(&mut joined.sum, time, item);
        if !shown.is_empty() {
            joined.before = Some(Box::new(shown));
        }
        self.list.drain(first + 1..behind);
        first
    }
}
