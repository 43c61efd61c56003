//! What was taken so far, and what a match is.

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::arena::Arena;
use super::steps::Step;

/// An item that a step took, after those before it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) step: u16,
    /// Number in the order of looking at items.
    pub(super) place: u64,
    pub(super) item: u32,
    pub(super) before: Option<u32>,
}

/// Items and chains of them, shared by runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Shared<T> {
    pub(super) items: Arena<(Timestamp, T)>,
    pub(super) chains: Arena<Taken>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self {
            items: Arena::default(),
            chains: Arena::default(),
        }
    }
}

impl<T> Shared<T> {
    /// A chain longer by one; holds what it is made of.
    pub(super) fn extend(&mut self, taken: Taken) -> u32 {
        self.items.hold(taken.item);
        if let Some(before) = taken.before {
            self.chains.hold(before);
        }
        self.chains.add(taken)
    }

    /// Lets go of a chain, and of all that only it held.
    pub(super) fn release(&mut self, chain: u32) {
        let mut next = Some(chain);
        while let Some(chain) = next {
            next = None;
            if let Some(taken) = self.chains.release(chain) {
                self.items.release(taken.item);
                next = taken.before;
            }
        }
    }

    /// From the last one back.
    pub(super) fn chain(&self, last: Option<u32>) -> impl Iterator<Item = Taken> + '_ {
        let at = |number: u32| *self.chains.get(number);
        std::iter::successors(last.map(at), move |taken| taken.before.map(at))
    }
}

/// What a run has taken so far, for conditions that look at it.
#[derive(Debug)]
pub struct Matched<'a, T> {
    pub(super) shared: &'a Shared<T>,
    pub(super) names: &'a [CompactString],
    pub(super) last: Option<u32>,
}

impl<T> Matched<'_, T> {
    /// Items that a step took, the latest first; none if there is no such step.
    pub fn items(&self, step: &str) -> impl Iterator<Item = &T> {
        let number = self.names.iter().position(|name| **name == *step);
        self.shared
            .chain(self.last)
            .filter(move |taken| Some(usize::from(taken.step)) == number)
            .map(|taken| &self.shared.items.get(taken.item).1)
    }

    /// The latest item that a step took.
    pub fn last(&self, step: &str) -> Option<&T> {
        self.items(step).next()
    }

    /// All items, the latest first, with the times.
    pub fn all(&self) -> impl Iterator<Item = (Timestamp, &T)> {
        self.shared.chain(self.last).map(|taken| {
            let (time, item) = self.shared.items.get(taken.item);
            (*time, item)
        })
    }
}

/// Items that one step took.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepItems<T> {
    /// Name of the step.
    pub step: CompactString,
    /// Its items, in order.
    pub items: Vec<T>,
}

/// A pattern that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Match<K, T> {
    /// Whose items they are.
    pub key: K,
    /// By step, in the order of the pattern; steps that took nothing are not there.
    pub steps: Vec<StepItems<T>>,
    /// Time of the first item.
    pub start: Timestamp,
    /// Time of the last item; of a pattern that ends in a negation too.
    pub end: Timestamp,
}

impl<K, T> Match<K, T> {
    /// Items that a step took, in order; empty if it took none.
    pub fn items(&self, step: &str) -> &[T] {
        let taken = self.steps.iter().find(|items| *items.step == *step);
        taken.map_or(&[], |items| &items.items)
    }
}

/// Collects the items of a chain by step.
pub(super) fn collect<K, T: Clone>(
    key: K,
    steps: &[Step<T>],
    shared: &Shared<T>,
    last: u32,
) -> Match<K, T> {
    let mut taken: Vec<_> = shared.chain(Some(last)).collect();
    taken.reverse();
    let time = |taken: Option<&Taken>| {
        taken.map_or(Timestamp::MIN, |taken| shared.items.get(taken.item).0)
    };
    let (start, end) = (time(taken.first()), time(taken.last()));
    let by_step = taken.chunk_by(|one, two| one.step == two.step);
    let steps = by_step.map(|taken| StepItems {
        step: steps[usize::from(taken[0].step)].name.clone(),
        items: taken
            .iter()
            .map(|taken| shared.items.get(taken.item).1.clone())
            .collect(),
    });
    Match {
        key,
        steps: steps.collect(),
        start,
        end,
    }
}
