//! Promise: a running engine shows what it does. Each metric that is looked at first is recorded by the engine's own work, not by
//! a test of its handle. A program of its own: recorders are one for the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/small_files.rs"]
mod small_files;
#[path = "support/within.rs"]
mod within;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use millstream::prelude::*;
use millstream::server::{MetricsServer, serve_metrics};
use millstream_engine::event::PartitionId;
use millstream_operators::projection::FailurePolicy;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use small_files::small_files;
use within::{close, within};

const PARTITIONS: u16 = 2;
/// Commands of one round, each to an instance of its own.
const ROUND: usize = 20;
/// What the projection fails on, and what it is held at.
const FAILS: i64 = 1_000;
const HOLDS: i64 = 1_001;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Meter {
    sum: i64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Added(i64);

impl Event for Added {}

#[derive(Clone, Debug, thiserror::Error)]
#[error("not more")]
struct NotMore;

impl Aggregate for Meter {
    const CATEGORY: &'static str = "meter";
    const VERSION: u32 = 1;
    /// What to add. Zero is refused.
    type Command = i64;
    type Event = Added;
    type Rejection = NotMore;

    fn decide(&self, by: i64, out: &mut Decision<'_, Self>) -> Result<(), NotMore> {
        if by == 0 {
            return Err(NotMore);
        }
        out.emit(Added(by));
        Ok(())
    }

    fn evolve(&mut self, Added(by): &Added) {
        self.sum += by;
    }
}

/// Sums, and can be held.
struct Sums {
    leave: Mutex<Receiver<()>>,
}

#[derive(Debug, thiserror::Error)]
#[error("this is not summed")]
struct NotSummed;

impl Projection for Sums {
    const NAME: &'static str = "sums";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = Meter::CATEGORY;
    type Event = Added;
    type Tables = (Table<String, i64>,);
    type Error = NotSummed;

    fn tables(&self) -> Self::Tables {
        (Table::named("sums"),)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Added>,
        (sums,): &mut (TableMut<String, i64>,),
    ) -> Result<(), NotSummed> {
        let Added(by) = *event.payload;
        match by {
            FAILS => return Err(NotSummed),
            HOLDS => {
                let leave = self.leave.lock().unwrap();
                let _ = leave.recv_timeout(Duration::from_secs(300));
            }
            _ => {}
        }
        sums.update(&event.id.to_owned(), |sum| *sum += by);
        Ok(())
    }
}

/// Figures as they are shown, those of one name added up.
struct Figures(BTreeMap<String, f64>);

impl Figures {
    fn of(server: &MetricsServer) -> Self {
        let mut figures = BTreeMap::new();
        for line in server.render().lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let name = series.split('{').next().unwrap_or(series);
            if let (Some(name), Ok(value)) =
                (name.strip_prefix("millstream_"), value.parse::<f64>())
            {
                *figures.entry(name.to_owned()).or_insert(0.0) += value;
            }
        }
        Self(figures)
    }

    /// The value of a metric; below zero, as none is, if it is not shown.
    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(-1.0)
    }

    fn is(&self, name: &str, value: f64) -> bool {
        (self.get(name) - value).abs() < 1e-9
    }

    /// Those of these that are not above zero.
    fn missing<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        let missing = names.iter().filter(|name| self.get(name) <= 0.0);
        missing.copied().collect()
    }
}

/// Commands sent so far, and what becomes of them.
#[derive(Default)]
struct Sent {
    commands: usize,
    rejections: usize,
}

/// Ids of instances that lie in a partition.
fn ids(partition: u16) -> impl Iterator<Item = String> {
    let ids = (0..).map(|n| format!("m{n}"));
    ids.filter(move |id| {
        let stream = StreamId::new(Meter::CATEGORY, id).unwrap();
        stream.partition(PARTITIONS) == PartitionId(partition)
    })
}

impl Sent {
    /// Sends one command, which is taken or refused.
    async fn one(&mut self, engine: &Engine, id: &str, by: i64) {
        let sent = within(engine.send::<Meter>(id, by)).await;
        self.commands += 1;
        self.rejections += usize::from(by == 0);
        assert_eq!(sent.is_err(), by == 0, "{sent:?}");
    }

    /// A round of commands at once, all to the first partition.
    async fn round(&mut self, engine: &Engine) {
        let mut round = JoinSet::new();
        for id in ids(0).take(ROUND) {
            let engine = engine.clone();
            round.spawn(async move { engine.send::<Meter>(&id, 1).await.map(drop) });
        }
        for sent in within(round.join_all()).await {
            sent.unwrap();
        }
        self.commands += ROUND;
    }
}

/// Shown while the engine is busy and its projection is held: all above zero.
const BUSY: &[&str] = &[
    "partition_arrivals_per_second",
    "partition_service_seconds",
    "partition_utilisation_ratio",
    "partition_busy_ratio",
    "mailbox_limit_credits",
    "mailbox_wait_seconds_count",
    "mailbox_wait_seconds_sum",
    "batch_items_count",
    "batch_seconds_count",
    "batch_seconds_sum",
    "batch_item_seconds",
    "batch_target_items",
    "writer_commit_seconds_sum",
    "writer_log_bytes_total",
    "aggregate_activation_seconds_sum",
    "aggregate_resident_bytes",
    "projection_lag_events",
    "projection_lag_seconds",
];

/// What does not hold yet once all was sent, and nothing is left to do. Counters are touched a moment after answers.
fn wrong(figures: &Figures, sent: &Sent) -> Vec<String> {
    let count = |count: usize| count as f64;
    let events = count(sent.commands - sent.rejections);
    let commits = figures.get("writer_commit_seconds_count");
    // Those of rounds, and one in the other partition.
    let instances = count(ROUND + 1);
    let exact = [
        ("partition_arrived_total", count(sent.commands)),
        ("partition_served_total", count(sent.commands)),
        ("batch_items_sum", count(sent.commands)),
        ("mailbox_items", 0.0),
        ("writer_fsyncs_total", 2.0 * commits),
        ("writer_group_frames_count", commits),
        ("writer_group_events_count", commits),
        ("writer_group_events_sum", events),
        ("writer_queued_frames", 0.0),
        ("aggregate_commands_total", count(sent.commands)),
        ("aggregate_rejections_total", count(sent.rejections)),
        ("aggregate_events_total", events),
        // New ones have nothing to load.
        ("aggregate_activations_total", 1.0),
        ("aggregate_activation_seconds_count", 1.0),
        ("aggregate_resident_instances", instances),
        ("projection_events_total", events),
        ("projection_failures_total", 1.0),
        ("projection_lag_events", 0.0),
        ("projection_lag_seconds", 0.0),
        ("projection_parked_keys", 1.0),
        ("dead_letters", 1.0),
        ("dead_letters_added_total", 1.0),
    ];
    let told = |name: &str, right: String| format!("{name} is {}, not {right}", figures.get(name));
    let exact = exact
        .iter()
        .filter(|(name, right)| !figures.is(name, *right));
    let exact = exact.map(|(name, right)| told(name, right.to_string()));
    // As long as it was held, at least; and frames are of one event at least.
    let frames = figures.get("writer_group_frames_sum");
    let bounds = [
        ("projection_visible_seconds_count", 1.0, events),
        ("projection_visible_seconds_sum", 1.0, f64::INFINITY),
        ("projection_flush_rows_sum", instances, events),
        ("writer_group_frames_sum", commits, events),
        ("batch_fixed_seconds", 0.0, 1.0),
        ("partition_skew_ratio", 1.0, f64::from(PARTITIONS)),
        ("writer_log_bytes_total", frames, f64::INFINITY),
    ];
    let bounds = bounds
        .iter()
        .filter(|(name, least, most)| !(*least..=*most).contains(&figures.get(name)));
    let bounds = bounds.map(|(name, least, most)| told(name, format!("{least} to {most}")));
    exact.chain(bounds).collect()
}

/// Looks again and again until nothing is wrong.
async fn until_right(what: impl Fn() -> Vec<String>) {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let wait = async {
        while !what().is_empty() {
            looks.tick().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(120), wait).await;
    assert!(ended.is_ok(), "{:#?}", what());
}

/// An engine, and what lets its projection go.
async fn open(folder: &Path) -> (Engine, SyncSender<()>) {
    let (leave, left) = sync_channel(1);
    let at_once = ProjectionConfig {
        failures: FailurePolicy {
            attempts_max: 1,
            ..FailurePolicy::default()
        },
        ..ProjectionConfig::default()
    };
    let sums = Sums {
        leave: Mutex::new(left),
    };
    let topology = Topology::named("meters").aggregate::<Meter>();
    let topology = topology.projection_with(sums, at_once).build().unwrap();
    let opened = Engine::open(folder).config(small_files(PARTITIONS));
    (opened.run(topology).await.unwrap(), leave)
}

/// Rounds while the projection is held, until all is shown that is shown of a busy engine; then it is let go.
async fn be_busy(engine: &Engine, server: &MetricsServer, sent: &mut Sent, leave: SyncSender<()>) {
    let held = ids(0).next().unwrap();
    sent.one(engine, &held, HOLDS).await;
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let wait = async {
        loop {
            sent.round(engine).await;
            let figures = Figures::of(server);
            // Events come to one of two partitions.
            let is_uneven = figures.is("partition_skew_ratio", 2.0);
            if figures.missing(BUSY).is_empty() && is_uneven {
                return;
            }
            looks.tick().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(120), wait).await;
    let figures = Figures::of(server);
    let skew = figures.get("partition_skew_ratio");
    assert!(ended.is_ok(), "skew {skew}, {:?}", figures.missing(BUSY));
    leave.send(()).unwrap();
}

/// Story: handles of metrics had tests, but nothing failed when the engine told them nothing. Method: a load of everything that the core
/// metrics tell of; what is shown must be what was done, to the last command.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_running_engine_shows_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    // The one in the other partition, where nothing is held. Nobody hears of this engine, but what it stores is loaded by the next.
    let other = ids(1).next().unwrap();
    let (engine, _leave) = open(folder.path()).await;
    Sent::default().one(&engine, &other, 1).await;
    close(engine).await;

    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = serve_metrics(local).unwrap();
    let (engine, leave) = open(folder.path()).await;
    let mut sent = Sent::default();
    // Refused, taken, and failed on.
    for by in [0, 1, FAILS] {
        sent.one(&engine, &other, by).await;
    }
    be_busy(&engine, &server, &mut sent, leave).await;
    until_right(|| wrong(&Figures::of(&server), &sent)).await;
    close(engine).await;
}
