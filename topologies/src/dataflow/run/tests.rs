//! What is told of a dataflow that is given up.

use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_engine::checkpoint::{CheckpointOptions, InMemory};
use millstream_engine::time::{ManualClock, Timestamp};

use super::*;
use crate::dataflow::{Feed, FlowOptions};

/// Story: a failure of days ago, which the dataflow had got over, was told as the cause of its end.
#[tokio::test]
async fn the_cause_that_is_told_belongs_to_the_failures_at_the_end() {
    let (feed, seen) = (Feed::new(1), Arc::new(AtomicUsize::new(0)));
    let options = FlowOptions {
        partitions: 1,
        checkpoints: Some(CheckpointOptions::default()),
        ..FlowOptions::default()
    };
    let (numbers, sees) = (feed.clone(), Arc::clone(&seen));
    let flow = Dataflow::build_with("numbers", options, move |flow| {
        let numbers = flow.source("numbers", numbers).stream();
        numbers.for_each(move |_, number: u64| match number {
            1 => assert!(sees.fetch_add(1, Ordering::SeqCst) > 0, "long ago"),
            number => panic!("at the end: {number}"),
        });
    });
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let home = Home {
        storage: Some(Arc::new(InMemory::default())),
        restart: RestartPolicy {
            attempts_max: 1,
            backoff_first: Duration::from_millis(1),
            ..RestartPolicy::default()
        },
        ..Home::without_state(Arc::<ManualClock>::clone(&clock) as _)
    };
    let handle = Run::start(flow.unwrap(), home).await.unwrap();
    feed.push(0, Timestamp::EPOCH, 1);
    let failed = async {
        while seen.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(3_600));
        feed.push(0, Timestamp::EPOCH, 2);
        handle.wait().await
    };
    let failed = tokio::time::timeout(Duration::from_secs(300), failed).await;
    let failure = failed.expect("it hangs").unwrap_err();
    assert_eq!(failure.cause, "panicked: at the end: 2");
}
