//! Promise: conflicts are settled as the caller chose, whoever writes meanwhile.

use std::time::Duration;

use millstream::prelude::*;
use millstream_operators::aggregate::ConflictRetry;

use crate::support::Happened::Added;
use crate::support::*;

/// Commands must be `Clone` to be sent again, which [`Ask`] is not: the same stream, smaller.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Sum(i64);

impl Aggregate for Sum {
    const CATEGORY: &'static str = "sum";
    const VERSION: u32 = 1;
    type Command = i64;
    type Event = Happened;
    type Rejection = Refused;

    fn decide(&self, by: i64, out: &mut Decision<'_, Self>) -> Result<(), Refused> {
        if by == 0 {
            return Err(Refused::Sum(self.0));
        }
        out.emit(added(by));
        Ok(())
    }

    fn evolve(&mut self, event: &Happened) {
        if let Added { by } = event {
            self.0 += by;
        }
    }
}

async fn engine(folder: &std::path::Path) -> Engine {
    let topology = Topology::named("sums").aggregate::<Sum>().build().unwrap();
    open_with(folder, config(), topology).await
}

async fn sum_of(engine: &Engine, id: &str) -> i64 {
    match engine.send::<Sum>(id, 0).await {
        Err(CommandError::Rejected(Refused::Sum(sum))) => sum,
        other => panic!("{other:?}"),
    }
}

/// Goal: with enough tries every writer comes through once. Method: 8 writers that all expect a version, on one
/// stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retrying_writers_all_come_through() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path()).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let handle = engine.aggregate::<Sum>();
            tokio::spawn(async move {
                let retry = ConflictRetry {
                    attempts_max: 1_000,
                    backoff_first: Duration::ZERO,
                    ..ConflictRetry::default()
                };
                for _ in 0..25 {
                    let options = expecting(Expected::NoStream);
                    handle.send_retrying("a", 1, options, retry).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        within(task).await.unwrap();
    }
    assert_eq!(sum_of(&engine, "a").await, 200);
    // Tries that are used up give the conflict.
    let retry = ConflictRetry {
        attempts_max: 1,
        ..ConflictRetry::default()
    };
    let handle = engine.aggregate::<Sum>();
    let sent = handle
        .send_retrying("a", 1, expecting(Expected::NoStream), retry)
        .await;
    assert!(matches!(sent, Err(CommandError::Conflict(conflict)) if conflict.actual == Some(199)));
    // Other errors come at once.
    let sent = handle
        .send_retrying("a", 0, CommandOptions::default(), retry)
        .await;
    assert!(matches!(
        sent,
        Err(CommandError::Rejected(Refused::Sum(200)))
    ));
    drop(handle);
    close(engine).await;
}

/// Goal: a resolver sees exactly the events behind what its command was made for, in order, once each. Method: 4
/// writers that each keep their own copy of the stream, fed by resolvers alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resolvers_see_what_happened_since() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path()).await;
    let tasks: Vec<_> = (0..4i64)
        .map(|writer| {
            let handle = engine.aggregate::<Sum>();
            tokio::spawn(async move {
                let mut known = Vec::new();
                let mut done = 0;
                while done < 50 {
                    let by = 1_000 * (writer + 1) + done;
                    let seen = (known.len() as u64).checked_sub(1);
                    let mut copy = known.clone();
                    let sent = handle
                        .send_resolving("a", by, seen, CommandOptions::default(), |by, since| {
                            assert!(!since.is_empty(), "a conflict with nothing since");
                            copy.extend(since.iter().cloned());
                            Some(by)
                        })
                        .await;
                    match sent {
                        Ok(ack) => {
                            copy.push(added(by));
                            done += 1;
                            assert_eq!(ack.version, Some(copy.len() as u64 - 1));
                        }
                        Err(CommandError::Conflict(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                    known = copy;
                }
                known
            })
        })
        .collect();
    let mut copies = Vec::new();
    for task in tasks {
        copies.push(within(task).await.unwrap());
    }
    let id = StreamId::new("sum", "a").unwrap();
    let stored = engine.events::<Happened>(&id, 0, usize::MAX).unwrap();
    let stored: Vec<_> = stored.into_iter().map(|event| event.payload).collect();
    assert_eq!(stored.len(), 200);
    for copy in copies {
        assert_eq!(copy, stored[..copy.len()]);
    }
    // One that gives up leaves it at the conflict.
    let handle = engine.aggregate::<Sum>();
    let sent = handle
        .send_resolving("a", 1, Some(3), CommandOptions::default(), |_, since| {
            assert_eq!(since, &stored[4..]);
            None
        })
        .await;
    assert!(matches!(sent, Err(CommandError::Conflict(conflict)) if conflict.actual == Some(199)));
    drop(handle);
    close(engine).await;
}
