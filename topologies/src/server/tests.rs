//! Every metric is recorded by its handle, shown with its help text, and answered over HTTP.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::batch::{BatchController, BatchLimits};
use millstream_engine::checkpoint::CheckpointFigures;
use millstream_engine::event::PartitionId;
use millstream_engine::flow::StageLoad;
use millstream_engine::index::IndexStats;
use millstream_engine::mailbox::MailboxStatistics;
use millstream_engine::metrics::*;
use millstream_engine::spill::{MemoryBudget, MemoryShare, PageOwner, SpillStore};
use millstream_engine::time::Timestamp;

use super::*;
use crate::dataflow::{Dataflow, Received};

const PARTITION: PartitionId = PartitionId(3);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Records at least one of everything, never a zero.
fn record_one_of_each() {
    record_flow();
    record_dataflows();
    record_write_side();
    record_read_side();
}

fn record_flow() {
    let mut meter = LoadMeter::new();
    meter.observe(10, 10, MILLISECOND, 10 * MILLISECOND);
    let partition = PartitionMetrics::new(PARTITION);
    partition.observe_turn(10, 9);
    partition.observe_load(&meter);
    partition.observe_stalled(MILLISECOND);
    observe_skew(&[1.0, 3.0]);

    let mailbox = MailboxMetrics::new("count", PARTITION);
    mailbox.observe_wait(None);
    mailbox.observe_wait(Some(MILLISECOND));
    mailbox.observe(&MailboxStatistics {
        items: 1,
        credits_used: 2,
        credits_total: 3,
        refused_total: 4,
        waits_total: 5,
        waited: 6 * MILLISECOND,
    });

    let mut controller = BatchController::new(BatchLimits::default());
    for _ in 0..64 {
        let items = controller.batch_items(100_000);
        controller.observe(items, Duration::from_nanos(20_000 + 200 * items as u64));
    }
    let batch = BatchMetrics::new("count", PARTITION);
    batch.observe_batch(0, MILLISECOND);
    batch.observe_batch(100, MILLISECOND);
    batch.observe_controller(&controller);
}

fn record_dataflows() {
    StageMetrics::new("sales/window", PARTITION).observe(&StageLoad {
        items_total: 1,
        busy: MILLISECOND,
        idle: 2 * MILLISECOND,
        blocked: 3 * MILLISECOND,
        state_items: 4,
        watermark: Some(Timestamp::from_seconds(5)),
        ..StageLoad::default()
    });
    StallMetrics::new("sales/window", PARTITION).observe(MILLISECOND);
    let breaker = BreakerMetrics::new("sales/told", PARTITION);
    breaker.observe(2);
    breaker.count_opened();
    DataflowMetrics::new("sales").observe(true);
    DataflowMetrics::new("sales").count_restart();
    let checkpoints = CheckpointMetrics::new("sales");
    checkpoints.observe_alignment(Duration::from_millis(1));
    checkpoints.observe_completed(&CheckpointFigures {
        duration: Duration::from_millis(20),
        bytes_written: 10,
        bytes: 100,
    });
    checkpoints.count_failed();
    LateMetrics::new("sales/window", PARTITION).count(1);
    record_state_memory();
    ThreadMetrics::new().observe(1, 2);
    ClockMetrics::new().observe(MILLISECOND);
    UnreadableMetrics::new("sales/events", PARTITION).count(1);
}

fn record_state_memory() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(MemoryBudget::new(1_000));
    let mut share = MemoryShare::new(Arc::clone(&memory));
    share.set(100);
    let store = SpillStore::create(folder.path(), Arc::clone(&memory)).unwrap();
    let mut owner = PageOwner::new(&Arc::new(store));
    owner.write([(0, &b"page"[..])]).unwrap();
    owner.read(0, <[u8]>::len).unwrap();
    StateMemoryMetrics::new().observe(&memory);
}

fn record_write_side() {
    let writer = WriterMetrics::new();
    writer.observe_commit(&CommitSample {
        elapsed: MILLISECOND,
        frames: 4,
        events: 400,
        bytes: 40_000,
        fsyncs: 1,
    });
    writer.observe_queue(2);
    writer.mark_stopped();

    let aggregate = AggregateMetrics::new("account", PARTITION);
    aggregate.observe_turn(&AggregateTally {
        commands: 10,
        events: 9,
        rejections: 1,
        conflicts: 2,
        repeats: 3,
        panics: 4,
        passivations: 5,
        snapshots: 6,
    });
    aggregate.observe_activation(MILLISECOND);
    aggregate.observe_resident(7, 800);

    let index = IndexMetrics::new(PARTITION);
    let stats = IndexStats {
        level_runs: vec![2, 1],
        run_entries: 1,
        run_bytes: 2,
        filter_bytes: 3,
        tail_entries: 4,
        bloom_checks_total: 5,
        bloom_false_positives_total: 6,
        flush_bytes_total: 7,
        merge_bytes_total: 8,
    };
    index.observe(&stats);
    index.observe(&stats);
}

fn record_read_side() {
    let projection = ProjectionMetrics::new("balances", 1, PARTITION);
    projection.observe_batch(100);
    projection.observe_lag(7, 3 * MILLISECOND);
    projection.observe_visible(MILLISECOND);
    projection.count_failures(1);
    projection.observe_parked(1);
    projection.observe_flush(50, MILLISECOND);
    let version = VersionMetrics::new("balances", 2);
    version.observe_active(true);
    version.observe_left(1_000, 50.0, 20 * MILLISECOND);

    let delivery = DeliveryMetrics::new("orders", "mails", PARTITION);
    delivery.count_delivered(1);
    delivery.count_failures(1);
    delivery.count_given_up(1);

    let outbox = OutboxMetrics::new("orders", "mails", PARTITION.0 + 1);
    let now = OutboxNow {
        effects: 3,
        bytes: 300,
        oldest: MILLISECOND,
    };
    outbox.observe(PARTITION, now);
    outbox.observe_full(true);
    observe_undeclared("orders", "mails", 2);

    let derived = DerivedMetrics::new("balances", "household");
    derived.count_hit();
    derived.count_miss();

    let mut dead = DeadLetterMetrics::new("count", PARTITION);
    let causes = [ParkedCause {
        cause: "panic",
        dead_letters: 1,
        oldest: Duration::from_secs(60),
    }];
    dead.observe(ParkedNow {
        keys: 2,
        events: 3,
        causes: &causes,
    });
    dead.count_added("panic", 1);
    dead.count_redriven("error", 1);
    dead.count_discarded("error", 1);
    dead.count_retries(1);
    dead.count_skipped(1);

    let state = StateWriterMetrics::new();
    state.observe_commit(2, 300, MILLISECOND);
    state.mark_stopped();
}

/// Value of each line, by what stands before it.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
        .collect()
}

fn assert_shows_everything(text: &str) {
    let samples = samples(text);
    for metric in ALL {
        let Metric { name, help, .. } = metric;
        let (kind, suffix) = match metric.kind {
            Kind::Counter => ("counter", ""),
            Kind::Gauge => ("gauge", ""),
            Kind::Histogram => ("histogram", "_count"),
        };
        assert!(
            text.contains(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")),
            "{name} has no help or type"
        );
        let recorded = samples.iter().any(|(series, value)| {
            let shown = series.split('{').next().unwrap();
            shown.strip_prefix(name) == Some(suffix) && *value > 0.0
        });
        assert!(recorded, "{name} was not recorded");
    }
}

#[test]
fn each_metric_is_recorded_and_has_its_help() {
    let local = LocalMetrics::new();
    local.during(record_one_of_each);
    let text = local.render();
    assert_shows_everything(&text);
    let samples = samples(&text);
    for (series, value) in [
        ("millstream_partition_arrived_total{partition=\"3\"}", 10.0),
        ("millstream_partition_skew_ratio", 1.5),
        (
            "millstream_mailbox_backpressure_microseconds_total{stage=\"count\",partition=\"3\"}",
            6_000.0,
        ),
        (
            "millstream_batch_items_bucket{stage=\"count\",partition=\"3\",le=\"64\"}",
            0.0,
        ),
        (
            "millstream_batch_items_bucket{stage=\"count\",partition=\"3\",le=\"128\"}",
            1.0,
        ),
        ("millstream_writer_commit_seconds_bucket{le=\"0.001\"}", 1.0),
        (
            "millstream_writer_commit_seconds_bucket{le=\"0.0005\"}",
            0.0,
        ),
        (
            "millstream_aggregate_repeats_total{category=\"account\",partition=\"3\"}",
            3.0,
        ),
        // Shown twice, counted once.
        ("millstream_index_merge_bytes_total{partition=\"3\"}", 8.0),
        (
            "millstream_projection_lag_seconds{projection=\"balances\",partition=\"3\",version=\"1\"}",
            0.003,
        ),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}\n{text}");
    }
}

#[test]
fn a_dataflow_shows_that_it_runs_and_that_it_failed() {
    let local = LocalMetrics::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let is_shown = |failed: u8| {
        let series = format!("millstream_dataflow_failed{{dataflow=\"strict\"}} {failed}");
        local.render().contains(&series)
    };
    let run = async {
        let (sender, numbers) = Received::channel(1);
        let flow = Dataflow::build("strict", |flow| {
            let numbers = flow.source("numbers", numbers).stream();
            numbers.for_each(|_, number: u64| assert_ne!(number, 13));
        });
        let handle = flow.unwrap().start().await.unwrap();
        while !is_shown(0) {
            tokio::task::yield_now().await;
        }
        sender.send(13).await.unwrap();
        handle.wait().await.unwrap_err();
        while !is_shown(1) {
            tokio::task::yield_now().await;
        }
    };
    let bounded = async { tokio::time::timeout(Duration::from_secs(60), run).await };
    let ended = local.during(|| runtime.block_on(bounded));
    assert!(ended.is_ok(), "it was never shown");
}

#[test]
fn local_metrics_do_not_mix() {
    let (one, other) = (LocalMetrics::new(), LocalMetrics::new());
    let writer = one.during(WriterMetrics::new);
    other.during(|| writer.mark_stopped());
    assert!(one.render().contains("millstream_writer_stopped 1"));
    assert!(!other.render().contains("millstream_writer_stopped"));
}

/// Head and body of the answer.
fn scrape(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Set for the process that serves.
const SERVES: &str = "MILLSTREAM_SERVES_METRICS";

/// In a process of its own: it has one recorder, in which the engines of other tests would record too.
#[test]
fn metrics_are_served_over_http() {
    if std::env::var_os(SERVES).is_some() {
        return served_over_http();
    }
    let test = "server::tests::metrics_are_served_over_http";
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone
        .args(["--exact", test, "--nocapture"])
        .env(SERVES, "1");
    let output = alone.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("1 passed"), "{said}");
}

/// One after the other: refusals first, then a scrape, then a second call.
fn served_over_http() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve_metrics(address).unwrap_err();
    assert!(error.is_retryable());
    assert!(error.to_string().contains(&address.to_string()));
    match error {
        ServeMetricsError::Bind { source, .. } => assert_eq!(source.kind(), ErrorKind::AddrInUse),
        other => panic!("{other}"),
    }
    // Set aside for documentation, so no machine has it.
    let error = serve_metrics("192.0.2.1:9464".parse().unwrap()).unwrap_err();
    assert!(!error.is_retryable());

    let server = serve_metrics("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_ne!(server.address().port(), 0);
    record_one_of_each();
    let (head, body) = scrape(server.address(), "/metrics");
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert_shows_everything(&body);
    assert_shows_everything(&server.render());
    assert_eq!(scrape(server.address(), "/health").1, "OK");

    // Those who ask nothing are sent away, whoever comes behind them is answered.
    let idle: Vec<_> = (0..=listener::CONNECTIONS_MAX)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    assert_shows_everything(&scrape(server.address(), "/metrics").1);
    for mut idle in idle {
        // Only turns what would be a hang into a failure.
        idle.set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        assert_eq!(idle.read(&mut [0; 1_024]).unwrap(), 0, "it is kept");
    }

    let error = serve_metrics("127.0.0.1:0".parse().unwrap()).unwrap_err();
    assert!(
        matches!(error, ServeMetricsError::AlreadyInstalled),
        "{error}"
    );
    // The refused one has not disturbed the one that runs.
    assert_shows_everything(&scrape(server.address(), "/metrics").1);
}

#[test]
fn the_default_address_is_this_machine_only() {
    assert_eq!(DEFAULT_METRICS_ADDRESS.to_string(), "127.0.0.1:9464");
    assert!(DEFAULT_METRICS_ADDRESS.ip().is_loopback());
}
