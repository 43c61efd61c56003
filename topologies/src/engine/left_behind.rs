//! How far projections are behind whose stages have ended, or hang: who showed it does so no more, and what was shown last would
//! stand for ever, so that no alert tells of rows that stand still.

use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::log::LogReader;
use millstream_engine::stage::{StageHandle, StageStatus};

use super::Inner;
use super::versions::{Version, Versions};

/// A stage shows its lag once a second; one that makes no step for so long does not.
const SILENT_AFTER: Duration = Duration::from_secs(3);

impl Versions {
    /// Shows the lag of versions, or their partitions, that were given up or hang; and none of one that was dropped.
    pub(super) fn show_left_behind(&self, inner: &Inner) {
        for version in self.started() {
            if version.board.is_dropped() {
                show_dropped(version);
            } else {
                show_silent(inner, version);
            }
        }
    }
}

/// Shows zeros of a dropped version once its stages, which may still show something else, have ended.
fn show_dropped(version: &Version) {
    if version.is_gone.load(Ordering::Relaxed) {
        return;
    }
    for lag in &version.lags {
        lag.observe_lag(0, Duration::ZERO);
    }
    let mut stages = version.stages.iter();
    let is_ended = stages.all(|stage| stage.status().is_ended());
    version.is_gone.store(is_ended, Ordering::Relaxed);
}

/// Whether it shows nothing itself: it was given up, or is in a step, such as in a handler, that does not come back. One that does
/// come back shows more within a second.
fn is_silent(stage: &StageHandle, now: Duration) -> bool {
    let has_failed = matches!(stage.status(), StageStatus::Failed { .. });
    let stall = stage.stall(now);
    has_failed || stall.is_some_and(|stall| stall.span() >= SILENT_AFTER)
}

fn show_silent(inner: &Inner, version: &Version) {
    let now = inner.clock.monotonic();
    let is_one_for_all = version.stages.len() == 1;
    for (partition, metrics) in (0..).map(PartitionId).zip(&version.lags) {
        let number = usize::from(partition.0);
        let stage = version.stages.get(if is_one_for_all { 0 } else { number });
        if !stage.is_some_and(|stage| is_silent(stage, now)) {
            continue;
        }
        let next = version.board.visible(partition);
        let events = inner.feed.durable(partition).0.saturating_sub(next.0);
        // Of the log that cannot be read either, somebody else tells; a lag without an age is one.
        let oldest = (events > 0).then(|| inner.reader.frame_head(partition, next));
        let recorded = oldest.and_then(|head| Some(head.ok()??.recorded_first));
        let age = recorded.map(|recorded| inner.clock.now().since(recorded));
        metrics.observe_lag(events, age.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
