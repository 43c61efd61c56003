//! How effects are delivered.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::EffectId;
use super::reading::Room;

/// How the effects of one outbox are delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Calls of the program's function that are under way at once, per partition; those of one stream are made one after the
    /// other. Default 8, at least 1. More: more is delivered while each call takes long; less: a gentler outside.
    pub calls_max: usize,
    /// Time that a call may take before it counts as failed. Milliseconds, default 30,000. Its future is dropped then; code
    /// in it that blocks its thread goes on, and the next try is made beside it.
    pub call_ms_max: u64,
    /// Time after the first failure until the next try. Milliseconds, default 100. It is doubled with each failure; a
    /// part of each wait, at most a half, is left out by chance, so that what failed together is not tried together.
    pub retry_ms_min: u64,
    /// Time that it grows up to. Milliseconds, default 60,000.
    pub retry_ms_max: u64,
    /// Tries before an effect is given up: it is put aside, to be seen and sent again by hand, and those of its stream
    /// behind it go on. Default: none is given up; effects of its stream wait behind it, for ever if need be, and metrics
    /// tell how long. At least 1. Counted are the tries of this process, no count is stored: so one whose call ends the process, as
    /// by an abort or for want of memory, is never given up, and is tried again after each start.
    pub attempts_max: Option<u32>,
    /// Effects of one partition that are held in memory. Default 1,024, at least 1. A stream has room for as many as are left for
    /// each of `calls_max`. One whose effect fails keeps that one here, and what waits behind it only until others need the
    /// room; if that many streams fail, the others wait as well. More: memory; less: sooner so, and what is stored is read more often.
    pub held_max: usize,
    /// Bytes of them, as they are stored. Default 16 MiB, at least 1. One that is larger, or that does not fit beside those that
    /// have failed, is taken in once no other is here but these, as long as these alone leave some of it. If those that fail
    /// take all of it, the others wait. More: memory; less: fewer calls at once where effects are large.
    pub held_bytes_max: usize,
    /// Effects over all partitions that may be stored and not delivered before the projection waits with applying further
    /// events, and with it those who ask its tables for what they have just done. Exceeded by the effects of the frame that
    /// reaches it, and at a switch by those that the other version is ahead, which the one that answers still has to send. A shutdown
    /// does not wait for room: what is left in the log is applied after the next start. A version that does not answer is not held
    /// up. Default: no limit, the outbox grows on disk.
    pub stored_max: Option<u64>,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            calls_max: 8,
            call_ms_max: 30_000,
            retry_ms_min: 100,
            retry_ms_max: 60_000,
            attempts_max: None,
            held_max: 1_024,
            held_bytes_max: 16 << 20,
            stored_max: None,
        }
    }
}

impl DeliveryConfig {
    /// Time until the next try after so many failures.
    pub(super) fn backoff(&self, id: EffectId, failures: u32) -> Duration {
        let doubled = 1u64
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u64::MAX);
        let full = self.retry_ms_min.saturating_mul(doubled);
        let full = Duration::from_millis(full.min(self.retry_ms_max));
        // Chance that a test can repeat.
        let share = xxh3_64_with_seed(id.0.as_bytes(), u64::from(failures)) % 1_024;
        full - full.mul_f64(share as f64 / 2_048.0)
    }

    pub(super) fn calls(&self) -> usize {
        self.calls_max.max(1)
    }

    pub(super) fn held(&self) -> Room {
        Room {
            effects: self.held_max.max(1),
            bytes: self.held_bytes_max.max(1),
        }
    }

    /// Whether an effect is given up after so many failures.
    pub(super) fn gives_up(&self, failures: u32) -> bool {
        self.attempts_max.is_some_and(|max| failures >= max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_bound_and_differ() {
        let config = DeliveryConfig::default();
        let id = |number| EffectId(uuid::Uuid::from_u128(number));
        for failures in 1..100 {
            let full = Duration::from_millis(100)
                .saturating_mul(1 << (failures - 1).min(20))
                .min(Duration::from_secs(60));
            let wait = config.backoff(id(1), failures);
            assert!(wait <= full && wait * 2 >= full, "{failures}: {wait:?}");
        }
        assert_ne!(config.backoff(id(1), 3), config.backoff(id(2), 3));
        assert_eq!(config.backoff(id(1), 3), config.backoff(id(1), 3));
    }
}
