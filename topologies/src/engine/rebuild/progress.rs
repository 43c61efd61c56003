//! How far versions of a projection are, and how they fare.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId, Token};
use millstream_engine::stage::StageStatus;
use millstream_operators::projection::ProgressBoard;

use crate::engine::versions::{Version, Versions};
use crate::engine::{Engine, Inner};

/// How far a version of a projection is in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionProgress {
    /// The partition.
    pub partition: PartitionId,
    /// Events that readers see the effects of, or that were passed over.
    pub applied: u64,
    /// Durable events.
    pub of: u64,
}

/// How far a version of a projection is, and how it fares.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionProgress {
    /// Name of the projection.
    pub projection: &'static str,
    /// The version.
    pub version: u32,
    /// Whether it answers queries.
    pub is_active: bool,
    /// Events that readers see the effects of, or that were passed over, over all partitions.
    pub applied: u64,
    /// Durable events.
    pub of: u64,
    /// The same per partition.
    pub partitions: Vec<PartitionProgress>,
    /// No event that it has not applied was recorded longer ago; before it has applied one, the time since it began.
    pub age: Duration,
    /// Events by which it comes further, per second, over the last seconds; `None` right after the start.
    pub per_second: Option<f64>,
    /// Estimate of the time until nothing is left; `None` where it comes no nearer.
    pub time_left: Option<Duration>,
    /// Tries of events that failed since the start of the process.
    pub failures: u64,
    /// Times that one of its actors began again since then.
    pub restarts: u64,
    /// Streams that wait behind an event that failed.
    pub parked: u64,
    /// Why it was given up, if it was.
    pub given_up: Option<String>,
}

impl VersionProgress {
    /// Events that are left.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.of.saturating_sub(self.applied)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_caught_up(&self) -> bool {
        self.left() == 0
    }
}

/// Events of a token that a board does not show.
pub(super) fn behind(board: &ProgressBoard, token: &Token) -> u64 {
    let each = token.positions().iter().map(|position| {
        let shown = board.visible(position.partition);
        position.offset.plus(1).0.saturating_sub(shown.0)
    });
    each.sum()
}

pub(super) fn of_all(engine: &Engine, versions: &Versions) -> Vec<VersionProgress> {
    let all = versions.all();
    all.map(|version| of(engine, versions, version)).collect()
}

pub(super) fn of(engine: &Engine, versions: &Versions, version: &Version) -> VersionProgress {
    let inner = &engine.inner;
    let partitions = partitions(inner, &version.board);
    let (applied, of) = sums(&partitions);
    let pace = version.pace.lock().unwrap_or_else(PoisonError::into_inner);
    let speed = pace.speed(inner.clock.monotonic(), applied, of - applied);
    drop(pace);
    let opened = version.board.opened();
    let given_up = version
        .stages
        .iter()
        .find_map(|stage| match stage.status() {
            StageStatus::Failed { first_cause, .. } => Some(first_cause),
            _ => None,
        });
    VersionProgress {
        projection: versions.name,
        version: version.version,
        is_active: version.board.is_active(),
        applied,
        of,
        partitions,
        age: version.board.lag_since_begun().unwrap_or_default().age,
        per_second: speed.per_second,
        time_left: speed.time_left,
        failures: version.board.failures(),
        restarts: opened.saturating_sub(version.stages.len() as u64),
        parked: version.board.parked_count() as u64,
        given_up,
    }
}

fn partitions(inner: &Inner, board: &ProgressBoard) -> Vec<PartitionProgress> {
    let partitions = (0..inner.feed.partitions()).map(PartitionId);
    let each = partitions.map(|partition| {
        // What is shown first: it is durable then.
        let Offset(applied) = board.visible(partition);
        let Offset(of) = inner.feed.durable(partition);
        PartitionProgress {
            partition,
            applied,
            of,
        }
    });
    each.collect()
}

fn sums(partitions: &[PartitionProgress]) -> (u64, u64) {
    let each = partitions.iter();
    each.fold((0, 0), |(applied, of), one| {
        (applied + one.applied, of + one.of.max(one.applied))
    })
}

impl Versions {
    /// Looks at how far each version is, for rates and figures.
    pub(in crate::engine) fn look(&self, inner: &Inner) {
        for version in self.started() {
            if version.is_gone.load(Ordering::Relaxed) {
                continue;
            }
            let (applied, of) = sums(&partitions(inner, &version.board));
            let (now, left) = (inner.clock.monotonic(), of - applied);
            let mut pace = version.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.look(now, applied, left);
            let speed = pace.speed(now, applied, left);
            drop(pace);
            let is_active = version.board.is_active();
            let is_dropped = version.board.is_dropped();
            version.metrics.observe_active(is_active);
            if is_active || is_dropped || left == 0 {
                version.metrics.observe_left(0, 0.0, Duration::ZERO);
            } else {
                let rate = speed.per_second.unwrap_or_default();
                let time = speed.time_left.unwrap_or_default();
                version.metrics.observe_left(left, rate, time);
            }
        }
        self.show_left_behind(inner);
    }
}
