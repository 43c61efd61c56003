//! Two inputs, and dataflows over both.

use std::collections::BTreeMap;

use millstream::dataflow::{Collected, Dataflow, Driver, Feed, Flow};
use millstream_engine::flow::{Resources, Side};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use crate::support::{Case, Fed, Item, Shape, case, seconds};

/// Both inputs; the shape is the left one's.
#[derive(Clone, Debug)]
pub(super) struct TwoCases {
    pub(super) left: Case,
    pub(super) right: Case,
}

/// Up to `items` items in each split of each side.
pub(super) fn two_cases(items: usize) -> impl Strategy<Value = TwoCases> {
    (case(items), case(items)).prop_map(|(left, right)| TwoCases { left, right })
}

/// A time in seconds, an item and the watermark of its split in seconds.
pub(super) type Seen = (i64, Item, i64);

fn feed_chunk(feed: &Feed<Item>, case: &Case, from: usize, chunk: usize) {
    for (number, split) in case.splits.iter().enumerate() {
        for fed in split.iter().skip(from).take(chunk) {
            match fed {
                Fed::Item(time, item) => feed.push(number, seconds(*time), *item),
                Fed::Watermark(time) => feed.watermark(number, seconds(*time)),
            }
        }
        if case.shape.ends_early && split.len() <= from + chunk {
            feed.end(number);
        }
    }
}

impl TwoCases {
    /// Runs to the end in chunks; one side is one chunk ahead, by the shape's seed. No state must be left then.
    pub(super) fn run<R>(&self, declare: impl FnOnce(&Flow, &Feed<Item>, &Feed<Item>) -> R) -> R {
        let Shape { seed, chunk, .. } = self.left.shape;
        let (left, right) = (
            Feed::new(self.left.splits.len()),
            Feed::new(self.right.splits.len()),
        );
        let mut outputs = None;
        let dataflow = Dataflow::build_with("test", self.left.shape.options(), |flow| {
            outputs = Some(declare(flow, &left, &right));
        });
        let mut driver = Driver::with(dataflow.unwrap(), seed, Resources::new()).unwrap();
        let splits = self.left.splits.iter().chain(&self.right.splits);
        let longest = splits.map(Vec::len).max().unwrap_or(0);
        for from in (0..longest).step_by(chunk) {
            if seed % 3 == 0 {
                feed_chunk(&right, &self.right, from, chunk);
                driver.run().unwrap();
            }
            feed_chunk(&left, &self.left, from, chunk);
            if seed % 3 == 1 {
                driver.run().unwrap();
            }
            if seed % 3 != 0 {
                feed_chunk(&right, &self.right, from, chunk);
            }
            driver.run().unwrap();
        }
        left.end_all();
        right.end_all();
        driver.run().unwrap();
        assert!(driver.is_ended());
        let state: usize = driver.loads().iter().map(|load| load.state_items).sum();
        assert_eq!(state, 0, "state is left at the end");
        outputs.unwrap()
    }

    /// All changes of a key in one split, so that their order is known.
    pub(super) fn in_order_of_keys(mut self) -> Self {
        for case in [&mut self.left, &mut self.right] {
            let count = case.splits.len();
            let mut splits = vec![Vec::new(); count];
            for fed in case.splits.drain(..).flatten() {
                if let Fed::Item(_, (key, _)) = fed {
                    splits[usize::from(key) % count].push(fed);
                }
            }
            case.splits = splits;
        }
        self
    }

    /// The right side with the first item of each key only.
    pub(super) fn unique_right(mut self) -> Self {
        let mut seen = Vec::new();
        for split in &mut self.right.splits {
            split.retain(|fed| match fed {
                Fed::Watermark(_) => true,
                Fed::Item(_, (key, _)) => {
                    let is_new = !seen.contains(key);
                    seen.push(*key);
                    is_new
                }
            });
        }
        self
    }
}

pub(super) fn in_seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

/// Sorted, with times in seconds.
pub(super) fn sorted<T: Ord + Send + 'static>(results: &Collected<T>) -> Vec<(i64, T)> {
    let results = results.take().into_iter();
    let mut results: Vec<_> = results
        .map(|(time, item)| (in_seconds(time), item))
        .collect();
    results.sort();
    results
}

/// Times and items of the left side and of the right one, sorted.
pub(super) type LateItems = (Vec<(i64, Item)>, Vec<(i64, Item)>);

/// The late items of both sides.
pub(super) fn late_items(late: &Collected<Side<Item, Item>>) -> LateItems {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (time, item) in late.take() {
        match item {
            Side::Left(item) => left.push((in_seconds(time), item)),
            Side::Right(item) => right.push((in_seconds(time), item)),
        }
    }
    left.sort_unstable();
    right.sort_unstable();
    (left, right)
}

/// The rows that a series of changes leaves.
pub(super) fn last_rows<K: Ord, V>(
    changes: impl IntoIterator<Item = (K, Option<V>)>,
) -> BTreeMap<K, V> {
    let mut rows = BTreeMap::new();
    for (key, value) in changes {
        match value {
            Some(value) => {
                rows.insert(key, value);
            }
            None => assert!(
                rows.remove(&key).is_some(),
                "only a row that is there is deleted"
            ),
        }
    }
    rows
}
