//! A parked key, with the letter of its failed event.

use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::state::DeadLetter;

use crate::failing::{ERROR, Stands};

/// A parked key.
#[derive(Debug)]
pub(in crate::projection) struct ParkedKey {
    pub(in crate::projection) letter: DeadLetter,
    /// Number in its stream of the letter's event. Between turns it is the next to be tried.
    pub(super) first: u64,
    /// Number in its stream of the next event to be tried.
    pub(super) version: u64,
    /// Monotonic time of the next try; `None` for a dead letter.
    pub(super) due: Option<Duration>,
    /// Whether followers came since it was stored.
    pub(super) followed: bool,
    /// Followers that this turn has passed, and their bytes.
    pub(super) passed: (u64, u64),
    /// Bytes that it counts for in the sum over all keys.
    pub(super) held_bytes: usize,
    /// Bytes of its event's own payload: the letter of one that was edited shows another.
    pub(super) event_bytes: usize,
    /// Somebody has decided about it: what comes of that is waited for.
    pub(super) is_decided: bool,
    /// The class that it was counted as a dead letter of, if it was.
    pub(super) died_of: Option<CompactString>,
}

impl ParkedKey {
    /// As it is counted. Letters of versions without a class have that of most errors.
    pub(super) fn stands(&self) -> Stands<'_> {
        let class = &self.letter.class;
        Stands {
            class: if class.is_empty() { ERROR } else { class },
            since: self.letter.first_failed,
            is_dead: self.due.is_none(),
        }
    }
}

/// How many events may wait behind one of a key, and how many bytes of payload; bytes of all letters.
#[derive(Clone, Copy, Debug)]
pub(in crate::projection) struct ParkedLimits {
    pub(in crate::projection) followers: u64,
    pub(in crate::projection) followers_bytes: u64,
    pub(in crate::projection) bytes: usize,
}

impl ParkedLimits {
    pub(super) fn are_exceeded(self, letter: &DeadLetter) -> bool {
        letter.followers > self.followers || letter.followers_bytes > self.followers_bytes
    }
}
