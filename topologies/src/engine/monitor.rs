//! Figures that nobody has at hand while working: once a second, for the metrics.

use std::sync::Weak;
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::metrics::{IndexMetrics, observe_skew};

use super::Inner;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Shows index figures and the skew between partitions until the engine is gone.
pub(super) async fn watch(engine: Weak<Inner>) {
    let Some(partitions) = engine.upgrade().map(|inner| inner.feed.partitions()) else {
        return;
    };
    let indexes: Vec<_> = (0..partitions)
        .map(|partition| IndexMetrics::new(PartitionId(partition)))
        .collect();
    let mut before: Option<Vec<u64>> = None;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = engine.upgrade() else {
            return;
        };
        let mut heads = Vec::with_capacity(indexes.len());
        for (partition, metrics) in (0..partitions).map(PartitionId).zip(&indexes) {
            heads.push(inner.feed.durable(partition).0);
            if let Some(stats) = inner.reader.index_stats(partition) {
                metrics.observe(&stats);
            }
        }
        if let Some(before) = before.replace(heads.clone()) {
            let grown = heads.iter().zip(before);
            let rates: Vec<_> = grown.map(|(now, then)| (now - then) as f64).collect();
            observe_skew(&rates);
        }
    }
}
