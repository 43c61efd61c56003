//! Events into the log: through the engine's appender, and as frames straight into the store.
//!
//! Payloads are pseudo-random bytes, so that compression gains nothing and what reaches the disk is what was
//! appended. The figure to look at is `of_disk`: payload bytes per second over what the disk takes when a
//! file is written from end to end.

use std::sync::mpsc::sync_channel;

use anyhow::{Context, Result, ensure};
use millstream::{Engine, EngineConfig, Topology};
use millstream_engine::event::{Metadata, Offset, PartitionId, StreamId, stream_hash};
use millstream_engine::log::frame::{Draft, Encoding, FrameBuilder, FrameHash, Kind, SealedFrame};
use millstream_engine::log::{EmbeddedLog, LogReader, LogStore};
use millstream_engine::partition::{Appender, Expected, NewEvent};
use millstream_engine::store::EnvironmentOptions;
use millstream_engine::time::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::load::{Caller, closed_loop};
use crate::{Case, Harness, Machine, SEED};

const SUITE: &str = "append";
/// Frames that are sealed ahead of the store.
const AHEAD: usize = 8;

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of a payload.
    pub event_bytes: usize,
    /// Events of one append, and of one frame.
    pub batch: usize,
    /// Appends in flight.
    pub in_flight: usize,
    /// Frames of one commit, where there are several.
    pub group: usize,
    /// Frames that are sealed before the clock starts, where the store is measured alone.
    pub sealed: usize,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    event_bytes: 120,
    batch: 4_096,
    in_flight: 16,
    group: 8,
    sealed: 512,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    event_bytes: 120,
    batch: 64,
    in_flight: 3,
    group: 2,
    sealed: 8,
};

/// Runs all cases that are wanted.
///
/// # Errors
/// When an append is refused or the log does not hold what was appended.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    if harness.wants("appender") {
        appender(harness, sizes).await?;
    }
    for (name, group) in [("store", 1), ("store-groups", sizes.group)] {
        if harness.wants(name) {
            store(harness, sizes, name, group)?;
        }
    }
    for (name, group) in [("frames", 1), ("frame-groups", sizes.group)] {
        if harness.wants(name) {
            frames(harness, sizes, name, group)?;
        }
    }
    Ok(())
}

fn figures(case: Case, sizes: Sizes, events: f64, machine: Machine) -> Case {
    let megabytes = events * sizes.event_bytes as f64 / 1e6;
    case.with("event_bytes", sizes.event_bytes)
        .with("batch", sizes.batch)
        .figure("events_per_second", events)
        .figure("mb_per_second", megabytes)
        .figure("of_disk", megabytes / machine.disk_mb_per_second)
}

/// Appends batches to a stream of its own.
struct Writer {
    appender: Appender,
    stream: StreamId,
    random: SmallRng,
    sizes: Sizes,
}

impl Caller for Writer {
    async fn call(&mut self) -> Result<u64> {
        let events = (0..self.sizes.batch).map(|_| {
            let mut bytes = vec![0; self.sizes.event_bytes];
            self.random.fill_bytes(&mut bytes);
            NewEvent::opaque("measured", bytes)
        });
        let events: Vec<_> = events.collect();
        let stream = self.stream.clone();
        self.appender
            .append(stream, Expected::Any, events)
            .await
            .context("appending")?;
        Ok(self.sizes.batch as u64)
    }
}

async fn appender(harness: &Harness, sizes: Sizes) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let config = EngineConfig {
        partitions: harness.options().partitions,
        ..EngineConfig::default()
    };
    let engine = Engine::open(folder.path())
        .config(config)
        .run(Topology::named("append").build()?)
        .await?;
    let writers = (0..sizes.in_flight)
        .map(|number| {
            Ok(Writer {
                appender: engine.appender(),
                stream: StreamId::new("raw", &number.to_string())?,
                random: SmallRng::seed_from_u64(SEED + number as u64),
                sizes,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let (loaded, _) = closed_loop(&harness.clock(), writers, harness.seconds()).await?;
    let durable = engine.durable();
    let stored: u64 = durable.positions().iter().map(|p| p.offset.0 + 1).sum();
    ensure!(stored == loaded.items_all, "{stored} events in the log");
    let case = Case::new(SUITE, "appender", machine)
        .with("in_flight", sizes.in_flight)
        .with("partitions", engine.partitions());
    let case = figures(case, sizes, loaded.per_second(), machine)
        .figure("p50_us", loaded.quantile_us(0.5))
        .figure("p99_us", loaded.quantile_us(0.99))
        .figure("cpu_us_per_event", loaded.cpu_us_per_item());
    harness.report(case)?;
    Ok(engine.shutdown().await?)
}

/// Frames of one partition, each naming the one before.
pub(crate) struct Sealer {
    builder: FrameBuilder,
    random: SmallRng,
    next: Offset,
    hash: FrameHash,
    sizes: Sizes,
}

impl Sealer {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self {
            builder: FrameBuilder::new(),
            random: SmallRng::seed_from_u64(SEED),
            next: Offset(0),
            hash: FrameHash::default(),
            sizes,
        }
    }

    pub(crate) fn seal(&mut self) -> Result<SealedFrame> {
        let kind = self.builder.kind(&Kind {
            category: "raw".into(),
            event_type: "measured".into(),
            schema_version: 1,
            encoding: Encoding::Opaque,
        });
        let hash = stream_hash("raw-0");
        let mut payload = vec![0; self.sizes.event_bytes];
        for version in (self.next.0..).take(self.sizes.batch) {
            self.random.fill_bytes(&mut payload);
            let draft = Draft {
                kind,
                stream: "0",
                hash,
                version,
                event_time: None,
                id: None,
                metadata: Metadata::default(),
                payload: &payload,
            };
            self.builder.push(Timestamp::EPOCH, &draft)?;
        }
        let ids = Uuid::from_u128(u128::from(self.next.0));
        let frame = self
            .builder
            .seal(PartitionId(0), self.next, ids, self.hash, &[])?;
        self.next = self.next.plus(u64::from(frame.count));
        self.hash = frame.hash;
        Ok(frame)
    }
}

/// Frames that are sealed already, into the store: what is left is the store's own work and the disk's.
fn store(harness: &Harness, sizes: Sizes, name: &str, group: usize) -> Result<()> {
    let folder = harness.folder()?;
    let mut sealer = Sealer::new(sizes);
    let frames = (0..sizes.sealed)
        .map(|_| sealer.seal())
        .collect::<Result<Vec<_>>>()?;
    let machine = harness.machine(&folder)?;
    let EmbeddedLog { mut store, reader } =
        EmbeddedLog::open(folder.path(), 1, EnvironmentOptions::default())?;
    let start = harness.now();
    for frames in frames.chunks(group) {
        store.append(frames)?;
    }
    let elapsed = (harness.now() - start).as_secs_f64();
    let head = reader.head(PartitionId(0))?.next;
    ensure!(head == sealer.next, "{head} events in the log");
    let case = Case::new(SUITE, name, machine)
        .with("group", group)
        .with("frames", sizes.sealed)
        .with("partitions", 1);
    harness.report(figures(case, sizes, head.0 as f64 / elapsed, machine))
}

/// One thread seals, this one stores: as partitions and the log's writer do.
fn frames(harness: &Harness, sizes: Sizes, name: &str, group: usize) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let EmbeddedLog { mut store, reader } =
        EmbeddedLog::open(folder.path(), 1, EnvironmentOptions::default())?;
    let (sender, receiver) = sync_channel(AHEAD);
    let sealer = std::thread::Builder::new()
        .name("sealer".to_owned())
        .spawn(move || {
            let mut sealer = Sealer::new(sizes);
            // Ends when the receiver is gone.
            while sender.send(sealer.seal()).is_ok() {}
        })?;
    let (start, seconds) = (harness.now(), harness.seconds());
    let mut stored = 0;
    while harness.now() - start < seconds {
        let frames = (0..group)
            .map(|_| receiver.recv().context("the sealer ended")?)
            .collect::<Result<Vec<_>>>()?;
        store.append(&frames)?;
        stored += frames
            .iter()
            .map(|frame| u64::from(frame.count))
            .sum::<u64>();
    }
    let elapsed = (harness.now() - start).as_secs_f64();
    drop(receiver);
    sealer.join().ok().context("the sealer panicked")?;
    let head = reader.head(PartitionId(0))?.next;
    ensure!(head == Offset(stored), "{head} events in the log");
    let case = Case::new(SUITE, name, machine)
        .with("group", group)
        .with("partitions", 1);
    harness.report(figures(case, sizes, stored as f64 / elapsed, machine))
}
