//! Windows whose end was reached: their slices move to their keys, and each key's sum is given out.
//!
//! Invariants: windows are given out in the order of their ends, each once per key; how far that has come does not depend on
//! which of them had anything. What neither a window nor a late item needs any more is dropped.
//! Cost: per slice and key an entry into the key's [`Fifo`]; per window one visit of each key.

use std::hash::Hash;

use millstream_engine::flow::Emit;
use millstream_engine::time::Timestamp;

use super::SlidingWindows;
use crate::function::AggregateFunction;
use crate::progress::Progress;
use crate::table::Seen;
use crate::window::fifo::Fifo;
use crate::window::{Revision, Windowed};

impl<T, K, F, A, L> SlidingWindows<T, K, F, A, L>
where
    K: Hash + Eq + Clone,
    A: AggregateFunction<T>,
{
    /// Number of the first slice that a window may still need whose lateness is not over at `until`.
    fn kept_from(&self, until: i64) -> i64 {
        if until == i64::MAX {
            return i64::MAX; // The input has ended: nothing will be late.
        }
        let end = self.span.next_end(until.saturating_sub(self.span.lateness));
        self.slices_of(end).0
    }

    /// End of the next window that has anything in it.
    pub(super) fn next_end(&self) -> Option<i64> {
        let sliding = (self.live_until > self.given).then(|| self.span.next_end(self.given));
        let open = self.open.first_end();
        let open = open.map(|end| self.span.next_end(end.saturating_sub(1)));
        let alone = self.alone.range(self.given.saturating_add(1)..).next();
        let alone = alone.map(|(&end, _)| end);
        [sliding, open, alone].into_iter().flatten().min()
    }
    /// Gives out windows that end by `until` and drops what is no longer needed.
    pub(super) fn fire<E: Emit<Windowed<K, A::Output>>>(&mut self, until: i64, out: &mut E) {
        // Ends that are too large for a number are all the same one.
        let due = |end: &i64, given| *end <= until && *end > given;
        let mut progress = Progress::default();
        while let Some(end) = self.next_end().filter(|end| due(end, self.given)) {
            self.close_slices(end, until, &mut progress);
            self.give((end, until), &mut progress, out);
            self.given = end;
        }
        // Also where no window had anything: how an item counts that comes later must not depend on other keys.
        if let Some(last) = self.span.last_end_by(until) {
            self.given = self.given.max(last);
        }
        self.ahead.given(self.given);
        let lateness = self.span.lateness;
        if self.live_until.saturating_add(lateness) <= until && !self.keys.is_empty() {
            self.keys.clear();
            self.closed = 0;
        }
        while let Some(entry) = self.alone.first_entry() {
            if entry.key().saturating_add(lateness) > until {
                break;
            }
            entry.remove();
        }
    }

    /// Moves slices that end by `end` to their keys, where what no window needs any more makes room for them.
    fn close_slices(&mut self, end: i64, until: i64, progress: &mut Progress) {
        let first = self.slices_of(end).0;
        let keep = first.min(self.kept_from(until));
        while self.open.first_end().is_some_and(|first| first <= end) {
            let Some(mut slice) = self.open.pop() else {
                break;
            };
            for (key, part) in slice.table.drain() {
                let fifo = self.keys.get_or_insert_with(key, Fifo::default);
                let before = fifo.len();
                fifo.expire(&self.function, first, keep);
                fifo.enter(&self.function, slice.number, first, part);
                self.closed = self.closed + fifo.len() - before;
                progress.made_one();
            }
            let last = Timestamp(self.open.end_of(slice.number).saturating_sub(1));
            let live = self.span.last_end(last).unwrap_or(i64::MAX);
            self.live_until = self.live_until.max(live);
            self.open.recycle(slice.table);
        }
    }

    /// Gives out the window that ends at `end`.
    fn give<E: Emit<Windowed<K, A::Output>>>(
        &mut self,
        (end, until): (i64, i64),
        progress: &mut Progress,
        out: &mut E,
    ) {
        let window = self.span.window_ending(end);
        let first = self.slices_of(end).0;
        let keep = first.min(self.kept_from(until));
        let function = &self.function;
        let (mut alone, ahead) = (self.alone.get_mut(&end), &self.ahead);
        self.keys.visit(|key, fifo| {
            progress.made_one();
            let before = fifo.len();
            let is_changed = fifo.expire(function, first, keep);
            self.closed = self.closed + fifo.len() - before;
            let value = fifo.value(function);
            if let Some(mut sum) = value.filter(|_| !ahead.has_given(key, end)) {
                if let Some(extra) = alone.as_mut().and_then(|alone| alone.get(key)) {
                    function.merge(&mut sum, extra);
                }
                let (key, value) = (key.clone(), function.finish(&sum));
                let revision = Revision::OnTime;
                out.emit(
                    window.last(),
                    Windowed {
                        key,
                        window,
                        value,
                        revision,
                    },
                );
            }
            match (fifo.is_forgotten(), is_changed) {
                (true, _) => Seen::Over,
                (false, true) => Seen::Changed,
                (false, false) => Seen::Same,
            }
        });
        let Some(alone) = alone else { return };
        alone.for_each(|key, sum| {
            progress.made_one();
            let is_open = self.keys.get(key).is_none_or(Fifo::is_empty);
            if is_open && !ahead.has_given(key, end) {
                let (key, value) = (key.clone(), function.finish(sum));
                let revision = Revision::OnTime;
                out.emit(
                    window.last(),
                    Windowed {
                        key,
                        window,
                        value,
                        revision,
                    },
                );
            }
        });
    }
}
