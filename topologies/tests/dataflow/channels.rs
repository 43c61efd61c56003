//! A channel is read by one run after the other: which checkpoint a start begins from, and that a run failed before, are
//! nothing to its sender.
//!
//! The story: the receiver was taken while stages were made. A checkpoint that was passed over, or a stage that failed once, then
//! left nothing to read for the attempt that followed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed, FeedSource, Received, SourcePlan};
use millstream::prelude::*;
use millstream_engine::checkpoint::InMemory;
use millstream_engine::flow::{Emit, Fault, Pulled, Resources, SeekError, Source, Wiring};
use millstream_engine::mailbox::Mailbox;
use millstream_operators::function::count;
use millstream_operators::window::Tumbling;

use crate::engine::support::{close, open, options, within, without_checkpoints};

/// A feed whose past is another one as long as somebody says so.
struct Exchanged<T> {
    feed: Feed<T>,
    is_other: Arc<AtomicBool>,
}

struct ExchangedSource<T> {
    feed: FeedSource<T>,
    is_other: Arc<AtomicBool>,
}

impl<T: Clone + Send + 'static> SourcePlan for Exchanged<T> {
    type Source = ExchangedSource<T>;

    fn split_count(&self, wiring: &Wiring) -> Result<usize, Fault> {
        self.feed.split_count(wiring)
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<Self::Source, Fault> {
        Ok(ExchangedSource {
            feed: self.feed.split(split, wiring)?,
            is_other: Arc::clone(&self.is_other),
        })
    }
}

impl<T: Clone + Send + 'static> Source for ExchangedSource<T> {
    type Item = T;

    fn open(&mut self, mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        self.feed.open(mailbox)
    }

    fn pull<E: Emit<T>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        self.feed.pull(items_max, out)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        self.feed.position()
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        if self.is_other.load(Ordering::Relaxed) {
            return Err(SeekError::OtherHistory("it was exchanged".to_owned()));
        }
        self.feed.seek(position)
    }
}

/// Goal: a start that passes a checkpoint over reads the channel. Method: the channel's stage is made, and opened, before the
/// one whose source has another past.
#[test]
fn a_checkpoint_that_is_passed_over_leaves_the_channel() {
    let (feed, storage) = (Feed::new(1), InMemory::default());
    let is_other = Arc::<AtomicBool>::default();
    let make = || {
        let (sender, received) = Received::channel(4);
        let exchanged = Exchanged {
            feed: feed.clone(),
            is_other: Arc::clone(&is_other),
        };
        let (flow, given) = Dataflow::declare("channel", |flow| {
            let given = flow.source("channel", received).stream().collect();
            let fed = flow.source("feed", exchanged).stream();
            fed.for_each(|_, _: u64| {});
            given
        })
        .unwrap();
        let driver = Driver::with_checkpoints(flow, 1, Resources::new(), storage.clone());
        (sender, given, driver.unwrap())
    };
    feed.push(0, Timestamp::EPOCH, 1_u64);
    let (sender, given, mut driver) = make();
    sender.try_send(1_u64).unwrap();
    driver.run().unwrap();
    assert_eq!(given.take_items(), [1]);
    for _ in 0..2 {
        driver.ask_for_checkpoint();
        driver.run().unwrap();
    }
    assert!(driver.checkpoints().unwrap().completed.is_some());
    drop((sender, driver));

    is_other.store(true, Ordering::Relaxed);
    let (sender, given, mut driver) = make();
    assert_eq!(driver.checkpoints().unwrap().completed, None);
    sender.try_send(2).unwrap();
    driver.run().unwrap();
    assert_eq!(given.take_items(), [2]);
}

/// What is sent after a failure comes to the run that follows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_after_a_failure_reads_on() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, received) = Received::channel(4);
    let has_failed = Arc::new(AtomicBool::new(false));
    let mut given = None;
    let failing = Arc::clone(&has_failed);
    let topology = Topology::named("shop").dataflow_with("channel", options(), |flow| {
        let items = flow.source("channel", received).stream();
        let items = items.inspect(move |_, item: &u64| {
            let fails = *item == 1 && !failing.swap(true, Ordering::Relaxed);
            assert!(!fails, "once");
        });
        given = Some(items.rebalance(2).collect());
    });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    sender.send(1).await.unwrap();
    within(async {
        while !has_failed.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let given = given.unwrap();
    for item in 2..10 {
        within(sender.send(item)).await.unwrap();
    }
    within(async {
        while given.len() < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut items = given.take_items();
    items.sort_unstable();
    assert_eq!(items, (2..10).collect::<Vec<_>>());
    close(engine).await;
    assert!(sender.is_closed());
}

/// Story: items got the time of a clock that had been ahead when the checkpoint was taken and was set back, which was behind the
/// watermark of that checkpoint, so that windows took none of them.
#[test]
fn what_comes_by_a_clock_that_was_set_back_is_not_late() {
    let storage = InMemory::default();
    let make = || {
        let (sender, received) = Received::channel(4);
        let (flow, given) = Dataflow::declare("channel", |flow| {
            let late = flow.side_output("late");
            let items = flow.source("channel", received).stream();
            let windows = items.key_by(|item: &u64| *item).named("windows");
            let windows = windows.window(Tumbling::of(Duration::from_secs(60)));
            let counted = windows.late_to(&late).aggregate(count()).collect();
            (counted, flow.side(&late).collect())
        })
        .unwrap();
        let driver = Driver::with_checkpoints(flow, 1, Resources::new(), storage.clone());
        (sender, given, driver.unwrap())
    };
    let (sender, _, mut driver) = make();
    driver.clock().advance(Duration::from_secs(3_600));
    sender.try_send(1).unwrap();
    driver.run().unwrap();
    driver.ask_for_checkpoint();
    driver.run().unwrap();
    assert!(driver.checkpoints().unwrap().completed.is_some());
    drop((sender, driver));

    // Its clock is an hour behind.
    let (sender, (counted, late), mut driver) = make();
    assert!(driver.checkpoints().unwrap().completed.is_some());
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    driver.run().unwrap();
    drop(sender);
    driver.run().unwrap();
    assert!(late.is_empty());
    let mut counts: Vec<_> = counted.take_items();
    counts.sort_by_key(|window| window.key);
    let counts = counts.iter().map(|window| (window.key, window.value));
    assert_eq!(counts.collect::<Vec<_>>(), [(1, 2), (2, 1)]);
}

/// Senders hear of a stop at once, also while what was read waits for somebody who waits for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_dataflow_that_is_stopped_takes_nothing_more() {
    let (sender, received) = Received::channel(4);
    let (out, mut results) = tokio::sync::mpsc::channel(1);
    let flow = Dataflow::build_with("channel", without_checkpoints(), |flow| {
        let items = flow.source("channel", received).stream();
        items.rebalance(2).to_channel(out);
    });
    let handle = flow.unwrap().start().await.unwrap();
    for item in 0..4_u64 {
        within(sender.send(item)).await.unwrap();
    }
    within(results.recv()).await.unwrap();
    handle.begin_stop();
    within(sender.closed()).await;
    while within(results.recv()).await.is_some() {}
    within(handle.wait()).await.unwrap();
}
