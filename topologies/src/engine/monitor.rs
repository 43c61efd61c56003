//! Figures that nobody has at hand while working, partitions that are stuck, readers that were killed, and requests left in
//! the data folder: looked at once a second.
//!
//! On a thread of its own: an aggregate that does not return holds a worker of the runtime, which may be the
//! one that tells the others of time.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::metrics::{
    ClockMetrics, IndexMetrics, PartitionMetrics, StateMemoryMetrics, ThreadMetrics, observe_skew,
};
use millstream_engine::runtime::Threads;
use millstream_engine::time::Timestamp;
use millstream_operators::projection::Outlets;

use super::said::Said;
use super::watchdog::Watchdog;
use super::{Engine, Inner, checkpoint_requests, requests, version_requests};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// A turn should take a millisecond; one that takes this long is stuck in user code.
const STALLED: Duration = Duration::from_secs(1);

/// What the monitor and a shutdown share: whoever has shut an engine down may open its folder again at once, which nothing that
/// looks at it may still hold.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<bool>);

impl Looks {
    /// Ends them, and waits for the one under way.
    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Looks at the engine; `None` if it is over.
    fn look<E, T>(&self, engine: &Weak<E>, look: impl FnOnce(&Arc<E>) -> T) -> Option<T> {
        let is_over = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = engine.upgrade().filter(|_| !*is_over)?;
        let seen = look(&inner);
        // Before the lock, on which a shutdown may wait.
        drop(inner);
        drop(is_over);
        Some(seen)
    }
}

/// Shows index figures and the skew between partitions until the engine is gone or has ended, and of its runtime, if it has spare
/// threads, what hangs.
pub(super) fn watch(engine: &Weak<Inner>, looks: &Looks, threads: Option<Threads>) {
    let begun = looks.look(engine, |inner| {
        (inner.folder.clone(), Monitor::new(inner, threads))
    });
    let Some((folder, mut monitor)) = begun else {
        return;
    };
    let busy = Arc::new(AtomicBool::new(false));
    loop {
        if requests::is_any(&folder) {
            let taken_up = looks.look(engine, |inner| {
                let inner = Arc::clone(inner);
                let engine = Engine { inner };
                requests::take_up(&engine, &busy);
                checkpoint_requests::take_up(&engine);
                version_requests::take_up(&engine);
            });
            if taken_up.is_none() {
                return;
            }
        }
        // Nobody unparks it; waking early does no harm.
        std::thread::park_timeout(EVERY);
        if looks.look(engine, |inner| monitor.look(inner)).is_none() {
            return;
        }
    }
}

/// How far recorded time may be ahead of the clock before that is said: clocks are set back by less all the time.
const AHEAD_SAID: Duration = Duration::from_secs(10);

/// Recorded time beside the machine's clock.
struct Clocks {
    metrics: ClockMetrics,
    said: Said,
}

impl Clocks {
    fn new() -> Self {
        Self {
            metrics: ClockMetrics::new(),
            said: Said::default(),
        }
    }

    /// A clock that was ahead for a moment has moved recorded time ahead for good.
    fn look(&mut self, recorded: Timestamp, now: Timestamp) {
        let ahead = recorded.since(now);
        self.metrics.observe(ahead);
        if ahead < AHEAD_SAID {
            self.said.is_over();
        } else if self.said.is_due() {
            tracing::warn!(
                ?ahead, %recorded, %now,
                "the clock was ahead, or was set back: until it has come there, events are recorded at that time"
            );
        }
    }
}

/// What a look needs of those before.
struct Monitor {
    indexes: Vec<IndexMetrics>,
    loads: Vec<PartitionMetrics>,
    watchdog: Watchdog,
    memory: StateMemoryMetrics,
    clocks: Clocks,
    threads: Option<(ThreadMetrics, Threads)>,
    /// Where each partition stood.
    before: Option<Vec<u64>>,
    uncleared: [Said; 2],
    unseen: Vec<Said>,
}

impl Monitor {
    fn new(inner: &Inner, threads: Option<Threads>) -> Self {
        let ids = || (0..inner.feed.partitions()).map(PartitionId);
        Self {
            indexes: ids().map(IndexMetrics::new).collect(),
            loads: ids().map(PartitionMetrics::new).collect(),
            watchdog: Watchdog::new(inner.config.watchdog),
            memory: StateMemoryMetrics::new(),
            clocks: Clocks::new(),
            threads: threads.map(|threads| (ThreadMetrics::new(), threads)),
            before: None,
            uncleared: [Said::default(); 2],
            unseen: vec![Said::default(); inner.versions.len()],
        }
    }

    fn look(&mut self, inner: &Inner) {
        let ids = || (0..inner.feed.partitions()).map(PartitionId);
        self.watchdog.look(inner);
        for (versions, said) in inner.versions.iter().zip(&mut self.unseen) {
            versions.look(inner);
            if let Some(outlets) = &versions.outlets {
                show_outboxes(inner, outlets, said);
            }
        }
        for (partition, metrics) in ids().zip(&self.loads) {
            show_stalled(inner, partition, metrics);
        }
        for (partition, metrics) in ids().zip(&self.indexes) {
            if let Some(stats) = inner.reader.index_stats(partition) {
                metrics.observe(&stats);
            }
        }
        if let Some(bounded) = &inner.inputs.memory {
            self.memory.observe(bounded.budget());
        }
        let recorded = inner.feed.stamps().latest();
        self.clocks.look(recorded, inner.clock.now());
        clear_killed_readers(inner, &mut self.uncleared);
        if let Some((metrics, threads)) = &self.threads {
            metrics.observe(threads.hung(), threads.spares_left());
        }
        let heads: Vec<_> = ids().map(|id| inner.feed.durable(id).0).collect();
        if let Some(before) = self.before.replace(heads.clone()) {
            let grown = heads.iter().zip(before);
            let stored: Vec<_> = grown.map(|(now, then)| (now - then) as f64).collect();
            observe_skew(&stored);
        }
    }
}

/// Of all outboxes, whether their deliveries run or were given up.
fn show_outboxes(inner: &Inner, outlets: &Outlets, said: &mut Said) {
    match outlets.observe(&*inner.clock) {
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

#[cfg(test)]
mod tests {
    use millstream_engine::time::ManualClock;
    use tokio::sync::oneshot;

    use super::*;
    use crate::catalog::bank::{Account, AccountCommand, Cents};
    use crate::server::LocalMetrics;
    use crate::topology::Topology;

    /// A clock that was ahead while something was stored has moved recorded time ahead, which nothing said.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn recorded_time_that_is_ahead_of_the_clock_is_seen() {
        let right = Timestamp::from_seconds(1_000_000);
        let clock = Arc::new(ManualClock::new(right));
        let folder = tempfile::tempdir().unwrap();
        let opened = Engine::open(folder.path()).clock(Arc::clone(&clock) as _);
        let topology = Topology::named("bank").aggregate::<Account>().build();
        let engine = opened.run(topology.unwrap()).await.unwrap();
        let local = LocalMetrics::new();
        let mut monitor = local.during(|| Monitor::new(&engine.inner, None));
        let mut shown = |now: Timestamp| {
            clock.set(now);
            monitor.look(&engine.inner);
            let name = "millstream_recorded_time_ahead_seconds ";
            let rendered = local.render();
            let line = rendered.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().parse::<f64>().unwrap()
        };
        assert_eq!(shown(right), 0.0);
        let ahead = right.saturating_add(Duration::from_secs(7_200));
        clock.set(ahead);
        let open = AccountCommand::Open {
            overdraft_limit: Cents::ZERO,
        };
        engine.send::<Account>("1", open).await.unwrap();
        // What follows is a microsecond later than what was stored.
        assert_eq!(shown(right), 7_200.000_001);
        assert_eq!(shown(ahead), 0.000_001);
        engine.shutdown().await.unwrap();
    }

    /// Story: an engine that had been shut down could not be opened again while the monitor looked at it.
    #[test]
    fn the_end_of_looks_waits_for_the_one_under_way() {
        let (looks, engine) = (Looks::default(), Arc::new(7));
        let watched = Arc::downgrade(&engine);
        let (begun, has_begun) = oneshot::channel();
        let (go_on, goes_on) = oneshot::channel();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let (looks, watched, order) = (&looks, &watched, &order);
            scope.spawn(move || {
                looks.look(watched, |_| {
                    begun.send(()).unwrap();
                    goes_on.blocking_recv().unwrap();
                    order.lock().unwrap().push("looked");
                })
            });
            has_begun.blocking_recv().unwrap();
            let engine = &engine;
            scope.spawn(move || {
                looks.end();
                // Nothing but this holds it.
                order.lock().unwrap().push("ended");
                assert_eq!(Arc::strong_count(engine), 1);
            });
            go_on.send(()).unwrap();
        });
        assert_eq!(order.into_inner().unwrap(), ["looked", "ended"]);
        assert_eq!(looks.look(&watched, |seven| **seven), None);
    }
}
