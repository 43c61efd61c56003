//! Handles of the threads that work, hang and are held in reserve.

use metrics::Gauge;

use super::catalog;
use super::labels::Labels;

/// The threads of a [`Runtime`](crate::runtime::Runtime). Without labels: an engine has one.
#[derive(Clone, Debug)]
pub struct ThreadMetrics {
    hung: Gauge,
    spare: Gauge,
}

impl ThreadMetrics {
    /// Takes the handles.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "handles are taken, not made up")]
    pub fn new() -> Self {
        let labels = Labels::none();
        Self {
            hung: labels.gauge(catalog::RUNTIME_HUNG_THREADS),
            spare: labels.gauge(catalog::RUNTIME_SPARE_THREADS),
        }
    }

    /// Shows how many hang, and how many are left for the next ones.
    pub fn observe(&self, hung: usize, spare: usize) {
        self.hung.set(hung as f64);
        self.spare.set(spare as f64);
    }
}
