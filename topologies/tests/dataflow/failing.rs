//! An operator that panics ends its dataflow: with the first cause, and whatever the other stages wait for.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::time::Duration;

use millstream::dataflow::{Dataflow, DataflowStatus, FlowOptions, Generate, Received};
use millstream_engine::flow::{BatchSize, EdgeOptions};
use millstream_engine::stage::StageStatus;
use millstream_operators::function::count;
use millstream_operators::paced::AsyncOptions;
use millstream_operators::window::Tumbling;
use tokio::sync::mpsc::channel;

use crate::engine::support::within;

fn options() -> FlowOptions {
    FlowOptions {
        partitions: 2,
        ..FlowOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_all_stages_with_the_first_cause_whatever_they_wait_for() {
    let (numbers, given) = Received::channel(4);
    let (clicks, clicked) = Received::channel(4);
    let (full, unread) = channel(1);
    let dataflow = Dataflow::build_with("failing", options(), |flow| {
        // Waits for a channel that nobody reads.
        let endless = flow.source("endless", Generate::each(|_, _| 0u64..));
        endless.stream().to_channel(full);
        // Waits for the end of a window in a day.
        let clicks = flow.source("clicks", clicked).stream();
        clicks
            .key_by(|_: &u64| ())
            .window(Tumbling::of(Duration::from_secs(86_400)).in_processing_time())
            .aggregate(count())
            .stage_named("days")
            .collect();
        let numbers = flow.source("numbers", given).stream().rebalance(2);
        numbers.stage_named("strict").for_each(|_, number: u64| {
            assert_ne!(number, 13, "thirteen brings bad luck");
        });
    });
    let handle = dataflow.unwrap().start().await.unwrap();
    clicks.send(1).await.unwrap();
    numbers.send(12).await.unwrap();
    let loads = |stage: &str| {
        let mut loads = handle.loads();
        loads.retain(|load| load.stage == format!("failing/{stage}"));
        loads
    };
    let items = |stage: &str| {
        loads(stage)
            .iter()
            .map(|load| load.items_total)
            .sum::<u64>()
    };
    let are_blocked = || {
        loads("endless")
            .iter()
            .all(|load| load.blocked_share() > 0.5)
    };
    within(async {
        while items("days") == 0 || items("strict") == 0 || !are_blocked() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(handle.status(), DataflowStatus::Running);

    numbers.send(13).await.unwrap();
    let failure = within(handle.wait()).await.unwrap_err();
    assert!(failure.stage.starts_with("failing/strict/"), "{failure}");
    assert!(
        failure.cause.contains("thirteen brings bad luck"),
        "{failure}"
    );
    assert_eq!(handle.status(), DataflowStatus::Failed(failure.clone()));
    for (name, status) in handle.stages() {
        match status {
            StageStatus::Failed { first_cause, .. } => assert_eq!(first_cause, failure.cause),
            status => assert_eq!(status, StageStatus::Stopped, "{name}"),
        }
    }
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_fails_at_once_ends_the_others_too() {
    for _ in 0..20 {
        let (sender, given) = Received::<u64>::channel(1);
        let dataflow = Dataflow::build_with("failing", options(), |flow| {
            flow.source("silent", given).stream().for_each(|_, _| {});
            flow.source("numbers", Generate::each(|_, _| 0..3u64))
                .stream()
                .for_each(|_, _| panic!("not even one"));
        });
        let handle = dataflow.unwrap().start().await.unwrap();
        let failure = within(handle.wait()).await.unwrap_err();
        assert!(failure.cause.contains("not even one"), "{failure}");
        drop(sender);
    }
}

/// A stage that takes nothing more is at rest although its mailbox is not empty, and nothing will ever wake it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_answer_does_not_keep_a_failed_dataflow() {
    let (questions, asked) = Received::channel(4);
    let (numbers, given) = Received::channel(4);
    let options = FlowOptions {
        partitions: 1,
        edges: EdgeOptions {
            batch: BatchSize::Fixed(NonZeroUsize::MIN),
            ..EdgeOptions::default()
        },
        ..FlowOptions::default()
    };
    let dataflow = Dataflow::build_with("failing", options, |flow| {
        let asked = flow.source("questions", asked).stream();
        asked
            .map_async(AsyncOptions::ordered(1), |_: u64| {
                std::future::pending::<Result<u64, Infallible>>()
            })
            .for_each(|_, _| {});
        let numbers = flow.source("numbers", given).stream();
        numbers.for_each(|_, number: u64| assert_ne!(number, 13, "thirteen brings bad luck"));
    });
    let handle = dataflow.unwrap().start().await.unwrap();
    let read = || {
        let mut loads = handle.loads().into_iter();
        let source = loads.find(|load| load.stage == "failing/questions");
        source.unwrap().items_total
    };
    for question in 0..8 {
        questions.send(question).await.unwrap();
    }
    within(async {
        while read() < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    numbers.send(13).await.unwrap();
    let failure = within(handle.wait()).await.unwrap_err();
    assert!(failure.cause.contains("thirteen"), "{failure}");
}
