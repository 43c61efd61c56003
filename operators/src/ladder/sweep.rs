//! Drops entries that are valid no longer, in pieces of a few chunks each.
//!
//! A sweep goes from what is due last to what is due first: the top, then the rungs from the outermost in, each from its last
//! bucket to its first, and at last what is sorted and the heap. Its place is a level, a bucket and a chunk. What happens
//! between two pieces leaves the place right: what comes to a bucket comes behind its last chunk, chunks that go to disk
//! stay where they are, and where entries are moved that a sweep has not come to the place goes with them.
//! Invariant: what was to be dropped when a sweep began, and has not left before, is dropped when it is over. Entries that
//! come where it has been are left for the next one, and some are looked at twice.

use super::rung::BUCKETS;
use super::{Ladder, Ranked};

/// Where a sweep goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The top is 0, the outermost rung 1.
    level: usize,
    /// A bucket of the rung.
    bucket: usize,
    /// A chunk of the bucket; behind the last one is what is filled.
    chunk: usize,
}

impl Place {
    const BEGIN: Self = Self::of_top(0);

    const fn of_top(chunk: usize) -> Self {
        let bucket = 0;
        let level = 0;
        Self {
            level,
            bucket,
            chunk,
        }
    }

    /// The last bucket of the next level.
    const fn next_level(self) -> Self {
        Self {
            level: self.level + 1,
            bucket: BUCKETS - 1,
            chunk: 0,
        }
    }
}

/// What came of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) dropped: usize,
    /// Whether it was the last piece.
    pub(crate) is_over: bool,
}

impl<T> Ladder<T> {
    /// Whether a sweep has begun and is not over.
    pub(crate) const fn is_sweeping(&self) -> bool {
        self.sweeping.is_some()
    }

    /// All rungs are about to go to the top. What a sweep has not come to is behind all that the top has.
    pub(super) fn sweep_goes_to_top(&mut self) {
        if self.sweeping.is_some_and(|place| place.level > 0) {
            self.sweeping = Some(Place::of_top(self.top.chunks()));
        }
    }

    /// All of the top is about to be somewhere else, which a sweep that is there has ahead.
    pub(super) fn sweep_leaves_top(&mut self) {
        if let Some(place) = self.sweeping.as_mut().filter(|place| place.level == 0) {
            *place = Place::BEGIN;
        }
    }

    /// A rung is about to be made, within those that there are. A sweep that has come further has it ahead.
    pub(super) fn sweep_goes_to_rung(&mut self) {
        let outer = self.rungs.len();
        if let Some(place) = &mut self.sweeping
            && place.level > outer
        {
            *place = Place {
                level: outer,
                ..*place
            }
            .next_level();
        }
    }
}

impl<T: Ranked> Ladder<T> {
    /// Begins a sweep or goes on with it: of so many chunks, drops the entries but those that are to be kept. What is
    /// sorted and the heap are one more.
    pub(crate) fn sweep(&mut self, chunks: usize, mut is_kept: impl FnMut(&T) -> bool) -> Swept {
        let before = self.len;
        let mut place = self.sweeping.take().unwrap_or(Place::BEGIN);
        let mut left = chunks;
        let is_over = loop {
            let spilling = self.spilling.as_deref_mut();
            let from = place.chunk;
            let on = match place.level.checked_sub(1) {
                None => self.top.retain(from, &mut left, spilling, &mut is_kept),
                Some(rung) => match self.rungs.get_mut(rung) {
                    Some(rung) => {
                        rung.retain((place.bucket, from), &mut left, spilling, &mut is_kept)
                    }
                    None => break true,
                },
            };
            self.len -= on.dropped;
            place = match on.next {
                Some(chunk) => {
                    place.chunk = chunk;
                    break false;
                }
                None if place.level == 0 || place.bucket == 0 => place.next_level(),
                None => Place {
                    bucket: place.bucket - 1,
                    chunk: 0,
                    ..place
                },
            };
        };
        if is_over {
            let len = self.sorted.len() + self.near.len();
            self.sorted.retain(&mut is_kept);
            self.near.retain(|near| is_kept(&near.0));
            self.len -= len - self.sorted.len() - self.near.len();
        } else {
            self.sweeping = Some(place);
        }
        self.has_left();
        Swept {
            dropped: before - self.len,
            is_over,
        }
    }

    /// Drops entries but those that are to be kept, wherever they are, in one go.
    pub(crate) fn retain(&mut self, is_kept: impl FnMut(&T) -> bool) {
        self.sweeping = None;
        self.sweep(usize::MAX, is_kept);
    }
}
