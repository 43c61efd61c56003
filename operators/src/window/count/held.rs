//! What one key has of its windows.

use std::collections::VecDeque;

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Count;
use super::bounds::{Bounded, Sum};
use crate::function::AggregateFunction;
use crate::window::fifo::Fifo;

#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Held<A> {
    /// Windows that are not full, oldest first, each with its number of items.
    Windows(VecDeque<(u64, Sum<A>)>),
    /// Runs of `gcd(size, every)` items, which windows share; the newest is not full.
    Runs {
        full: Fifo<Sum<A>>,
        newest: Option<Sum<A>>,
    },
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct OfKey<A> {
    /// Items that came.
    taken: u64,
    held: Held<A>,
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Count {
    /// Whether windows share runs of items.
    const fn shares(&self, merges: bool) -> bool {
        merges && self.every < self.size
    }

    fn run(&self) -> u64 {
        gcd(self.size, self.every)
    }

    /// Numbers of the items that begin the windows which are not full after `taken` items, ascending.
    fn begun(&self, taken: u64) -> impl Iterator<Item = u64> + use<> {
        let first = (taken + 1).saturating_sub(self.size);
        let first = first.next_multiple_of(self.every);
        (first..taken).step_by(self.every as usize)
    }
}

impl<A: Clone> OfKey<A> {
    pub(super) fn new(count: &Count, merges: bool) -> Self {
        let held = if count.shares(merges) {
            Held::Runs {
                full: Fifo::default(),
                newest: None,
            }
        } else {
            Held::Windows(VecDeque::new())
        };
        Self { taken: 0, held }
    }

    /// Takes an item; gives the window that it makes full.
    pub(super) fn add<T, F>(
        &mut self,
        count: &Count,
        function: &Bounded<F>,
        (time, item): (Timestamp, &T),
    ) -> Option<Sum<A>>
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        let before = self.taken;
        self.taken += 1;
        match &mut self.held {
            Held::Windows(windows) => {
                if before.is_multiple_of(count.every) {
                    windows.push_back((0, function.create()));
                }
                for (items, sum) in windows.iter_mut() {
                    *items += 1;
                    function.add(sum, time, item);
                }
                let is_full = windows
                    .front()
                    .is_some_and(|(items, _)| *items == count.size);
                is_full
                    .then(|| windows.pop_front())
                    .flatten()
                    .map(|window| window.1)
            }
            Held::Runs { full, newest } => {
                let run = count.run();
                let sum = newest.get_or_insert_with(|| function.create());
                function.add(sum, time, item);
                if !self.taken.is_multiple_of(run) {
                    return None;
                }
                let number = |items: u64| (items / run) as i64;
                if let Some(sum) = newest.take() {
                    full.push(function, number(before), sum);
                }
                let start = self.taken.checked_sub(count.size)?;
                if !start.is_multiple_of(count.every) {
                    return None;
                }
                let first = number(start);
                full.expire(function, first, first);
                full.value(function)
            }
        }
    }

    /// Whether nothing need be known of the key: the next item begins a window as the first did.
    pub(super) fn is_over(&self, count: &Count) -> bool {
        match &self.held {
            Held::Windows(windows) => windows.is_empty() && self.taken.is_multiple_of(count.every),
            Held::Runs { .. } => false,
        }
    }

    /// Accumulators kept, at least one for a key that is counted.
    pub(super) fn len(&self) -> usize {
        match &self.held {
            Held::Windows(windows) => windows.len().max(1),
            Held::Runs { full, newest } => (full.len() + usize::from(newest.is_some())).max(1),
        }
    }

    /// Whether windows that are counted so can go on from this.
    pub(super) fn fits(&self, count: &Count, merges: bool) -> bool {
        let taken = self.taken;
        match &self.held {
            Held::Windows(windows) => {
                let held = windows.iter().map(|(items, _)| *items);
                held.eq(count.begun(taken).map(|start| taken - start))
            }
            Held::Runs { full, newest } => {
                let run = count.run();
                let is_cut_so = newest.is_some() != taken.is_multiple_of(run)
                    && full
                        .last()
                        .is_none_or(|last| last + 1 == (taken / run) as i64);
                let mut begun = count.begun(taken).map(|start| (start / run) as i64);
                let needed = begun.next().filter(|needed| *needed < (taken / run) as i64);
                let has_needed =
                    needed.is_none_or(|needed| full.first().is_some_and(|first| first <= needed));
                count.shares(merges) && is_cut_so && has_needed
            }
        }
    }

    /// The windows that have begun and are not full, oldest first.
    pub(super) fn unfinished<T, F>(self, count: &Count, function: &Bounded<F>) -> Vec<Sum<A>>
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        match self.held {
            Held::Windows(windows) => windows.into_iter().map(|window| window.1).collect(),
            Held::Runs { full, newest } => {
                let run = count.run();
                let starts = count.begun(self.taken);
                let window = |start: u64| {
                    let closed = full.value_of(function, (start / run) as i64, i64::MAX);
                    match (closed, &newest) {
                        (Some(mut sum), Some(newest)) => {
                            function.merge(&mut sum, newest);
                            Some(sum)
                        }
                        (one, newest) => one.or_else(|| newest.clone()),
                    }
                };
                starts.filter_map(window).collect()
            }
        }
    }
}
