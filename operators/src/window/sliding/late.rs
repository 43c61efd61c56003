//! Items of sliding windows that are not of the current slice, or behind their source's watermark.

use std::convert::Infallible;
use std::hash::Hash;

use millstream_engine::flow::{Discard, Emit, Operator};
use millstream_engine::time::Timestamp;

use super::super::{Revision, Windowed};
use super::SlidingWindows;
use crate::function::AggregateFunction;
use crate::window::fifo::Fifo;

impl<T, K, F, A, L> SlidingWindows<T, K, F, A, L>
where
    T: Send + 'static,
    K: Hash + Eq + Clone,
    F: Fn(&T) -> K,
    A: AggregateFunction<T>,
    L: Operator<T, Out = Infallible>,
{
    /// Takes an item that is not of the current slice, or that is behind its source's watermark.
    #[cold]
    pub(super) fn item_aside<E: Emit<Windowed<K, A::Output>>>(
        &mut self,
        time: Timestamp,
        item: T,
        out: &mut E,
    ) {
        let Some(last_end) = self.span.last_end(time) else {
            if !self.span.has_gaps() {
                self.late.item(time, item, &mut Discard);
            }
            return; // Between two windows.
        };
        let limit = self.late_before.max(self.watermark);
        let over = limit.saturating_sub(self.span.lateness);
        if last_end <= over {
            self.late.item(time, item, &mut Discard);
            return;
        }
        let first_end = self.span.next_end(time.0);
        let (first_taken, slide) = (first_end.max(self.span.next_end(over)), self.span.slide);
        // Windows that were given out already, and whose lateness is not over.
        let last_given = self.given.min(last_end);
        let given = std::iter::successors(Some(first_taken), |end| end.checked_add(slide));
        let given = given.take_while(|&end| end <= last_given);
        let key = (first_taken <= last_given).then(|| (self.key)(&item));
        if let Some(key) = key.as_ref().filter(|_| self.span.retracting) {
            for end in given.clone() {
                self.give_again(key, end, Revision::Retraction, out);
            }
        }
        if A::MERGES && first_end > over {
            self.add_to_slice(time, &item);
        } else {
            self.add_alone(time, &item, first_taken, last_end);
        }
        if let Some(key) = &key {
            for end in given {
                self.give_again(key, end, Revision::Late, out);
            }
        }
    }

    /// Counts an item for all its windows.
    fn add_to_slice(&mut self, time: Timestamp, item: &T) {
        let number = self.span.slice_of(self.slice, time);
        if self.open.end_of(number) > self.given {
            self.open.select(time);
            self.add_current(time, item);
            return;
        }
        let first = self.slices_of(self.given).0;
        let function = &self.function;
        let fifo = self
            .keys
            .get_or_insert_with((self.key)(item), Fifo::default);
        let before = fifo.len();
        fifo.amend(function, number, first, |sum| function.add(sum, time, item));
        self.closed = self.closed + fifo.len() - before;
        let live = self.span.last_end(time).unwrap_or(i64::MAX);
        self.live_until = self.live_until.max(live);
    }

    /// Counts an item for the windows that end at `first_end`, ..., `last_end`.
    fn add_alone(&mut self, time: Timestamp, item: &T, first_end: i64, last_end: i64) {
        let mut end = first_end;
        while end <= last_end {
            let function = &self.function;
            let table = self.alone.entry(end).or_default();
            table.share(&self.memory);
            let sum = table.get_or_insert_with((self.key)(item), || function.create());
            function.add(sum, time, item);
            let Some(next) = end.checked_add(self.span.slide) else {
                break;
            };
            end = next;
        }
    }

    /// Gives out anew or takes back, for one key, the window that ends at `end`.
    fn give_again<E: Emit<Windowed<K, A::Output>>>(
        &mut self,
        key: &K,
        end: i64,
        revision: Revision,
        out: &mut E,
    ) {
        let (first, last) = self.slices_of(end);
        let fifo = self.keys.get(key);
        let mut sum = fifo.and_then(|fifo| fifo.value_of(&self.function, first, last));
        if let Some(extra) = self.alone.get_mut(&end).and_then(|alone| alone.get(key)) {
            match &mut sum {
                Some(sum) => self.function.merge(sum, extra),
                None => sum = Some(extra.clone()),
            }
        }
        let window = self.span.window_ending(end);
        if let Some(sum) = sum {
            let (key, value) = (key.clone(), self.function.finish(&sum));
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
    }
}
