//! A log sink that begins from a checkpoint whose events were not appended before the process died.
//!
//! The story: the checkpoint has counted them, so that the first further event of their stream, coming before they were in the
//! log, was taken for a sign of a log that had lost some. The dataflow failed and began again, most often with better luck.

use millstream::dataflow::FlowOptions;
use millstream::prelude::*;
use millstream_engine::checkpoint::{CheckpointOptions, InMemory};

use super::support::*;

fn flow(feed: &Feed<u64>, name: StreamId) -> Dataflow {
    let options = FlowOptions {
        partitions: 1,
        checkpoints: Some(CheckpointOptions {
            pause_ms_min: 0,
            ..CheckpointOptions::default()
        }),
        ..FlowOptions::default()
    };
    let declared = Dataflow::build_with("held", options, |flow| {
        let numbers = flow.source("numbers", feed.clone()).stream();
        numbers.to_log_with_checkpoints("held", move |number| (name.clone(), sale("", number)));
    });
    declared.unwrap()
}

/// Goal: events that a checkpoint has are appended by the next run, and those that it computes meanwhile follow them.
/// Method: the first run dies as soon as its checkpoint is complete, at many orders of steps.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_checkpoint_owes_to_the_log_comes_before_what_follows() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
    for seed in 0..30 {
        let name = stream(&format!("held-{seed}"));
        let (feed, storage) = (Feed::new(1), InMemory::default());
        let make = || {
            let (flow, storage) = (flow(&feed, name.clone()), storage.clone());
            Driver::with_checkpoints(flow, seed, engine.resources(), storage).unwrap()
        };
        let push = |number| feed.push(0, Timestamp::from_seconds(1), number);
        (0..10).for_each(push);
        let mut driver = make();
        driver.ask_for_checkpoint();
        while driver.checkpoints().unwrap().completed.is_none() {
            driver.run_steps(1).unwrap();
        }
        drop(driver);
        storage.crash(0);
        (10..20).for_each(push);
        feed.end_all();
        within(make().wait()).await.unwrap();
        let events = engine.events::<Sale>(&name, 0, 100).unwrap();
        let numbers: Vec<_> = events.iter().map(|event| event.payload.cents).collect();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "seed {seed}");
    }
    close(engine).await;
}
