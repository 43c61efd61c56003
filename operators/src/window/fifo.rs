//! The slices of one key in the window that slides over them, and their aggregate.
//!
//! A function that inverts keeps one running aggregate: a slice is merged when it enters and subtracted when it
//! leaves. One that only merges keeps two stacks (the queue made of two stacks of Okasaki, as used for sliding
//! windows by Tangwongsan et al., "Low-latency sliding-window aggregation in worst-case constant time", 2017): suffix
//! aggregates of the older slices, and one aggregate of the newer. Either way a slice costs a constant number of
//! merges in the mean, however many slices a window has. Where accumulators may grow with their items the suffixes would have as
//! many items as the square of the window's: those that windows share are fewer then, see [`sums`](super::sums).

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::sums::{Sums, sum_of, sums_of};
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
    /// In the stead of both where accumulators may grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    sums: Option<Box<Sums<A>>>,
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
    #[serde(default)]
    sums: Option<Box<Sums<A>>>,
}

impl<A> From<Read<A>> for Fifo<A> {
    fn from(read: Read<A>) -> Self {
        Self {
            parts: read.parts,
            forgotten: read.forgotten,
            dead: read.dead,
            front: read.front,
            back: read.behind.or(read.back),
            sums: read.sums,
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
            sums: None,
        }
    }
}

/// Whether there are [`Sums`] in the stead of the two stacks.
const fn has_sums<T, F: AggregateFunction<T>>() -> bool {
    F::GROWS && !F::INVERTS
}

impl<A: Clone> Fifo<A> {
    /// A newer slice enters.
    pub(super) fn push<T, F>(&mut self, function: &F, number: i64, part: A)
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        if has_sums::<T, F>() {
            if let Some(sums) = &mut self.sums {
                sums.push(function, &part);
            }
        } else {
            match &mut self.back {
                Some(back) => function.merge(back, &part),
                None => self.back = Some(part.clone()),
            }
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
        while let Some((number, part)) = self.parts.get(self.dead) {
            if *number >= first {
                break;
            }
            if F::INVERTS {
                if let Some(back) = &mut self.back {
                    function.subtract(back, part);
                }
            } else if !has_sums::<T, F>() {
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
        let has_summed = has_sums::<T, F>() && self.sum_again(function);
        let is_kept = |(number, _): &(i64, A)| *number >= keep;
        let dead = &self.parts[self.forgotten..self.dead];
        let forgotten = dead.iter().position(is_kept).unwrap_or(dead.len());
        self.forgotten += forgotten;
        let is_changed = self.dead > before || forgotten > 0 || has_summed;
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

    /// Lets go sums of what has left, and makes them anew if all they cover has, or if there were none to share and slices are
    /// many more by now. Gives whether it has made any.
    fn sum_again<T, F>(&mut self, function: &F) -> bool
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        // As state that was stored once has them.
        (self.front, self.back) = (Vec::new(), None);
        let live = &self.parts[self.dead..];
        if let (Some(sums), Some((first, _))) = (&mut self.sums, live.first())
            && sums.expire(*first, live.len())
        {
            return false;
        }
        self.sums = sums_of(function, live).map(Box::new);
        self.sums.is_some()
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
        if has_sums::<T, F>() {
            let live = &self.parts[self.dead..];
            return match &self.sums {
                Some(sums) => sums.value(function, live),
                None => sum_of(function, live),
            };
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
        self.sums = None;
        if !has_sums::<T, F>() {
            self.back = self.value_of(function, first, i64::MAX);
        }
    }
}

#[cfg(test)]
mod tests;
