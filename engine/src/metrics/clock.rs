//! The handle of recorded time beside the machine's clock.

use std::time::Duration;

use metrics::Gauge;

use super::catalog;
use super::labels::Labels;

/// How recorded time and the machine's clock differ. Without labels: an engine has one clock.
#[derive(Clone, Debug)]
pub struct ClockMetrics {
    ahead: Gauge,
}

impl ClockMetrics {
    /// Takes the handle.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "handles are taken, not made up")]
    pub fn new() -> Self {
        let ahead = Labels::none().gauge(catalog::RECORDED_TIME_AHEAD_SECONDS);
        Self { ahead }
    }

    /// Shows how far recorded time is ahead.
    pub fn observe(&self, ahead: Duration) {
        self.ahead.set(ahead.as_secs_f64());
    }
}
