//! Values in the order of a time at which something is to be done with them: a calendar queue.
//!
//! Values that are far off lie unsorted in buckets of time; a bucket is sorted when its time comes. What is then still
//! added to that time mostly comes in order and is appended to what did, and only what does not goes to a heap. Cost: per
//! value a search among few buckets and its share of one sort, whatever the number of values; a heap of all would miss the
//! cache at each level.
//! Beside a [ladder](crate::ladder): here it is known how far apart values are due, so that each is moved once; those of one
//! time keep the order in which they came without a number of their own; and the caller goes by the same buckets.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Emptied buckets kept for the times to come.
const SPARES: usize = 4;

/// A value whose bucket was sorted before it came.
#[derive(Debug)]
struct Near<T> {
    due: i64,
    number: u64,
    value: T,
}

impl<T> Near<T> {
    const fn order(&self) -> (i64, u64) {
        (self.due, self.number)
    }
}

impl<T> Ord for Near<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        other.order().cmp(&self.order())
    }
}

impl<T> PartialOrd for Near<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Near<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Near<T> {}

/// Values by time; equal times in the order of arrival.
#[derive(Debug)]
pub(super) struct DueQueue<T> {
    width: i64,
    /// All due at `until` or later.
    buckets: BTreeMap<i64, Vec<(i64, T)>>,
    /// The earliest first.
    sorted: VecDeque<(i64, T)>,
    /// Due before `until`, none of them earlier than the one before it.
    in_turn: VecDeque<Near<T>>,
    /// Due before `until`, and earlier than one that came before.
    near: BinaryHeap<Near<T>>,
    pushed_near: u64,
    until: i64,
    spares: Vec<Vec<(i64, T)>>,
    len: usize,
}

/// Whether what is due at `due` comes before a watermark. What is due at the end of time comes before that: there is none
/// later.
pub(super) const fn is_before(due: i64, before: i64) -> bool {
    due < before || before == i64::MAX
}

impl<T> DueQueue<T> {
    /// For values that are mostly due within `span` of each other.
    pub(super) fn new(span: i64) -> Self {
        Self {
            width: (span / 32).max(1),
            buckets: BTreeMap::new(),
            sorted: VecDeque::new(),
            in_turn: VecDeque::new(),
            near: BinaryHeap::new(),
            pushed_near: 0,
            until: i64::MIN,
            spares: Vec::new(),
            len: 0,
        }
    }

    pub(super) fn push(&mut self, due: i64, value: T) {
        self.len += 1;
        if due < self.until {
            let number = self.pushed_near;
            self.pushed_near += 1;
            let near = Near { due, number, value };
            if self.in_turn.back().is_none_or(|last| last.due <= due) {
                self.in_turn.push_back(near);
            } else {
                self.near.push(near);
            }
            return;
        }
        let spares = &mut self.spares;
        self.buckets
            .entry(due.div_euclid(self.width))
            .or_insert_with(|| spares.pop().unwrap_or_default())
            .push((due, value));
    }

    /// Number of the bucket of a time.
    #[inline]
    pub(super) const fn bucket_of(&self, due: i64) -> i64 {
        due.div_euclid(self.width)
    }

    /// The first time of a bucket.
    pub(super) const fn begin_of(&self, number: i64) -> i64 {
        number.saturating_mul(self.width)
    }

    /// Nothing, with room for what an earlier bucket had.
    pub(super) fn spare(&mut self) -> Vec<(i64, T)> {
        self.spares.pop().unwrap_or_default()
    }

    /// Adds all values of a bucket that has none yet and was not reached, in the order of arrival.
    pub(super) fn take_bucket(&mut self, number: i64, values: Vec<(i64, T)>) {
        self.len += values.len();
        self.buckets.insert(number, values);
    }

    /// Takes the earliest value out if it is due before `before`; whenever it is, if that is the end of time.
    pub(super) fn pop(&mut self, before: i64) -> Option<(i64, T)> {
        if self.sorted.is_empty() && self.in_turn.is_empty() && self.near.is_empty() {
            self.sort_next(before)?;
        }
        let sorted = self.sorted.front().map(|(due, _)| *due);
        let near = self.first_near();
        // Of equal times, what is in the bucket came first.
        if let Some(due) = sorted.filter(|due| near.is_none_or(|(near, _)| *due <= near)) {
            if !is_before(due, before) {
                return None;
            }
            self.len -= 1;
            return self.sorted.pop_front();
        }
        let (due, is_in_turn) = near?;
        if !is_before(due, before) {
            return None;
        }
        self.len -= 1;
        let near = if is_in_turn {
            self.in_turn.pop_front()
        } else {
            self.near.pop()
        };
        near.map(|near| (near.due, near.value))
    }

    /// Of what came after its bucket was sorted, when the first one is due, and whether it came in order.
    #[inline]
    fn first_near(&self) -> Option<(i64, bool)> {
        let in_turn = self.in_turn.front().map(Near::order);
        let near = self.near.peek().map(Near::order);
        match (in_turn, near) {
            (Some(in_turn), Some(near)) if near < in_turn => Some((near.0, false)),
            (Some((due, _)), _) => Some((due, true)),
            (None, near) => near.map(|(due, _)| (due, false)),
        }
    }

    fn sort_next(&mut self, before: i64) -> Option<()> {
        let first = self.buckets.first_entry()?;
        let number = *first.key();
        if !is_before(number.saturating_mul(self.width), before) {
            return None;
        }
        let mut bucket = first.remove();
        // The sort is stable: of equal times the one that came first is taken first. What came in order costs a look.
        bucket.sort_by_key(|(due, _)| *due);
        // Neither of the two moves what it has.
        let emptied = std::mem::replace(&mut self.sorted, bucket.into());
        if self.spares.len() < SPARES {
            self.spares.push(emptied.into());
        }
        self.until = number.saturating_add(1).saturating_mul(self.width);
        Some(())
    }

    /// All values in the order in which they would be taken out.
    pub(super) fn in_order(&self) -> Vec<(i64, &T)> {
        let mut near: Vec<_> = self.near.iter().chain(&self.in_turn).collect();
        near.sort_unstable_by_key(|near| near.order());
        let sorted = self.sorted.iter().map(|(due, value)| (*due, value));
        let near = near.into_iter().map(|near| (near.due, &near.value));
        let buckets = self.buckets.values().flatten();
        let buckets = buckets.map(|(due, value)| (*due, value));
        let mut all: Vec<_> = sorted.chain(near).chain(buckets).collect();
        // The sort is stable: of equal times, what is in the sorted bucket came first.
        all.sort_by_key(|(due, _)| *due);
        all
    }

    /// When the earliest value is due; of a bucket that is not sorted yet, its beginning.
    pub(super) fn first(&self) -> Option<i64> {
        let sorted = self.sorted.front().map(|(due, _)| *due);
        let near = self.first_near().map(|(due, _)| due);
        let bucket = self.buckets.keys().next();
        let bucket = bucket.map(|number| number.saturating_mul(self.width));
        [sorted, near, bucket].into_iter().flatten().min()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_of_time_comes_before_itself() {
        for span in [0, 3_200] {
            let mut queue = DueQueue::new(span);
            queue.push(i64::MAX, 1);
            queue.push(i64::MAX - 1, 2);
            assert_eq!(queue.pop(i64::MAX - 1), None);
            assert_eq!(queue.pop(i64::MAX), Some((i64::MAX - 1, 2)));
            queue.push(i64::MAX, 3);
            assert_eq!(queue.pop(i64::MAX), Some((i64::MAX, 1)));
            assert_eq!(queue.pop(i64::MAX), Some((i64::MAX, 3)));
            assert_eq!(queue.pop(i64::MAX), None);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_stable_priority_queue(
            steps in prop::collection::vec((any::<bool>(), -200i64..200), 0..200), span in 0i64..300
        ) {
            let mut queue = DueQueue::new(span);
            let mut model: Vec<(i64, usize)> = Vec::new();
            for (number, (is_push, time)) in steps.into_iter().enumerate() {
                if is_push {
                    queue.push(time, number);
                    model.push((time, number));
                } else {
                    while let Some(found) = queue.pop(time) {
                        let first = *model.iter().min().unwrap();
                        prop_assert_eq!(found, first);
                        model.retain(|other| *other != first);
                    }
                    prop_assert!(model.iter().all(|(due, _)| *due >= time));
                }
                prop_assert_eq!(queue.len(), model.len());
                let in_order: Vec<_> =
                    queue.in_order().into_iter().map(|(due, number)| (due, *number)).collect();
                let mut sorted = model.clone();
                sorted.sort_unstable();
                prop_assert_eq!(in_order, sorted);
            }
        }
    }
}
