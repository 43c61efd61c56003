//! Who is being decided on: so that a decision which never returns can be named.
//!
//! User code runs on the partition's thread and cannot be taken off it. What can be done is to say which
//! aggregate holds its partition up, while the other partitions go on.
//! Threads: the partition writes, anybody reads. Cost: a few relaxed stores per command. A read while the
//! partition works may mix two ids; of one that is stuck it is exact.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of an id that are kept.
const ID_BYTES: usize = 32;
const WORDS: usize = ID_BYTES / 8;

/// What one partition is busy with.
#[derive(Debug, Default)]
pub struct Watch {
    /// Monotonic nanoseconds at which the turn began, plus one; zero between turns.
    since: AtomicU64,
    id: [AtomicU64; WORDS],
}

impl Watch {
    pub(super) fn begin_turn(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX - 1);
        self.since.store(nanos + 1, Ordering::Relaxed);
    }

    pub(super) fn end_turn(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn deciding(&self, id: &str) {
        let mut bytes = [0; ID_BYTES];
        let kept = id.len().min(ID_BYTES);
        bytes[..kept].copy_from_slice(&id.as_bytes()[..kept]);
        for (word, bytes) in self.id.iter().zip(bytes.chunks_exact(8)) {
            let bytes = bytes.try_into().expect("chunks of eight bytes");
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }

    /// How long the present turn has gone on at `now`; zero between turns.
    #[must_use]
    pub fn busy(&self, now: Duration) -> Duration {
        match self.since.load(Ordering::Relaxed).checked_sub(1) {
            Some(since) => now.saturating_sub(Duration::from_nanos(since)),
            None => Duration::ZERO,
        }
    }

    /// Id of the aggregate that was decided on last, without its category; its first 32 bytes.
    #[must_use]
    pub fn id(&self) -> String {
        let words = self.id.iter().map(|word| word.load(Ordering::Relaxed));
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(ID_BYTES);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_goes_on_is_seen_with_its_id() {
        let watch = Watch::default();
        assert_eq!(watch.busy(Duration::from_secs(9)), Duration::ZERO);
        watch.begin_turn(Duration::from_secs(1));
        watch.deciding("a-long-id-that-is-cut-at-32-bytes-of-it");
        assert_eq!(watch.busy(Duration::from_secs(9)), Duration::from_secs(8));
        assert_eq!(watch.id(), "a-long-id-that-is-cut-at-32-byte");
        watch.deciding("42");
        assert_eq!(watch.id(), "42");
        watch.end_turn();
        assert_eq!(watch.busy(Duration::from_secs(9)), Duration::ZERO);
    }
}
