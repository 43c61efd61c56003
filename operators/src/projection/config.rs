//! Limits of one projection, and what it does about failures.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::parked::ParkedLimits;

/// What happens to an event that a projection fails on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailurePolicy {
    /// Tries before the event is a dead letter, the first one included. Default 5, at least 1.
    pub attempts_max: u32,
    /// Wait before the second try; each later one waits twice as long. Default 100 ms.
    pub backoff_first: Duration,
    /// Longest wait. Default 10 s.
    pub backoff_max: Duration,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
        }
    }
}

impl FailurePolicy {
    /// Wait after the `attempts`th failure; `None` when that was the last try.
    pub(crate) fn backoff(&self, attempts: u32) -> Option<Duration> {
        if attempts >= self.attempts_max {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(30);
        Some(
            self.backoff_first
                .saturating_mul(1 << doublings)
                .min(self.backoff_max),
        )
    }
}

/// What happens to an event that cannot be read as the projection's: of a version that this program does not know, or
/// damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnreadablePolicy {
    /// As any that it fails on: tried again as `failures` says, then a dead letter with its bytes and position, behind
    /// which later events of its key wait; redriven once the program reads it. The default.
    #[default]
    DeadLetter,
    /// It is counted in `millstream_dead_letters_skipped_total` and passed over for good: a program that can read it later
    /// does not come back to it, unless the projection is built anew.
    Skip,
    /// The projection halts with an error that names the position.
    Halt,
}

impl UnreadablePolicy {
    /// What happens to an event, or to what somebody put in its place: that is a dead letter again, for whoever wrote it.
    pub(super) const fn of(self, is_edited: bool) -> Self {
        if is_edited { Self::DeadLetter } else { self }
    }
}

/// Limits of one projection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectionConfig {
    /// What happens to an event that it fails on.
    pub failures: FailurePolicy,
    /// What happens to an event that cannot be read. Default: as one that it fails on.
    pub unreadable: UnreadablePolicy,
    /// Time between two stores of changed rows. Milliseconds, default 500. More: fewer writes for keys
    /// that change often; less: less to apply again after a crash. Letters of events that failed wait no longer, whether the
    /// projection is behind or not; those of keys that are free again and those that somebody has decided about do not wait, nor
    /// do any once half of `parked_keys_max` or `parked_bytes_max` is in use.
    pub store_every_ms: u64,
    /// Changed rows that are stored without waiting for the time. Default 262,144.
    pub unstored_rows_max: usize,
    /// The same while the projection is a second or more behind the log, such as in a rebuild. Milliseconds, default 5,000:
    /// each store writes a row once however often it changed, so fewer of them are less work.
    pub store_every_behind_ms: u64,
    /// The same while somebody waits for changes of a table, or for versions of its rows, which are seen once they are
    /// stored. Milliseconds, default 20; not more than `store_every_ms` is waited in any case. More: fewer writes; less:
    /// changes come sooner.
    pub changes_every_ms: u64,
    /// Time that a projection which is behind may leave its readers without news. Milliseconds, default
    /// 250. One that has caught up shows every batch at once.
    pub publish_every_ms: u64,
    /// Rows in memory, over all tables of one actor. Above it what changed is stored and the half of them that no event
    /// has read or changed for the longest time is let go. Default 4,000,000. More: fewer reads of the store.
    pub hot_rows_max: usize,
    /// Keys that one actor may have parked at once, dead letters included. Default 100,000. Each takes about
    /// a kilobyte and the bytes of its failed event. One more key that fails halts the projection with an
    /// error that names this bound: what fails on so many is not the events' fault. After its restarts are
    /// used up, queries answer [`QueryError::Stopped`](super::QueryError::Stopped). 0: the first event that
    /// fails halts it. More: memory; less: an earlier halt.
    pub parked_keys_max: usize,
    /// Bytes that the failed events of one actor's parked keys may take in memory before the next key that fails halts
    /// the projection, as with `parked_keys_max`. Default 256 MiB. Payloads of edits count in the place of their events'. One
    /// that is larger than its event, has no room, and fails as well halts the projection too, once its letter is stored;
    /// what is decided then is carried out when it starts again. Exceeded by one event and its causes at most, by edits that
    /// fail in one turn or at a start, and where larger events take the place of settled ones. More: memory; less: an
    /// earlier halt.
    pub parked_bytes_max: usize,
    /// Events that may wait behind the failed one of a key. Default 1,000,000. They wait in the log, not in memory;
    /// once there are more, and all is stored, the projection halts with an error that names this bound and the key, so
    /// that somebody decides before freeing the key becomes a rebuild. What is decided then is carried out when it
    /// starts again. Exceeded by the events of one frame. More: freeing a key takes longer; less: an earlier halt.
    pub followers_max: u64,
    /// Bytes of their payloads, likewise. Default 1 GiB.
    pub followers_bytes_max: u64,
    /// Share of all processors, in percent, that the actors of a version which does not answer queries may take together to
    /// catch up while events are appended; while none are they take all. Default 10, at most 100, which is no limit. A version
    /// that answers is not held up, nor is one that has nearly caught up or is being switched to. More: a rebuild is over
    /// sooner; less: commands and queries notice it less, and one that is given less than what is appended needs never
    /// catches up.
    pub rebuild_share_percent: u8,
    /// Owners of the rows of a projection with [`Rows::ByKey`](super::Rows::ByKey), which apply events side by side. Default 0:
    /// as many as the engine has processors, at most 8. Never more than processors, nor than 64. May change from start to start.
    /// More: events are read and applied by more processors, in smaller parts, and each frame waits for more of them.
    pub owners: usize,
    /// New events of a frame of the log, wanted or not, from which on the owners apply it side by side; those of a smaller one the
    /// actor applies by itself. Default 2,048. Less: small frames gain as well, once waking the owners is worth it.
    pub shared_events_min: usize,
    /// Dead letters of one actor that are tried again or passed over per second, when somebody decides about many at
    /// once. What was decided while it stood still is carried out at once when it starts.
    /// Default 1,000, at least 1. More: they are through sooner; less: more of the time is left for what comes.
    pub redrives_per_second: u32,
}

impl ProjectionConfig {
    /// What may wait behind an event, and what letters may take.
    pub(super) fn parked(&self) -> ParkedLimits {
        ParkedLimits {
            followers: self.followers_max,
            followers_bytes: self.followers_bytes_max,
            bytes: self.parked_bytes_max,
        }
    }

    /// Time between two dead letters that are redriven.
    pub(super) fn redrive_gap(&self) -> Duration {
        Duration::from_secs(1) / self.redrives_per_second.max(1)
    }
}

impl Default for ProjectionConfig {
    fn default() -> Self {
        Self {
            failures: FailurePolicy::default(),
            unreadable: UnreadablePolicy::default(),
            store_every_ms: 500,
            unstored_rows_max: 262_144,
            store_every_behind_ms: 5_000,
            changes_every_ms: 20,
            publish_every_ms: 250,
            hot_rows_max: 4_000_000,
            parked_keys_max: 100_000,
            parked_bytes_max: 256 << 20,
            followers_max: 1_000_000,
            followers_bytes_max: 1 << 30,
            rebuild_share_percent: 10,
            owners: 0,
            shared_events_min: 2_048,
            redrives_per_second: 1_000,
        }
    }
}
