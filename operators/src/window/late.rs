//! What happens to items that are late.

use std::convert::Infallible;

use millstream_engine::flow::{Emit, Fault, Operator, Wiring};
use millstream_engine::metrics::LateMetrics;
use millstream_engine::time::Timestamp;

/// Counts late items: in the metrics, and once per stage in the log, so that they do not vanish unseen.
#[derive(Clone, Debug, Default)]
pub struct CountLate {
    metrics: Option<LateMetrics>,
    stage: String,
    told: bool,
}

impl CountLate {
    /// None counted.
    pub const fn new() -> Self {
        Self {
            metrics: None,
            stage: String::new(),
            told: false,
        }
    }

    /// Says whose items are counted.
    pub(super) fn begin(&mut self, wiring: &Wiring) {
        self.metrics = Some(LateMetrics::new(&wiring.stage, wiring.partition_id()));
        self.stage = wiring.stage.to_string();
    }

    /// Counts `items`, the first of them at `time`.
    pub(super) fn count(&mut self, time: Timestamp, items: u64) {
        if let Some(metrics) = &self.metrics {
            metrics.count(items);
        }
        if !self.told {
            self.told = true;
            tracing::warn!(
                stage = self.stage,
                %time,
                "an item came too late for its window and is only counted, as later ones will be: give the \
                 window a late sink or more allowed lateness"
            );
        }
    }
}

impl<T: Send + 'static> Operator<T> for CountLate {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, _item: T, _out: &mut E) {
        self.count(time, 1);
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.begin(wiring);
        Ok(())
    }
}
