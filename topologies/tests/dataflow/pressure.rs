//! A sink that takes nothing holds the sources back: nothing is lost, memory is bounded, and it shows who waits for whom.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::dataflow::{
    Dataflow, DataflowHandle, DataflowStatus, Driver, Flow, FlowOptions, Generate,
};
use millstream_engine::flow::{BatchSize, EdgeOptions, StageLoad};
use millstream_engine::mailbox::MailboxLimits;
use proptest::prelude::*;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::engine::support::within;
use crate::support::*;

/// What bounds memory.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    batch: usize,
    mailbox: u32,
    places: usize,
}

impl Bounds {
    fn options(self) -> FlowOptions {
        FlowOptions {
            checkpoints: None,
            own_threads: None,
            partitions: 1,
            edges: EdgeOptions {
                batch: BatchSize::Fixed(NonZeroUsize::new(self.batch).unwrap()),
                ..EdgeOptions::default()
            },
            mailbox: MailboxLimits {
                items_max: NonZeroU32::new(self.mailbox).unwrap(),
                bytes_max: NonZeroU64::new(1 << 20).unwrap(),
            },
        }
    }

    /// Items between the source and whoever reads the channel: in each of the `edges` what waits in the mailbox, one
    /// batch that was refused and one that fills up; in the sink one batch; in the channel its places.
    fn in_flight_max(self, edges: usize) -> u64 {
        let edge = self.batch * (self.mailbox as usize + 2);
        (edges * edge + self.batch + self.places) as u64
    }
}

/// A source that counts what is read of it, a stage in the middle, and a channel.
fn declare(flow: &Flow, numbers: u64, read: &Arc<AtomicU64>, sender: Sender<u64>) {
    let read = Arc::clone(read);
    let count = move |_: &u64| {
        read.fetch_add(1, Ordering::Relaxed);
    };
    flow.source(
        "numbers",
        Generate::each(move |_, _| (0..numbers).inspect(count.clone())).splits(1),
    )
    .stream()
    .new_stage()
    .stage_named("middle")
    .new_stage()
    .stage_named("last")
    .to_channel(sender);
}

const EDGES: usize = 2;

fn of<'a>(loads: &'a [StageLoad], stage: &str) -> &'a StageLoad {
    let name = format!("pressure/{stage}");
    loads.iter().find(|load| load.stage == name).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_channel_that_nobody_reads_stops_the_source_and_loses_nothing(
        batch in 1usize..30, mailbox in 1u32..6, places in 1usize..40, seed: u64,
    ) {
        let bounds = Bounds { batch, mailbox, places };
        let numbers = 3_000;
        let read = Arc::new(AtomicU64::new(0));
        let (sender, mut receiver) = channel(places);
        let dataflow = Dataflow::build_with("pressure", bounds.options(), |flow| {
            declare(flow, numbers, &read, sender);
        });
        let resources = millstream_engine::flow::Resources::new();
        let mut driver = Driver::with(dataflow.unwrap(), seed, resources).unwrap();
        driver.run().unwrap();
        let stopped_at = read.load(Ordering::Relaxed);
        prop_assert!(stopped_at <= bounds.in_flight_max(EDGES), "{stopped_at} in flight");
        driver.advance(secs(60)).unwrap();
        prop_assert_eq!(read.load(Ordering::Relaxed), stopped_at);
        let loads = driver.loads();
        for stage in ["numbers", "middle", "last"] {
            prop_assert_eq!(of(&loads, stage).blocked, secs(60));
        }
        prop_assert_eq!(driver.bottleneck().unwrap().stage, "pressure/last");

        let mut received = 0;
        while let Ok(number) = receiver.try_recv() {
            prop_assert_eq!(number, received);
            received += 1;
            driver.run().unwrap();
            let in_flight = read.load(Ordering::Relaxed) - received;
            prop_assert!(in_flight <= bounds.in_flight_max(EDGES), "{in_flight} in flight");
        }
        prop_assert_eq!(received, numbers);
        prop_assert!(driver.is_ended());
    }
}

#[test]
fn a_rate_limit_is_what_the_others_wait_for() {
    let bounds = Bounds {
        batch: 10,
        mailbox: 2,
        places: 1,
    };
    let dataflow = Dataflow::build_with("pressure", bounds.options(), |flow| {
        flow.source("numbers", Generate::each(|_, _| 0..10_000u64))
            .stream()
            .rate_limit(100.0, 1)
            .stage_named("limit")
            .new_stage()
            .stage_named("last")
            .for_each(|_, _| {});
    });
    let mut driver = Driver::new(dataflow.unwrap()).unwrap();
    for _ in 0..200 {
        driver
            .advance(std::time::Duration::from_millis(10))
            .unwrap();
    }
    let loads = driver.loads();
    assert!(of(&loads, "numbers").blocked_share() > 0.9, "{loads:?}");
    assert!(of(&loads, "last").idle_share() > 0.9, "{loads:?}");
    assert_eq!(driver.bottleneck().unwrap().stage, "pressure/limit");
}

/// Starts it on the runtime and waits until all of its stages stand still for want of room.
async fn start_and_fill(
    bounds: Bounds,
    numbers: u64,
) -> (DataflowHandle, Arc<AtomicU64>, Receiver<u64>) {
    let read = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = channel(bounds.places);
    let dataflow = Dataflow::build_with("pressure", bounds.options(), |flow| {
        declare(flow, numbers, &read, sender);
    });
    let handle = dataflow.unwrap().start().await.unwrap();
    let is_blocked = |load: &StageLoad| load.blocked_share() > 0.5;
    within(async {
        while !handle.loads().iter().all(is_blocked) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    (handle, read, receiver)
}

const SMALL: Bounds = Bounds {
    batch: 16,
    mailbox: 3,
    places: 5,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_handle_names_the_sink_while_it_waits() {
    let numbers = 20_000;
    let (handle, read, mut receiver) = start_and_fill(SMALL, numbers).await;
    assert!(read.load(Ordering::Relaxed) <= SMALL.in_flight_max(EDGES));
    assert_eq!(handle.bottleneck().unwrap().stage, "pressure/last");
    assert_eq!(handle.status(), DataflowStatus::Running);
    for number in 0..numbers {
        let in_flight = read.load(Ordering::Relaxed) - number;
        assert!(in_flight <= SMALL.in_flight_max(EDGES), "{in_flight}");
        assert_eq!(within(receiver.recv()).await, Some(number));
    }
    within(handle.wait()).await.unwrap();
    assert_eq!(handle.status(), DataflowStatus::Ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_while_it_waits_ends_with_all_that_was_read() {
    let (handle, read, mut receiver) = start_and_fill(SMALL, u64::MAX).await;
    handle.begin_stop();
    let mut received = 0;
    while let Some(number) = within(receiver.recv()).await {
        assert_eq!(number, received);
        received += 1;
    }
    within(handle.stop()).await.unwrap();
    assert_eq!(received, read.load(Ordering::Relaxed));
    assert_eq!(handle.status(), DataflowStatus::Ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_fails_what_waits_for_it() {
    let (handle, _, receiver) = start_and_fill(SMALL, u64::MAX).await;
    drop(receiver);
    let failure = within(handle.wait()).await.unwrap_err();
    assert_eq!(failure.stage, "pressure/last/0");
    assert!(failure.cause.contains("receiver"), "{failure}");
    assert_eq!(handle.status(), DataflowStatus::Failed(failure));
}
