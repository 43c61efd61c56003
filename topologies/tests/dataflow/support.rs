//! Random inputs, and dataflows of random shape over them.

use std::num::NonZeroUsize;
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed, Flow, FlowOptions};
use millstream_engine::flow::{BatchSize, EdgeOptions, Resources, StageLoad};
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
    pub(crate) partitions: usize,
    pub(crate) batch: usize,
    pub(crate) seed: u64,
    /// Inputs fed before the dataflow is stepped.
    pub(crate) chunk: usize,
}

pub(crate) fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn shape() -> impl Strategy<Value = Shape> {
    (1usize..5, 1usize..40, any::<u64>(), 1usize..60).prop_map(
        |(partitions, batch, seed, chunk)| Shape {
            partitions,
            batch,
            seed,
            chunk,
        },
    )
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
        FlowOptions {
            partitions: self.partitions,
            edges: EdgeOptions {
                batch: BatchSize::Fixed(NonZeroUsize::new(self.batch).unwrap()),
                ..EdgeOptions::default()
            },
            ..FlowOptions::default()
        }
    }

    /// Declares a dataflow over feeds, feeds them in chunks and runs to the end.
    pub(crate) fn run<T: Clone + Send + 'static, R>(
        &self,
        splits: &[Vec<(Timestamp, Option<T>)>],
        declare: impl FnOnce(&Flow, &Feed<T>) -> R,
    ) -> R {
        self.run_and_look(splits, declare).0
    }

    /// The same, with what was done and how much state is left at the end. A second passes after each chunk.
    pub(crate) fn run_and_look<T: Clone + Send + 'static, R>(
        &self,
        splits: &[Vec<(Timestamp, Option<T>)>],
        declare: impl FnOnce(&Flow, &Feed<T>) -> R,
    ) -> (R, Vec<StageLoad>) {
        let feed = Feed::new(splits.len());
        let mut outputs = None;
        let dataflow = Dataflow::build_with("test", self.options(), |flow| {
            outputs = Some(declare(flow, &feed));
        });
        let mut driver = Driver::with(dataflow.unwrap(), self.seed, Resources::new()).unwrap();
        let longest = splits.iter().map(Vec::len).max().unwrap_or(0);
        for from in (0..longest).step_by(self.chunk) {
            for (number, split) in splits.iter().enumerate() {
                let until = (from + self.chunk).min(split.len());
                for (time, item) in split.get(from..until).unwrap_or_default() {
                    match item {
                        Some(item) => feed.push(number, *time, item.clone()),
                        None => feed.watermark(number, *time),
                    }
                }
            }
            driver.run().unwrap();
            driver.advance(secs(1)).unwrap();
        }
        feed.end_all();
        driver.run().unwrap();
        assert!(driver.is_ended());
        (outputs.unwrap(), driver.loads())
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
