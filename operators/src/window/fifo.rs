//! The slices of one key in the window that slides over them, and their aggregate.
//!
//! A function that inverts keeps one running aggregate: a slice is merged when it enters and subtracted when it
//! leaves. One that only merges keeps two stacks (the queue made of two stacks of Okasaki, as used for sliding
//! windows by Tangwongsan et al., "Low-latency sliding-window aggregation in worst-case constant time", 2017): suffix
//! aggregates of the older slices, and one aggregate of the newer. Either way a slice costs a constant number of
//! merges in the mean, however many slices a window has. Where accumulators grow with their items the suffixes would have as
//! many items as the square of the window's: their slices are merged for each window, which costs no more than its result does.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::function::AggregateFunction;
use crate::maybe;

/// Slices of one key, oldest first.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Read<A>")]
pub(super) struct Fifo<A> {
    /// Numbers ascend. The first `forgotten` ones are nobody's any more, those after them up to `dead` have left the
    /// window and wait for late items. Two slices need no allocation.
    parts: SmallVec<[(i64, A); 2]>,
    forgotten: usize,
    dead: usize,
    /// `front[i]` aggregates the live parts that the stack covers from the (i+1)-last on; the last one all of them.
    front: Vec<A>,
    /// Aggregates the live parts behind those.
    #[serde(rename = "behind", with = "maybe")]
    back: Option<A>,
}

/// As it is read, also as it was written when an accumulator that is `None` itself was taken for no accumulator.
#[derive(Deserialize)]
#[serde(bound(deserialize = "A: Deserialize<'de>"))]
struct Read<A> {
    parts: SmallVec<[(i64, A); 2]>,
    forgotten: usize,
    dead: usize,
    front: Vec<A>,
    back: Option<A>,
    #[serde(default, with = "maybe")]
    behind: Option<A>,
}

impl<A> From<Read<A>> for Fifo<A> {
    fn from(read: Read<A>) -> Self {
        Self {
            parts: read.parts,
            forgotten: read.forgotten,
            dead: read.dead,
            front: read.front,
            back: read.behind.or(read.back),
        }
    }
}

impl<A> Default for Fifo<A> {
    fn default() -> Self {
        Self {
            parts: SmallVec::new(),
            forgotten: 0,
            dead: 0,
            front: Vec::new(),
            back: None,
        }
    }
}

/// Whether slices are merged for each window, and nothing else is kept of them.
const fn is_merged_each_time<T, F: AggregateFunction<T>>() -> bool {
    F::GROWS && !F::INVERTS
}

/// The aggregate of some parts, if there are any.
fn sum_of<'a, T, F>(
    function: &F,
    parts: impl Iterator<Item = &'a (i64, F::Accumulator)>,
) -> Option<F::Accumulator>
where
    F: AggregateFunction<T>,
    F::Accumulator: 'a,
{
    let mut sum: Option<F::Accumulator> = None;
    for (_, part) in parts {
        match &mut sum {
            Some(sum) => function.merge(sum, part),
            None => sum = Some(part.clone()),
        }
    }
    sum
}

impl<A: Clone> Fifo<A> {
    /// A newer slice enters.
    pub(super) fn push<T, F>(&mut self, function: &F, number: i64, part: A)
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        if is_merged_each_time::<T, F>() {
            self.parts.push((number, part));
            return;
        }
        match &mut self.back {
            Some(back) => function.merge(back, &part),
            None => self.back = Some(part.clone()),
        }
        self.parts.push((number, part));
    }

    /// A slice enters that mostly is newer than all others; those before `first` are not in the window.
    pub(super) fn enter<T, F>(&mut self, function: &F, number: i64, first: i64, part: A)
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        if self.parts.last().is_none_or(|(newest, _)| *newest < number) {
            self.push(function, number, part);
        } else {
            self.amend(function, number, first, |sum| function.merge(sum, &part));
        }
    }

    /// Slices before `first` leave; those before `keep` are forgotten. Gives whether there was any.
    pub(super) fn expire<T, F>(&mut self, function: &F, first: i64, keep: i64) -> bool
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        let before = self.dead;
        if is_merged_each_time::<T, F>() {
            // As state that was stored once has them.
            (self.front, self.back) = (Vec::new(), None);
        }
        while let Some((number, part)) = self.parts.get(self.dead) {
            if *number >= first {
                break;
            }
            if F::INVERTS {
                if let Some(back) = &mut self.back {
                    function.subtract(back, part);
                }
            } else if !F::GROWS {
                if self.front.is_empty() {
                    self.flip(function);
                }
                self.front.pop();
            }
            self.dead += 1;
        }
        if self.is_empty() {
            self.back = None;
        }
        let is_kept = |(number, _): &(i64, A)| *number >= keep;
        let dead = &self.parts[self.forgotten..self.dead];
        let forgotten = dead.iter().position(is_kept).unwrap_or(dead.len());
        self.forgotten += forgotten;
        let is_changed = self.dead > before || forgotten > 0;
        // Moved up only once that costs no more than what it frees.
        if self.forgotten * 2 >= self.parts.len() {
            self.parts.drain(..self.forgotten);
            self.dead -= self.forgotten;
            self.forgotten = 0;
        }
        is_changed
    }

    /// Turns the newer stack into the older one.
    fn flip<T, F>(&mut self, function: &F)
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        let mut sum: Option<A> = None;
        for (_, part) in self.parts.iter().skip(self.dead).rev() {
            let mut next = part.clone();
            if let Some(sum) = &sum {
                function.merge(&mut next, sum);
            }
            self.front.push(next.clone());
            sum = Some(next);
        }
        self.back = None;
    }

    /// Whether the window has nothing of this key.
    pub(super) fn is_empty(&self) -> bool {
        self.dead == self.parts.len()
    }

    /// Whether nothing is kept at all.
    pub(super) fn is_forgotten(&self) -> bool {
        self.parts.len() == self.forgotten
    }

    /// The oldest slice that is kept.
    pub(super) fn first(&self) -> Option<i64> {
        self.parts.get(self.forgotten).map(|(number, _)| *number)
    }

    /// The newest slice.
    pub(super) fn last(&self) -> Option<i64> {
        self.parts.last().map(|(number, _)| *number)
    }

    /// Slices kept.
    pub(super) fn len(&self) -> usize {
        self.parts.len() - self.forgotten
    }

    /// The aggregate of the window, if it has anything.
    pub(super) fn value<T, F>(&self, function: &F) -> Option<A>
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        if is_merged_each_time::<T, F>() {
            return sum_of(function, self.parts[self.dead..].iter());
        }
        match (self.front.last(), &self.back) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (Some(front), Some(back)) => {
                let mut sum = front.clone();
                function.merge(&mut sum, back);
                Some(sum)
            }
        }
    }

    /// The aggregate of the slices `first..=last`, wherever they are. Cost: one merge for each.
    pub(super) fn value_of<T, F>(&self, function: &F, first: i64, last: i64) -> Option<A>
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        let from = self.parts.partition_point(|(number, _)| *number < first);
        let parts = self.parts[from..].iter();
        sum_of(function, parts.take_while(|(number, _)| *number <= last))
    }

    /// Changes the slice `number`, which may be new; slices before `first` are not in the window. Cost: one merge for
    /// each slice.
    pub(super) fn amend<T, F>(
        &mut self,
        function: &F,
        number: i64,
        first: i64,
        change: impl FnOnce(&mut A),
    ) where
        F: AggregateFunction<T, Accumulator = A>,
    {
        let at = self.parts.partition_point(|(part, _)| *part < number);
        if self.parts.get(at).is_none_or(|(part, _)| *part != number) {
            self.parts.insert(at, (number, function.create()));
        }
        change(&mut self.parts[at].1);
        self.dead = self.parts.partition_point(|(part, _)| *part < first);
        self.front.clear();
        if !is_merged_each_time::<T, F>() {
            self.back = self.value_of(function, first, i64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use millstream_engine::time::Timestamp;

    use super::*;
    use crate::function::{collect, count, distinct_set};

    /// Items in all that a window keeps.
    fn items_of<A>(fifo: &Fifo<A>, items: impl Fn(&A) -> usize) -> usize {
        let parts = fifo.parts.iter().map(|(_, part)| part);
        let sums = fifo.front.iter().chain(&fifo.back);
        parts.chain(sums).map(items).sum()
    }

    /// Story: at each flip a list was kept for each slice of all that came in it and later, as many items as the square of
    /// the window's. A window of 100 slices slides over 1,000, some of which change once more; of what each has there must be
    /// one copy.
    #[test]
    fn what_grows_with_its_items_keeps_each_once() {
        const SLICES: i64 = 100;
        let function = (collect(), distinct_set(|item: &i64| *item % 7), count());
        let mut fifo = Fifo::default();
        for number in 0..1_000 {
            let (first, keep) = (number - SLICES + 1, number - SLICES - 4);
            fifo.expire::<i64, _>(&function, first, keep);
            let mut part = AggregateFunction::<i64>::create(&function);
            for item in [number * 10, number * 10 + 1] {
                function.add(&mut part, Timestamp::EPOCH, &item);
            }
            fifo.enter::<i64, _>(&function, number, first, part);
            if number % 10 == 9 {
                let late = number * 10 - 20 + 5;
                let amended = |sum: &mut _| function.add(sum, Timestamp::EPOCH, &late);
                fifo.amend::<i64, _>(&function, number - 2, first, amended);
            }
            // As a model has it: all items of the slices that are in the window.
            let late =
                |slice: i64| (slice % 10 == 7 && slice + 2 <= number).then_some(slice * 10 + 5);
            let of_slice = |slice: i64| {
                let came = [slice * 10, slice * 10 + 1];
                came.into_iter().chain(late(slice))
            };
            let expected: Vec<_> = (first.max(0)..=number).flat_map(of_slice).collect();
            let (items, distinct, count) = fifo.value::<i64, _>(&function).unwrap();
            assert_eq!((items, count), (expected.clone(), expected.len() as u64));
            let kinds: std::collections::BTreeSet<_> =
                expected.iter().map(|item| item % 7).collect();
            assert_eq!(distinct, kinds);
            let kept = items_of(&fifo, |part| part.0.len());
            assert!(kept < expected.len() * 3, "{kept} for {}", expected.len());
        }
    }

    /// State that was stored when sums of slices were kept for everything.
    #[test]
    fn sums_that_were_stored_once_count_for_nothing() {
        let stored = serde_json::json!({
            "parts": [[1, [10]], [2, [20]], [3, [30]]], "forgotten": 0, "dead": 1, "front": [[20]], "behind": [[30]], "back": null,
        });
        let mut fifo: Fifo<Vec<i64>> = serde_json::from_value(stored).unwrap();
        let function = collect();
        assert_eq!(fifo.value::<i64, _>(&function), Some(vec![20, 30]));
        fifo.expire::<i64, _>(&function, 3, 3);
        assert_eq!(fifo.value::<i64, _>(&function), Some(vec![30]));
        assert_eq!(items_of(&fifo, Vec::len), fifo.parts.len());
    }

    /// Accumulators may be `None` themselves, as of a maximum that nothing has passed the condition for.
    #[test]
    fn an_accumulator_of_nothing_is_not_no_accumulator() {
        let fifo = Fifo::<Option<u8>> {
            back: Some(None),
            ..Fifo::default()
        };
        let bytes = rmp_serde::to_vec_named(&fifo).unwrap();
        let read: Fifo<Option<u8>> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(read.back, Some(None));
        // As it was written once.
        let old =
            serde_json::json!({"parts": [], "forgotten": 0, "dead": 0, "front": [], "back": 7});
        let old = rmp_serde::to_vec_named(&old).unwrap();
        let read: Fifo<Option<u8>> = rmp_serde::from_slice(&old).unwrap();
        assert_eq!(read.back, Some(Some(7)));
    }
}
