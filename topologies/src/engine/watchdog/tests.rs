//! What is taken for hanging, look by look.

use std::sync::{Arc, Condvar, Mutex};

use millstream_engine::time::{Clock, ManualClock, Timestamp};
use tokio::sync::mpsc;

use super::*;
use crate::Engine;
use crate::dataflow::{Feed, FlowOptions};
use crate::engine::EngineConfig;
use crate::topology::Topology;

/// Longer than a stage may go without a step.
const TOO_LONG: Duration = Duration::from_secs(31);

/// Closed until somebody opens it; open for good once this is gone, so that nothing waits for what hangs.
#[derive(Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn set(&self, is_open: bool) {
        *self.0.0.lock().unwrap() = is_open;
        self.0.1.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.set(true);
    }
}

/// Story: a process that was paused for half a minute took every stage that was at work for one that hangs, and gave its
/// dataflows up, since its own look came first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_the_whole_process_is_no_hang() {
    let gate = Gate::default();
    let ((entered, mut enters), (left, mut leaves)) = (mpsc::channel(8), mpsc::channel(8));
    let (feed, passes) = (Feed::new(1), Arc::clone(&gate.0));
    let (numbers, options) = (
        feed.clone(),
        FlowOptions {
            partitions: 1,
            checkpoints: None,
            ..FlowOptions::default()
        },
    );
    let topology = Topology::named("paused").dataflow_with("works", options, move |flow| {
        let numbers = flow.source("numbers", numbers).stream();
        let passed = numbers.inspect(move |_, number: &u64| {
            entered.try_send(*number).unwrap();
            let is_open = passes.0.lock().unwrap();
            let waited = passes.1.wait_while(is_open, |is_open| !*is_open);
            drop(waited.unwrap());
            left.try_send(*number).unwrap();
        });
        passed.for_each(|_, _| {});
    });
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let folder = tempfile::tempdir().unwrap();
    let mut config = EngineConfig::default();
    // The engine's own looks at nothing.
    config.watchdog.stalled_after = None;
    let builder = Engine::open(folder.path()).config(config);
    let builder = builder.clock(Arc::<ManualClock>::clone(&clock) as _);
    let engine = builder.run(topology.build().unwrap()).await.unwrap();
    let mut watchdog = Watchdog::new(WatchdogConfig::default());

    feed.push(0, Timestamp::EPOCH, 1_u64);
    assert_eq!(enters.recv().await, Some(1));
    clock.advance(TOO_LONG);
    watchdog.look(&engine.inner);
    gate.set(true);
    assert_eq!(leaves.recv().await, Some(1));
    gate.set(false);
    feed.push(0, Timestamp::EPOCH, 2_u64);
    assert_eq!(enters.recv().await, Some(2));
    watchdog.look(&engine.inner);

    // What hangs is found by the second look, and its dataflow ended by the two behind that.
    clock.advance(TOO_LONG);
    watchdog.look(&engine.inner);
    let dataflow = engine.dataflow("works");
    let stalled = dataflow.stalled(clock.monotonic(), TOO_LONG / 2);
    assert_eq!(stalled.stages.len(), 1, "{stalled:?}");
    for _ in 0..3 {
        watchdog.look(&engine.inner);
    }
    let failure = dataflow.wait().await.unwrap_err();
    assert_eq!(failure.cause, "a step did not come back within 30s");
    gate.set(true);
    // It says that the dataflow has failed.
    engine.shutdown().await.unwrap_err();
}
