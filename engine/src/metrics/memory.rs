//! Handles of the memory that state has.

use metrics::{Counter, Gauge};

use super::catalog;
use super::labels::Labels;
use crate::spill::MemoryBudget;

/// The memory of a topology's state. Without labels: an engine has one.
#[derive(Clone, Debug)]
pub struct StateMemoryMetrics {
    used: Gauge,
    limit: Gauge,
    written: Counter,
    read: Counter,
}

impl StateMemoryMetrics {
    /// Takes the handles.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "handles are taken, not made up")]
    pub fn new() -> Self {
        let labels = Labels::none();
        Self {
            used: labels.gauge(catalog::STATE_MEMORY_BYTES),
            limit: labels.gauge(catalog::STATE_MEMORY_LIMIT_BYTES),
            written: labels.counter(catalog::STATE_PAGES_WRITTEN_TOTAL),
            read: labels.counter(catalog::STATE_PAGES_READ_TOTAL),
        }
    }

    /// Shows what is used, and the pages that have gone to disk and come back.
    pub fn observe(&self, memory: &MemoryBudget) {
        self.used.set(memory.used() as f64);
        self.limit.set(memory.limit() as f64);
        let (written, read) = memory.traffic();
        self.written.absolute(written);
        self.read.absolute(read);
    }
}
