//! How far projections are behind whose stages have ended: who showed it does so no more, and what was shown last would stand for
//! ever, so that no alert tells of rows that stand still.

use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::log::LogReader;
use millstream_engine::stage::StageStatus;

use super::Inner;
use super::versions::{Version, Versions};

impl Versions {
    /// Shows the lag of versions, or their partitions, that were given up; and none of one that was dropped.
    pub(super) fn show_left_behind(&self, inner: &Inner) {
        for version in self.started() {
            if version.board.is_dropped() {
                show_dropped(version);
            } else {
                show_given_up(inner, version);
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

fn show_given_up(inner: &Inner, version: &Version) {
    let is_one_for_all = version.stages.len() == 1;
    for (partition, metrics) in (0..).map(PartitionId).zip(&version.lags) {
        let number = usize::from(partition.0);
        let stage = version.stages.get(if is_one_for_all { 0 } else { number });
        let is_given_up =
            stage.is_some_and(|stage| matches!(stage.status(), StageStatus::Failed { .. }));
        if !is_given_up {
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
