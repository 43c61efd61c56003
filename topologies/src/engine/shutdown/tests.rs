use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use millstream_engine::event::StreamId;
use millstream_engine::state::{StateBatch, StateOptions, StateStore, StateWrite, stepped};
use tokio::sync::oneshot;

use super::*;
use crate::catalog::bank::{Account, AccountCommand, BALANCES, Balances, Cents, Channel};
use crate::server::LocalMetrics;
use crate::{EngineConfig, Topology};

/// One partition, small files, a map of the state that is soon full, and nothing that fails is begun again.
fn config() -> EngineConfig {
    let mut config = EngineConfig {
        partitions: Some(1),
        state: small(),
        ..EngineConfig::default()
    };
    config.log.map_bytes_max = 1 << 30;
    config.log.preallocate_step_bytes = 1 << 20;
    config.restart.attempts_max = 0;
    config
}

fn small() -> StateOptions {
    StateOptions {
        map_bytes_max: 1 << 20,
        preallocate_step_bytes: 0,
        ..StateOptions::default()
    }
}

async fn open(folder: &Path, config: EngineConfig) -> Engine {
    let topology = Topology::named("bank").aggregate::<Account>();
    let topology = topology.projection(Balances).build().unwrap();
    let opened = Engine::open(folder).config(config).run(topology).await;
    opened.unwrap()
}

/// More than the map has room for.
fn too_much(table: millstream_engine::state::TableId) -> StateBatch {
    StateBatch::new(vec![StateWrite::PutRow {
        table,
        key: b"k".to_vec(),
        value: vec![1; 4 << 20],
    }])
}

async fn deposit(engine: &Engine, reference: u64) {
    let deposit = AccountCommand::Deposit {
        amount: Cents::new(100),
        channel: Channel::Cash,
        reference,
    };
    engine.send::<Account>("42", deposit).await.unwrap();
}

async fn within<F: Future>(future: F) -> F::Output {
    let ended = tokio::time::timeout(Duration::from_secs(120), future).await;
    ended.expect("this should have ended long ago")
}

/// Looks again and again, until it holds.
async fn until(mut holds: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(1));
    let wait = async {
        while !holds() {
            looks.tick().await;
        }
    };
    within(wait).await;
}

/// The value of a series, if it is shown.
fn value(metrics: &LocalMetrics, series: &str) -> Option<f64> {
    let text = metrics.render();
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Story: a state that took nothing any more, as on a full disk, was nobody's concern: the engine stayed up and took commands beside
/// projections that stood still for good, whose lag was shown as it had been when they stopped: none.
#[test]
fn a_state_that_has_stopped_is_a_failure_and_its_projections_are_shown_behind() {
    let metrics = LocalMetrics::new();
    let folder = tempfile::tempdir().unwrap();
    // One thread, so that all that is shown is shown in these metrics.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let lag =
        "millstream_projection_lag_events{projection=\"balances\",partition=\"0\",version=\"1\"}";
    let run = async {
        let engine = open(folder.path(), config()).await;
        let overdraft_limit = Cents::ZERO;
        let opening = AccountCommand::Open { overdraft_limit };
        let opened = engine.send_projected::<Account, _, _>("42", opening, &BALANCES);
        opened.await.unwrap();
        let mut failed = pin!(engine.failed());
        let polled = std::future::poll_fn(|context| Poll::Ready(failed.as_mut().poll(context)));
        assert!(polled.await.is_pending());

        let table = engine.inner.versions[0].started()[0].registered.tables[0];
        engine.inner.state.try_submit(too_much(table)).unwrap();
        let cause = within(failed).await;
        assert!(cause.contains("the state writer stopped"), "{cause}");
        // The log is whole. What the projection makes of this cannot be stored, which ends it.
        deposit(&engine, 1).await;
        let has_ended = |status: &StageStatus| matches!(status, StageStatus::Failed { .. });
        until(|| engine.stages().iter().any(|(_, status)| has_ended(status))).await;
        for reference in 2..5 {
            deposit(&engine, reference).await;
        }
        until(|| value(&metrics, lag).is_some_and(|events| events >= 3.0)).await;
        // Why it was given up comes before that it was.
        let ended = within(engine.shutdown()).await;
        assert!(matches!(ended, Err(ShutdownError::State(_))), "{ended:?}");
    };
    metrics.during(|| runtime.block_on(run));
}

/// Goal: a partition that is given up is a failure of the engine, which says which one and why; who asks it for something is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_given_up_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig {
        partitions: Some(2),
        ..config()
    };
    let engine = open(folder.path(), config).await;
    let mut failed = pin!(engine.failed());
    let polled = std::future::poll_fn(|context| Poll::Ready(failed.as_mut().poll(context)));
    assert!(polled.await.is_pending());

    let partition = &engine.inner.running.partitions[1];
    partition.give_up("it does not go on");
    let cause = within(failed).await;
    let expected = format!("{} was given up: it does not go on", partition.name());
    assert_eq!(cause, expected);
    let ids = (0_u32..).map(|id| StreamId::new("account", &id.to_string()).unwrap());
    let mut lost = ids.filter(|id| id.partition(2) == PartitionId(1));
    let lost = lost.next().unwrap();
    let overdraft_limit = Cents::ZERO;
    let opening = AccountCommand::Open { overdraft_limit };
    let sent = within(engine.send::<Account>(lost.id(), opening)).await;
    assert!(sent.is_err(), "{sent:?}");
    let ended = within(engine.shutdown()).await;
    let Err(ShutdownError::Stage { stage, cause }) = ended else {
        panic!("{ended:?}");
    };
    assert!(
        expected.contains(&stage) && cause.contains("it does not go on"),
        "{stage}: {cause}"
    );
}

#[test]
fn a_state_writer_that_stops_shows_it() {
    let metrics = LocalMetrics::new();
    let folder = tempfile::tempdir().unwrap();
    let (_store, writer) = StateStore::open(folder.path(), small()).unwrap();
    let (handle, stepped) = metrics.during(|| stepped(writer));
    let shown = || value(&metrics, "millstream_state_writer_stopped").unwrap();
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    assert!(shown() < 0.5);
    handle.try_submit(too_much(table)).unwrap();
    assert!(stepped.step() && shown() > 0.5);
}

/// Story: all of a shutdown had its deadline but the end of the state: where its disk hung, nobody was ever told.
#[test]
fn a_state_that_hangs_does_not_hold_up_a_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let (go_on, goes_on) = oneshot::channel::<()>();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let shutdown_deadline = Duration::from_secs(1);
        let config = EngineConfig {
            shutdown_deadline,
            ..config()
        };
        let engine = open(folder.path(), config).await;
        let (begun, has_begun) = oneshot::channel();
        let hangs = StateBatch::default().on_done(move |_| {
            begun.send(()).unwrap();
            let _ = goes_on.blocking_recv();
        });
        engine.inner.state.try_submit(hangs).unwrap();
        has_begun.await.unwrap();
        let ended = within(engine.shutdown()).await;
        assert!(
            matches!(ended, Err(ShutdownError::Stage { .. })),
            "{ended:?}"
        );
    });
    // Nor the end of the runtime, which waits for all that blocks on its threads.
    drop(runtime);
    drop(go_on);
}
