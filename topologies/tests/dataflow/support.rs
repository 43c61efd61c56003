//! Random inputs, and dataflows of random shape over them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed, Flow, FlowOptions, SourceBuilder};
use millstream_engine::checkpoint::CheckpointOptions;
use millstream_engine::flow::{BatchSize, EdgeOptions, Resources, StageLoad};
use millstream_engine::mailbox::MailboxLimits;
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

/// A key and a value.
pub(crate) type Item = (u8, i64);

/// What one split of the input brings, in order.
#[derive(Clone, Debug)]
pub(crate) enum Fed {
    /// An item and its time in seconds.
    Item(i64, Item),
    /// A watermark in seconds.
    Watermark(i64),
}

/// An input and the shape of the dataflow over it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) splits: Vec<Vec<Fed>>,
    pub(crate) shape: Shape,
}

/// What must not matter.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Of each stage, those that read too: there may be more of them than splits.
    pub(crate) partitions: usize,
    /// Items per batch; dynamic if `None`.
    pub(crate) batch: Option<usize>,
    /// Batches that wait before each partition of a stage.
    pub(crate) mailbox: u32,
    pub(crate) seed: u64,
    /// Inputs fed before the dataflow is stepped.
    pub(crate) chunk: usize,
    /// Seconds after which a split is idle. At least two: until its last input a split is fed every second, so that none
    /// that was idle comes back.
    pub(crate) idle_after: Option<u64>,
    /// Each split ends with its last input, not all of them together.
    pub(crate) ends_early: bool,
}

impl Shape {
    /// One partition, and nothing unusual.
    pub(crate) const fn plain(batch: usize, chunk: usize) -> Self {
        Self {
            partitions: 1,
            batch: Some(batch),
            mailbox: 64,
            seed: 1,
            chunk,
            idle_after: None,
            ends_early: false,
        }
    }
}

/// A feed that is read as the shape says.
pub(crate) struct Input<T> {
    pub(crate) feed: Feed<T>,
    idle_after: Option<u64>,
}

impl<T: Clone + Send + 'static> Input<T> {
    /// The source, named `items`.
    pub(crate) fn source(&self, flow: &Flow) -> SourceBuilder<Feed<T>> {
        let source = flow.source("items", self.feed.clone());
        match self.idle_after {
            Some(silence) => source.idle_after(secs(silence)),
            None => source,
        }
    }
}

/// Each stage in one partition.
pub(crate) fn one() -> FlowOptions {
    FlowOptions {
        partitions: 1,
        ..FlowOptions::default()
    }
}

/// The same with checkpoints, whenever one is asked for.
pub(crate) fn one_with_checkpoints() -> FlowOptions {
    FlowOptions {
        checkpoints: Some(CheckpointOptions {
            interval_ms: 3_600_000,
            pause_ms_min: 0,
            ..CheckpointOptions::default()
        }),
        ..one()
    }
}

pub(crate) fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn shape() -> impl Strategy<Value = Shape> {
    let sizes = (
        1usize..5,
        prop::option::weighted(0.8, 1usize..40),
        prop_oneof![1u32..4, Just(64)],
        1usize..60,
    );
    let ends = (prop::option::of(2u64..5), any::<bool>());
    (sizes, ends, any::<u64>()).prop_map(|(sizes, (idle_after, ends_early), seed)| {
        let (partitions, batch, mailbox, chunk) = sizes;
        Shape {
            partitions,
            batch,
            mailbox,
            seed,
            chunk,
            idle_after,
            ends_early,
        }
    })
}

/// Times go up by and large; each split's watermark lags behind its latest time by a few seconds, so that some items
/// are late.
fn split(items: usize) -> impl Strategy<Value = Vec<Fed>> {
    let step = (0i64..4, -8i64..3, 0u8..6, -50i64..50, 0u8..6);
    prop::collection::vec(step, 0..items).prop_map(|steps| {
        let (mut now, mut watermark) = (0, i64::MIN);
        let mut fed = Vec::new();
        for (forward, jitter, key, value, mark) in steps {
            now += forward;
            fed.push(Fed::Item(now + jitter, (key, value)));
            if mark == 0 {
                watermark = watermark.max(now - 4);
                fed.push(Fed::Watermark(watermark));
            }
        }
        fed
    })
}

/// Up to `items` items in each of one to four splits.
pub(crate) fn case(items: usize) -> impl Strategy<Value = Case> {
    let splits = prop::collection::vec(split(items), 1..5);
    (splits, shape()).prop_map(|(splits, shape)| Case { splits, shape })
}

impl Shape {
    pub(crate) fn options(&self) -> FlowOptions {
        let batch = match self.batch {
            Some(items) => BatchSize::Fixed(NonZeroUsize::new(items).unwrap()),
            None => BatchSize::default(),
        };
        let defaults = FlowOptions::default();
        FlowOptions {
            checkpoints: None,
            own_threads: None,
            partitions: self.partitions,
            edges: EdgeOptions {
                batch,
                ..EdgeOptions::default()
            },
            mailbox: MailboxLimits {
                items_max: NonZeroU32::new(self.mailbox).unwrap(),
                ..defaults.mailbox
            },
        }
    }

    fn start<T: Send + 'static, R>(
        &self,
        splits: usize,
        declare: impl FnOnce(&Flow, &Input<T>) -> R,
    ) -> (R, Feed<T>, Driver) {
        let input = Input {
            feed: Feed::new(splits),
            idle_after: self.idle_after,
        };
        let mut outputs = None;
        let dataflow = Dataflow::build_with("test", self.options(), |flow| {
            outputs = Some(declare(flow, &input));
        });
        let driver = Driver::with(dataflow.unwrap(), self.seed, Resources::new()).unwrap();
        (outputs.unwrap(), input.feed, driver)
    }

    fn feed<T: Clone>(&self, feed: &Feed<T>, splits: &[Vec<(Timestamp, Option<T>)>], from: usize) {
        for (number, split) in splits.iter().enumerate() {
            let until = (from + self.chunk).min(split.len());
            for (time, item) in split.get(from..until).unwrap_or_default() {
                match item {
                    Some(item) => feed.push(number, *time, item.clone()),
                    None => feed.watermark(number, *time),
                }
            }
            if self.ends_early && until == split.len() {
                feed.end(number);
            }
        }
    }

    /// Declares a dataflow over feeds, feeds them in chunks and runs to the end.
    pub(crate) fn run<T: Clone + Send + 'static, R>(
        &self,
        splits: &[Vec<(Timestamp, Option<T>)>],
        declare: impl FnOnce(&Flow, &Input<T>) -> R,
    ) -> R {
        self.run_and_look(splits, declare).0
    }

    /// The same, with what was done and how much state is left at the end. A second passes after each chunk.
    pub(crate) fn run_and_look<T: Clone + Send + 'static, R>(
        &self,
        splits: &[Vec<(Timestamp, Option<T>)>],
        declare: impl FnOnce(&Flow, &Input<T>) -> R,
    ) -> (R, Vec<StageLoad>) {
        let (outputs, feed, mut driver) = self.start(splits.len(), declare);
        let longest = splits.iter().map(Vec::len).max().unwrap_or(0);
        for from in (0..longest).step_by(self.chunk) {
            self.feed(&feed, splits, from);
            driver.run().unwrap();
            driver.advance(secs(1)).unwrap();
        }
        feed.end_all();
        driver.run().unwrap();
        assert!(driver.is_ended());
        (outputs, driver.loads())
    }

    /// Runs only so many chunks, and stops when the next one has been fed.
    pub(crate) fn run_and_stop<T: Clone + Send + 'static, R>(
        &self,
        splits: &[Vec<(Timestamp, Option<T>)>],
        chunks: usize,
        declare: impl FnOnce(&Flow, &Input<T>) -> R,
    ) -> R {
        let (outputs, feed, mut driver) = self.start(splits.len(), declare);
        for chunk in 0..chunks {
            self.feed(&feed, splits, chunk * self.chunk);
            driver.run().unwrap();
            driver.advance(secs(1)).unwrap();
        }
        self.feed(&feed, splits, chunks * self.chunk);
        driver.stop().unwrap();
        driver.run().unwrap();
        assert!(driver.is_ended());
        outputs
    }
}

impl Case {
    /// The input as feeds take it: times with an item, or watermarks without.
    pub(crate) fn input(&self) -> Vec<Vec<(Timestamp, Option<Item>)>> {
        let split = |split: &Vec<Fed>| {
            let fed = split.iter().map(|fed| match fed {
                Fed::Item(time, item) => (seconds(*time), Some(*item)),
                Fed::Watermark(time) => (seconds(*time), None),
            });
            fed.collect()
        };
        self.splits.iter().map(split).collect()
    }

    /// Each item with its time and the watermark of its split when it came, in seconds.
    pub(crate) fn items(&self) -> Vec<(i64, Item, i64)> {
        let mut items = Vec::new();
        for split in &self.splits {
            let mut watermark = i64::MIN;
            for fed in split {
                match fed {
                    Fed::Item(time, item) => items.push((*time, *item, watermark)),
                    Fed::Watermark(time) => watermark = watermark.max(*time),
                }
            }
        }
        items
    }
}
