//! Figures that nobody has at hand while working, partitions that are stuck, readers that were killed, and requests left in
//! the data folder: looked at once a second.
//!
//! On a thread of its own: an aggregate that does not return holds a worker of the runtime, which may be the
//! one that tells the others of time.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::metrics::{
    IndexMetrics, PartitionMetrics, StateMemoryMetrics, ThreadMetrics, observe_skew,
};
use millstream_engine::runtime::Threads;
use millstream_operators::projection::Outlets;

use super::said::Said;
use super::watchdog::Watchdog;
use super::{Engine, Inner, asking, checkpoint_requests, requests, version_requests};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// A turn should take a millisecond; one that takes this long is stuck in user code.
const STALLED: Duration = Duration::from_secs(1);

/// Shows index figures and the skew between partitions until the engine is gone, and of its runtime, if it has spare threads, what
/// hangs.
pub(super) fn watch(engine: &Weak<Inner>, threads: Option<&Threads>) {
    let Some(inner) = engine.upgrade() else {
        return;
    };
    let (folder, partitions) = (inner.folder.clone(), inner.feed.partitions());
    let projections = inner.versions.len();
    let watchdog = inner.config.watchdog;
    // Whoever closes the engine may open its folder again at once.
    drop(inner);
    asking::clear(
        &folder,
        &[checkpoint_requests::KIND, version_requests::KIND],
    );
    let ids = || (0..partitions).map(PartitionId);
    let indexes: Vec<_> = ids().map(IndexMetrics::new).collect();
    let loads: Vec<_> = ids().map(PartitionMetrics::new).collect();
    let mut watchdog = Watchdog::new(watchdog);
    let memory = StateMemoryMetrics::new();
    let threads = threads.map(|threads| (ThreadMetrics::new(), threads));
    let mut before: Option<Vec<u64>> = None;
    let mut uncleared = [Said::default(); 2];
    let mut unseen = vec![Said::default(); projections];
    let busy = Arc::new(AtomicBool::new(false));
    loop {
        if requests::is_any(&folder)
            && let Some(inner) = engine.upgrade()
        {
            let engine = Engine { inner };
            requests::take_up(&engine, &busy);
            checkpoint_requests::take_up(&engine);
            version_requests::take_up(&engine);
        }
        // Nobody unparks it; waking early does no harm.
        std::thread::park_timeout(EVERY);
        let Some(inner) = engine.upgrade() else {
            return;
        };
        let mut heads = Vec::with_capacity(indexes.len());
        watchdog.look(&inner);
        for (versions, said) in inner.versions.iter().zip(&mut unseen) {
            versions.look(&inner);
            if let Some(outlets) = &versions.outlets {
                show_outboxes(&inner, outlets, said);
            }
        }
        for (partition, metrics) in ids().zip(&loads) {
            show_stalled(&inner, partition, metrics);
        }
        for (partition, metrics) in ids().zip(&indexes) {
            heads.push(inner.feed.durable(partition).0);
            if let Some(stats) = inner.reader.index_stats(partition) {
                metrics.observe(&stats);
            }
        }
        if let Some(bounded) = &inner.inputs.memory {
            memory.observe(bounded.budget());
        }
        clear_killed_readers(&inner, &mut uncleared);
        if let Some((metrics, threads)) = &threads {
            metrics.observe(threads.hung(), threads.spares_left());
        }
        if let Some(before) = before.replace(heads.clone()) {
            let grown = heads.iter().zip(before);
            let rates: Vec<_> = grown.map(|(now, then)| (now - then) as f64).collect();
            observe_skew(&rates);
        }
    }
}

/// Of all outboxes, whether their deliveries run or were given up.
fn show_outboxes(inner: &Inner, outlets: &Outlets, said: &mut Said) {
    match outlets.observe(inner.clock.now()) {
        Ok(()) => said.is_over(),
        // A store that fails does so at each look.
        Err(cause) if said.is_due() => {
            tracing::warn!(projection = outlets.projection(), %cause, "effects that wait cannot be looked at");
        }
        Err(_) => {}
    }
}

/// Of the files that other processes read beside the engine: whoever was killed while it read one holds its pages until somebody
/// looks, and the file grows by all that is written.
fn clear_killed_readers(inner: &Inner, said: &mut [Said; 2]) {
    let environments = [inner.store.environment(), inner.reader.environment()];
    for (environment, said) in environments.into_iter().zip(said) {
        match environment.clear_stale_readers() {
            Ok(_) => said.is_over(),
            Err(cause) if said.is_due() => {
                let file = environment.path().display();
                tracing::warn!(%file, %cause, "killed readers cannot be looked for: the file may grow");
            }
            Err(_) => {}
        }
    }
}

fn show_stalled(inner: &Inner, partition: PartitionId, metrics: &PartitionMetrics) {
    let Some(shared) = inner.partitions.get(usize::from(partition.0)) else {
        return;
    };
    let busy = shared.watch().busy(inner.clock.monotonic());
    if busy < STALLED {
        return metrics.observe_stalled(Duration::ZERO);
    }
    metrics.observe_stalled(busy);
    tracing::error!(
        %partition, ?busy, aggregate = shared.watch().id(),
        "an aggregate does not return: its partition waits, the others go on"
    );
}
