//! Checkpoints that take too long.

use millstream_engine::checkpoint::CheckpointStatus;
use tokio::sync::{mpsc, watch};

use super::*;

/// Takes what comes through a channel, as long as it is open.
struct Gate(watch::Sender<bool>);

impl Gate {
    fn new() -> (Self, mpsc::Sender<Sale>) {
        let (sender, mut receiver) = mpsc::channel(1);
        let gate = watch::Sender::new(true);
        let mut is_open = gate.subscribe();
        tokio::spawn(async move {
            while is_open.wait_for(|is_open| *is_open).await.is_ok() {
                if receiver.recv().await.is_none() {
                    return;
                }
            }
        });
        (Self(gate), sender)
    }
}

/// An engine whose checkpoints have little time, and the gate that a sink of its dataflow waits for.
async fn open_hurried(folder: &Path, failures_max: Option<u32>) -> (Engine, Gate) {
    let (gate, sender) = Gate::new();
    let options = FlowOptions {
        checkpoints: Some(CheckpointOptions {
            interval_ms: 1,
            pause_ms_min: 1,
            timeout_ms: 1_000,
            failures_max,
            ..CheckpointOptions::default()
        }),
        ..options()
    };
    let topology = Topology::named("shop").dataflow_with("rows", options, move |flow| {
        let sales = || flow.events::<Sale>().category("sale");
        sales()
            .stream()
            .key_by(|sale: &Sale| sale.product.clone())
            .aggregate_running(Ttl::Never, sum(|sale: &Sale| sale.cents as i64))
            .to_table(&WINDOWS, |(product, cents)| (product, Some(cents as u64)));
        let aside = sales().stream().stage_named("aside");
        aside.to_channel(sender);
    });
    let mut config = config();
    config.restart.attempts_max = 0;
    let opened = Engine::open(folder).config(config);
    let engine = opened.run(topology.build().unwrap()).await.unwrap();
    (engine, gate)
}

/// Until so many checkpoints in a row were given up.
async fn until_given_up(engine: &Engine, count: u64) -> CheckpointStatus {
    let flow = engine.dataflow("rows");
    within(async {
        loop {
            let status = flow.checkpoints().unwrap();
            if status.failed >= count {
                return status;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// A sink that waits keeps checkpoints from being complete, not the dataflow from going on: what it gave for those that
/// were given up is in the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_without_end_is_given_up_and_the_next_has_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut sold = 0;
    for _ in 0..3 {
        let (engine, gate) = open_hurried(folder.path(), None).await;
        let flow = engine.dataflow("rows");
        for _ in 0..3 {
            gate.0.send_replace(false);
            append(&engine, &sales(30)).await;
            sold += 30;
            let failed = flow.checkpoints().unwrap().failed;
            let status = until_given_up(&engine, failed + 2).await;
            let failure = status.failure.unwrap();
            assert!(failure.contains("waiting for"), "{failure}");
            gate.0.send_replace(true);
        }
        within(async { while flow.checkpoint().await.is_err() {} }).await;
        within(flow.abort("a test says so")).await.unwrap_err();
        let _ = within(engine.shutdown()).await;
    }
    let (engine, _gate) = open_hurried(folder.path(), None).await;
    let all = |engine: &Engine| {
        let of = |number| engine.events::<Sale>(&stream(&format!("sale-{number}")), 0, 10_000);
        let sales: Vec<_> = (0..10).flat_map(|number| of(number).unwrap()).collect();
        assert_eq!(sales.len(), sold);
        let mut sums = BTreeMap::<String, u64>::new();
        for sale in sales {
            *sums.entry(sale.payload.product).or_default() += sale.payload.cents;
        }
        sums
    };
    let expected = all(&engine);
    within(async {
        while rows(&engine).await != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
    close(engine).await;
}

/// With a bound on them the dataflow fails, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_checkpoints_given_up_end_the_dataflow() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, gate) = open_hurried(folder.path(), Some(1)).await;
    gate.0.send_replace(false);
    append(&engine, &sales(30)).await;
    until_given_up(&engine, 2).await;
    gate.0.send_replace(true);
    let failure = within(engine.dataflow("rows").wait()).await.unwrap_err();
    let cause = &failure.cause;
    assert!(cause.contains("2 checkpoints in a row"), "{failure}");
    assert!(cause.contains("waiting for"), "{failure}");
    let _ = within(engine.shutdown()).await;
}
