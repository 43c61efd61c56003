//! What happens to items that are late.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::flow::{Emit, Fault, Operator, Wiring};
use millstream_engine::metrics::LateMetrics;
use millstream_engine::time::Timestamp;

/// Late items by the stage that counted them: as a value of the resources, for tests, it is counted in beside the
/// metrics. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct LateCounts {
    stages: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
}

impl LateCounts {
    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, u64)> {
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = stages.iter();
        counts
            .map(|(stage, count)| (stage.clone(), count.load(Ordering::Relaxed)))
            .collect()
    }

    fn of(&self, stage: &str) -> Arc<AtomicU64> {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(stages.entry(stage.to_owned()).or_default())
    }
}

/// Counts late items: in the metrics, and once per stage in the log, so that they do not vanish unseen.
#[derive(Clone, Debug, Default)]
pub struct CountLate {
    metrics: Option<LateMetrics>,
    counted: Option<Arc<AtomicU64>>,
    stage: String,
    told: bool,
}

impl CountLate {
    /// None counted.
    pub const fn new() -> Self {
        Self {
            metrics: None,
            counted: None,
            stage: String::new(),
            told: false,
        }
    }

    /// Says whose items are counted.
    pub(super) fn begin(&mut self, wiring: &Wiring) {
        self.metrics = Some(LateMetrics::new(&wiring.stage, wiring.partition_id()));
        self.stage = wiring.stage.to_string();
        let counts = wiring.resources.get::<LateCounts>();
        self.counted = counts.map(|counts| counts.of(&wiring.stage));
    }

    /// Counts `items`, the first of them at `time`.
    pub(super) fn count(&mut self, time: Timestamp, items: u64) {
        if let Some(metrics) = &self.metrics {
            metrics.count(items);
        }
        if let Some(counted) = &self.counted {
            counted.fetch_add(items, Ordering::Relaxed);
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
