//! What a stage does about items that fail.

use std::time::Duration;

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::projection::FailurePolicy;

/// What a stage does about an item that user code fails on: tries it again, and then one of [`Then`].
///
/// ```
/// use std::time::Duration;
/// use millstream_operators::failing::ItemPolicy;
///
/// let policy = ItemPolicy::dead_letter().attempts(3, Duration::from_millis(50));
/// assert_eq!(policy.retry.attempts_max, 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItemPolicy {
    /// Tries, and the time between them, of which up to half is left out at random.
    pub retry: FailurePolicy,
    /// What becomes of an item that failed each time.
    pub then: Then,
    /// How much may wait.
    pub waiting: WaitingLimits,
    /// What becomes of an item that finds no room behind the failed one of its key.
    pub when_full: WhenFull,
    /// Dead letters of one partition of the stage that are tried again or given up per second, when somebody decides about
    /// many at once. Default 1,000, at least 1.
    pub redrives_per_second: u32,
}

/// What becomes of an item that failed each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It waits for a decision by a person, and later items of its key behind it. The default.
    #[default]
    DeadLetter,
    /// It is passed over and counted, and later items of its key go on.
    Skip,
    /// The dataflow fails with its cause, and begins again from its last checkpoint as often as it may.
    Halt,
}

/// What becomes of an item that finds no room behind the failed one of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The dataflow fails and names the bound. The default: nothing is lost and no order is broken.
    #[default]
    Halt,
    /// It is a dead letter of its own, without having been tried: when it is redriven it does not wait for those before
    /// it. Where the bound of all keys is reached, too, the dataflow fails.
    DeadLetter,
    /// It is passed over and counted.
    Skip,
}

/// How much may wait in one partition of a stage, in memory and in each checkpoint. Bytes are those of the items as they
/// are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WaitingLimits {
    /// Items behind the failed one of a key. Default 10,000.
    pub key_items_max: usize,
    /// Their bytes. Default 16 MiB.
    pub key_bytes_max: usize,
    /// Items of all keys, those that failed included. Default 100,000. One more that fails halts the dataflow, unless
    /// what finds no room is skipped.
    pub items_max: usize,
    /// Their bytes. Default 64 MiB.
    pub bytes_max: usize,
}

impl Default for WaitingLimits {
    fn default() -> Self {
        Self {
            key_items_max: 10_000,
            key_bytes_max: 16 << 20,
            items_max: 100_000,
            bytes_max: 64 << 20,
        }
    }
}

impl Default for ItemPolicy {
    fn default() -> Self {
        Self {
            retry: FailurePolicy::default(),
            then: Then::default(),
            waiting: WaitingLimits::default(),
            when_full: WhenFull::default(),
            redrives_per_second: 1_000,
        }
    }
}

impl ItemPolicy {
    /// Five tries, then a dead letter.
    #[must_use]
    pub fn dead_letter() -> Self {
        Self::default()
    }

    /// Five tries, then it is passed over and counted.
    #[must_use]
    pub fn skip() -> Self {
        Self {
            then: Then::Skip,
            ..Self::default()
        }
    }

    /// Five tries, then the dataflow fails.
    #[must_use]
    pub fn halt() -> Self {
        Self {
            then: Then::Halt,
            ..Self::default()
        }
    }

    /// Tries before the item is given up, the first one included (at least one), and the time before the second; each later
    /// wait is twice as long, up to [`backoff_max`](FailurePolicy::backoff_max).
    #[must_use]
    pub const fn attempts(mut self, attempts_max: u32, backoff_first: Duration) -> Self {
        self.retry.attempts_max = attempts_max;
        self.retry.backoff_first = backoff_first;
        self
    }

    /// How much may wait, and what becomes of what finds no room.
    #[must_use]
    pub const fn waiting(mut self, waiting: WaitingLimits, when_full: WhenFull) -> Self {
        self.waiting = waiting;
        self.when_full = when_full;
        self
    }

    /// Whether what fails is neither tried again nor kept.
    pub(super) const fn passes_over_at_once(&self) -> bool {
        matches!(self.then, Then::Skip) && self.retry.attempts_max <= 1
    }

    /// Whether something may become a dead letter.
    #[must_use]
    pub fn keeps_letters(&self) -> bool {
        self.then == Then::DeadLetter || self.when_full == WhenFull::DeadLetter
    }

    /// Time between two dead letters that are redriven.
    pub(super) fn redrive_gap(&self) -> Duration {
        Duration::from_secs(1) / self.redrives_per_second.max(1)
    }

    /// When an item that failed `attempts` times is tried again; `None`: it is not. Which part of the wait is left out
    /// follows from what is tried, so that a run can be repeated.
    pub(super) fn next_try(&self, attempts: u32, number: u64, now: Timestamp) -> Option<Timestamp> {
        let wait = self.retry.backoff(attempts)?;
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        let half = micros / 2;
        let random = xxh3_64_with_seed(&number.to_le_bytes(), u64::from(attempts));
        let left_out = if half == 0 { 0 } else { random % half };
        // At least later than now: none is tried twice in one turn.
        let wait = Duration::from_micros((micros - left_out).max(1));
        Some(now.saturating_add(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_up_to_half_is_left_out() {
        let policy = ItemPolicy::skip().attempts(4, Duration::from_millis(100));
        let mut waits = std::collections::HashSet::new();
        for number in 0..100 {
            for (attempts, full) in [(1, 100_000), (2, 200_000), (3, 400_000)] {
                let at = policy.next_try(attempts, number, Timestamp(7)).unwrap();
                let wait = at.0 - 7;
                assert!(wait > full / 2 - 1 && wait <= full, "{attempts}: {wait}");
                waits.insert(wait);
            }
            assert_eq!(policy.next_try(4, number, Timestamp(7)), None);
        }
        assert!(waits.len() > 200, "they are spread out");
    }

    #[test]
    fn it_can_be_configured() {
        let text = r#"{"retry": {"attempts_max": 2}, "then": "skip", "when_full": "dead_letter"}"#;
        let policy: ItemPolicy = serde_json::from_str(text).unwrap();
        assert_eq!(policy.retry.attempts_max, 2);
        assert_eq!(policy.then, Then::Skip);
        assert_eq!(policy.when_full, WhenFull::DeadLetter);
        assert_eq!(policy.waiting, WaitingLimits::default());
    }
}
