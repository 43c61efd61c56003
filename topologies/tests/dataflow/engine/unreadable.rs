//! Events of the log that a dataflow cannot read: kept with their bytes and position, and read once the program can.

use std::collections::BTreeSet;
use std::time::Duration;

use millstream::prelude::*;
use millstream_engine::partition::NewEvent;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_operators::failing::ItemPolicy;
use serde::{Deserialize, Serialize};

use super::failing::{letters, redrive, until};
use super::support::*;

/// A sale as the old program knows it.
#[derive(Debug, Serialize, Deserialize)]
enum Old {
    Sold { cents: u64 },
}

impl Event for Old {}

/// And the new one.
#[derive(Debug, Serialize, Deserialize)]
enum New {
    Sold { cents: u64 },
    Returned { cents: u64 },
}

impl Event for New {}

/// Numbers of what is read into the table of turnover, by stream.
fn topology<E: Event>(number: fn(E) -> u64) -> Topology {
    let topology = Topology::named("shop").dataflow_with("read", checkpointed(50), move |flow| {
        let policy = ItemPolicy::dead_letter().attempts(1, Duration::ZERO);
        flow.records::<E>()
            .category("till")
            .keep_unreadable()
            .stream()
            .try_errors(policy)
            .map(move |event| (event.stream.to_string(), number(event.payload)))
            .to_table(&TURNOVER, |(stream, cents)| (stream, Some(cents)));
    });
    topology.build().unwrap()
}

fn old() -> Topology {
    topology(|Old::Sold { cents }| cents)
}

fn new() -> Topology {
    topology(|event| match event {
        New::Sold { cents } => cents,
        New::Returned { cents } => 1_000 + cents,
    })
}

async fn row(engine: &Engine, stream: &str) -> Option<u64> {
    let stream = stream.to_owned();
    engine.query(&TURNOVER).get(&stream).await.unwrap()
}

async fn until_row(engine: &Engine, stream: &str, cents: u64) {
    within(async {
        while row(engine, stream).await != Some(cents) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn until_dead(engine: &Engine, count: usize) -> Vec<DeadLetter> {
    until(|| {
        let letters = letters(engine);
        letters.len() == count
            && letters
                .iter()
                .all(|letter| letter.status == DeadLetterStatus::Dead)
    })
    .await;
    letters(engine)
}

/// The event as its letter shows it.
fn shown(letter: &DeadLetter) -> serde_json::Value {
    serde_json::from_slice(&letter.payload).unwrap()
}

/// Goal: an event of a newer program, and one that is damaged, are dead letters with their bytes and position while others
/// go on; after an upgrade the first is read when it is redriven, with its stream, and the second is dead again.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_program_waits_for_the_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), old()).await;
    append_to(&engine, "till-a", New::Returned { cents: 5 }).await;
    let damaged = vec![NewEvent::json("Sold", "{\"cents\":")];
    let appender = engine.appender();
    within(appender.append(stream("till-b"), Expected::Any, damaged))
        .await
        .unwrap();
    append_to(&engine, "till-c", New::Sold { cents: 7 }).await;
    until_row(&engine, "till-c", 7).await;
    let dead = until_dead(&engine, 2).await;
    for letter in &dead {
        assert_eq!(
            (&*letter.stage, &*letter.class),
            ("read/records", "unreadable")
        );
        assert_eq!(shown(letter)["category"], "till");
        assert!(letter.cause[0].contains("cannot be read"), "{letter:?}");
    }
    let is_damaged = |letter: &&DeadLetter| shown(letter)["stream"] == "b";
    let broken = dead.iter().find(is_damaged).unwrap().clone();
    let waiting = dead.iter().find(|letter| !is_damaged(letter)).unwrap();
    assert_eq!(shown(&broken)["payload"], "{\"cents\":");
    within(engine.dataflow("read").checkpoint()).await.unwrap();
    redrive(&engine, waiting, "ann").await;
    until(|| letters(&engine).iter().any(|letter| letter.redrives == 1)).await;
    let waiting = until_dead(&engine, 2).await;
    let waiting = waiting.iter().find(|letter| letter.redrives == 1).unwrap();
    close(engine).await;

    let engine = open(folder.path(), new()).await;
    redrive(&engine, waiting, "ben").await;
    redrive(&engine, &broken, "ben").await;
    until_row(&engine, "till-a", 1_005).await;
    until(|| letters(&engine).len() == 1 && letters(&engine)[0].redrives == 1).await;
    let left: BTreeSet<_> = letters(&engine).iter().map(DeadLetter::id).collect();
    assert_eq!(left, BTreeSet::from([broken.id()]));
    assert_eq!(row(&engine, "till-b").await, None);
    close(engine).await;
}
