//! Items of one side and key in the order of their times.
//!
//! Cost: an item in order is a push; one out of order is moved into place. What is dropped at the front is only
//! counted, and moved out when half of the run is dropped: a constant cost per item, and no allocation for a run of one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

/// An item that waits for partners.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Held<T> {
    pub(super) time: i64,
    /// The watermark of its source when it came: what was over then is not for it. At most `time` unless it was late.
    pub(super) limit: i64,
    /// Whether it has met a partner.
    pub(super) matched: bool,
    pub(super) item: T,
}

/// Items by time; equal times in the order of arrival.
#[derive(Debug)]
pub(super) struct Run<T> {
    held: SmallVec<[Held<T>; 1]>,
    /// The first so many are dropped.
    dropped: usize,
}

impl<T> Default for Run<T> {
    fn default() -> Self {
        Self {
            held: SmallVec::new(),
            dropped: 0,
        }
    }
}

impl<T: Serialize> Serialize for Run<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.live().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Run<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let held = SmallVec::deserialize(deserializer)?;
        Ok(Self { held, dropped: 0 })
    }
}

impl<T> Run<T> {
    #[inline]
    pub(super) fn insert(&mut self, held: Held<T>) {
        if self.held.last().is_none_or(|last| last.time <= held.time) {
            self.held.push(held);
            return;
        }
        let at = self.live().partition_point(|other| other.time <= held.time);
        self.held.insert(self.dropped + at, held);
    }

    #[inline]
    pub(super) fn live(&self) -> &[Held<T>] {
        &self.held[self.dropped..]
    }

    /// Those with times in `from..=to`.
    #[inline]
    pub(super) fn between(&mut self, from: i64, to: i64) -> &mut [Held<T>] {
        let live = &mut self.held[self.dropped..];
        // Runs are short mostly, and what is new meets what is new: look at the ends first.
        if live.last().is_none_or(|last| last.time < from) || from > to {
            return &mut [];
        }
        let first = live.partition_point(|held| held.time < from);
        let count = live[first..].partition_point(|held| held.time <= to);
        &mut live[first..first + count]
    }

    pub(super) fn first_time(&self) -> Option<i64> {
        self.live().first().map(|held| held.time)
    }

    pub(super) fn len(&self) -> usize {
        self.held.len() - self.dropped
    }

    /// Those with times before `time`: to be looked at before they are dropped.
    pub(super) fn before(&self, time: i64) -> &[Held<T>] {
        let live = self.live();
        let count = live.iter().take_while(|held| held.time < time).count();
        &live[..count]
    }

    /// Drops items with times before `time`; gives how many.
    pub(super) fn drop_before(&mut self, time: i64) -> usize {
        let count = self.before(time).len();
        self.dropped += count;
        if self.dropped * 2 < self.held.len() || self.dropped == 0 {
            return count;
        }
        self.held.drain(..self.dropped);
        self.dropped = 0;
        if self.held.spilled() && self.held.len() * 8 < self.held.capacity() {
            self.held.shrink_to_fit();
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_list(
            steps in prop::collection::vec((0u8..4, 0i64..50, 0i64..30), 0..100)
        ) {
            let mut run = Run::default();
            let mut model: Vec<i64> = Vec::new();
            let mut floor = i64::MIN;
            for (what, time, span) in steps {
                match what {
                    0 => {
                        floor = floor.max(time);
                        run.drop_before(floor);
                        model.retain(|other| *other >= floor);
                    }
                    1 => {
                        let found: Vec<_> =
                            run.between(time, time + span).iter().map(|held| held.time).collect();
                        let expected: Vec<_> =
                            model.iter().copied().filter(|at| (time..=time + span).contains(at)).collect();
                        prop_assert_eq!(found, expected);
                    }
                    _ if time < floor => {}
                    _ => {
                        run.insert(Held { time, limit: 0, matched: false, item: () });
                        model.push(time);
                        model.sort_unstable();
                    }
                }
                prop_assert_eq!(run.len(), model.len());
                prop_assert_eq!(run.first_time(), model.first().copied());
            }
        }
    }
}
