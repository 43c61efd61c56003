//! Promise: an engine ends in bounded time, everyone is answered, and what was answered "yes" is durable.

use std::collections::BTreeSet;
use std::path::Path;
use std::task::Poll;

use millstream::prelude::*;
use millstream_engine::event::{Offset, PartitionId};

use crate::support::*;

/// Goal: with thousands of commands in flight, each caller is answered, those told "yes" find their command once, those
/// told "closed" never. Method: shutdown at different moments of a flood, with room for few in the mailbox or
/// for many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_in_flight_is_answered() {
    for (round, items_max) in [4u32, 100, 4_096, 4_096].into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        config.partition.mailbox.items_max = items_max.try_into().unwrap();
        let engine = open_with(folder.path(), config, topology()).await;
        let callers: Vec<_> = (0..4_000i64)
            .map(|n| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    (
                        n,
                        engine
                            .send::<Tally>(&format!("t{}", n % 50), Ask::AddAll(vec![n, n]))
                            .await,
                    )
                })
            })
            .collect();
        for _ in 0..round * 20 {
            tokio::task::yield_now().await;
        }
        within(engine.shutdown()).await.unwrap();
        let (mut yes, mut no) = (BTreeSet::new(), BTreeSet::new());
        for caller in callers {
            match within(caller).await.unwrap() {
                (n, Ok(_)) => yes.insert(n),
                (n, Err(CommandError::Closed)) => no.insert(n),
                // A shutdown in order leaves nobody in doubt.
                (n, Err(other)) => panic!("command {n}: {other}"),
            };
        }
        assert!(matches!(
            within(engine.send::<Tally>("late", Ask::Add(1))).await,
            Err(CommandError::Closed)
        ));
        drop(engine);
        let engine = open(folder.path()).await;
        let mut stored: Vec<_> = check(&engine).await.into_values().flatten().collect();
        stored.sort_by_key(|event| match event {
            Happened::Added { by } => *by,
            other => panic!("{other:?}"),
        });
        let expected: Vec<_> = yes.iter().flat_map(|n| [added(*n), added(*n)]).collect();
        assert_eq!(stored, expected);
        assert_eq!(yes.len() + no.len(), 4_000);
        close(engine).await;
    }
}

/// Story: commands that wait for an instance to be rebuilt hold no place in the mailbox, so a partition that was asked
/// to stop ended in front of them. Method: a gate holds the partition while a good command, a panicking one and
/// good ones behind it queue up, and while shutdown is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_behind_a_panic_are_answered_too() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(folder.path()).await;
        let (holder, keeper) = held(&engine, &id_in(0, 0)).await;
        let id = id_in(0, 1);
        let asks = [Ask::Add(1), Ask::EvolvePanics]
            .into_iter()
            .chain((0..20).map(|_| Ask::Add(1)));
        let mut sends: Vec<_> = asks
            .map(|ask| {
                let (engine, id) = (engine.clone(), id.clone());
                Box::pin(async move { engine.send::<Tally>(&id, ask).await })
            })
            .collect();
        // Each is polled once, so that they lie in the mailbox in this order.
        std::future::poll_fn(|context| {
            for send in &mut sends {
                assert!(send.as_mut().poll(context).is_pending());
            }
            std::task::Poll::Ready(())
        })
        .await;
        let ending = tokio::spawn({
            let engine = engine.clone();
            async move { engine.shutdown().await }
        });
        until("the partitions are closed", || {
            let wanted = CommandOptions::default();
            let handle = engine.aggregate::<Tally>();
            let id = id_in(1, 0);
            let sent = handle.try_send_with(&id, Ask::Nothing, wanted);
            // Looked at once: an open partition leaves it waiting.
            let mut sent = Box::pin(sent);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let Poll::Ready(Err(refused)) = sent.as_mut().poll(&mut context) else {
                return false;
            };
            assert!(refused.command.is_some(), "it comes back");
            matches!(refused.error, CommandError::Closed)
        })
        .await;
        keeper.open();
        for (n, send) in sends.into_iter().enumerate() {
            let answer = within(send).await;
            if n == 1 {
                assert!(
                    matches!(answer, Err(CommandError::Panicked { .. })),
                    "{answer:?}"
                );
            } else {
                answer.unwrap();
            }
        }
        within(holder).await.unwrap().unwrap();
        within(ending).await.unwrap().unwrap();
        drop(engine);
        let engine = open(folder.path()).await;
        assert_eq!(sum(&engine, &id).await, 21);
        close(engine).await;
    }
}

/// Twice, at once and later, by clones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_twice() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    let clone = engine.clone();
    let (first, second) = within(async { tokio::join!(engine.shutdown(), clone.shutdown()) }).await;
    assert!(first.is_ok() && second.is_ok());
    within(engine.shutdown()).await.unwrap();
    // What was read can be read on.
    assert_eq!(check(&engine).await["tally-a"], [added(1)]);
}

/// Story: a shutdown that nobody waited for any more closed the derived state and left the rest running, and the next call said
/// that all was well. Method: its future is asked a few times and dropped; then somebody else waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_that_nobody_waits_for_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let engine = open(folder.path()).await;
        assert_eq!(sum(&engine, "a").await, round);
        engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
        given_up_after(round, engine.shutdown()).await;
        within(engine.clone().shutdown()).await.unwrap();
        drop(engine);
    }
}

/// An engine that nobody waits for ends, whatever of it had begun. Method: its future is asked a few times and dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_nobody_waits_for_leaves_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let opening = try_open(folder.path(), config(), topology());
        let engine = given_up_after(round, opening).await;
        drop(engine);
        let engine = open_when_free(folder.path()).await;
        assert_eq!(sum(&engine, "a").await, round);
        engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
        close(engine).await;
    }
}

/// Opens a folder as soon as nobody holds it.
async fn open_when_free(folder: &Path) -> Engine {
    let opening = async {
        loop {
            match try_open(folder, config(), topology()).await {
                Ok(engine) => return engine,
                Err(_held) => tokio::task::yield_now().await,
            }
        }
    };
    within(opening).await
}

/// Asks a future until it was not ready so many times, and drops it.
async fn given_up_after<T>(times: i64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut asked = 0;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if asked == times => Poll::Ready(None),
        Poll::Pending => {
            asked += 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Story: the stages of an engine that was dropped went on for as long as the runtime, and held its folder. Method: the
/// folder is opened again and again until it is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_dropped_ends() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let engine = open_when_free(folder.path()).await;
        assert_eq!(sum(&engine, "a").await, round);
        engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
        drop(engine);
    }
}

/// Goal: a runtime that goes away under a running engine loses nothing acknowledged and leaves the folder usable.
#[test]
fn a_runtime_that_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for _ in 0..10 {
        let runtime = runtime();
        let (engine, now) = runtime.block_on(within(async {
            let engine = open_when_free(folder.path()).await;
            let now = sum(&engine, "a").await;
            for n in 0..200 {
                let engine = engine.clone();
                tokio::spawn(
                    async move { engine.send::<Tally>(&format!("t{n}"), Ask::Add(1)).await },
                );
            }
            for _ in 0..20 {
                engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
            }
            (engine, now)
        }));
        assert_eq!(now, acknowledged);
        acknowledged += 20;
        drop(runtime);
        drop(engine);
    }
    let runtime = runtime();
    runtime.block_on(within(async {
        let engine = open_when_free(folder.path()).await;
        assert_eq!(sum(&engine, "a").await, acknowledged);
        check(&engine).await;
        close(engine).await;
    }));
}

/// Goal: a shutdown waits for the projections to apply and store everything, also when they are behind and over their
/// bound of rows. Method: a flood right before it; afterwards the stored positions are the log's ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projections_are_stored_to_the_end() {
    for hot_rows_max in [0, 5, 1_000_000] {
        let folder = tempfile::tempdir().unwrap();
        let projection = ProjectionConfig {
            hot_rows_max,
            ..ProjectionConfig::default()
        };
        let topology = topology_with(AggregateConfig::default(), projection);
        let engine = open_with(folder.path(), config(), topology).await;
        let callers: Vec<_> = (0..2_000)
            .map(|n| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    let id = format!("t{}", n % 200);
                    let sent = engine.send::<Tally>(&id, Ask::AddAll(vec![1; 20]));
                    sent.await.unwrap();
                })
            })
            .collect();
        for caller in callers {
            within(caller).await.unwrap();
        }
        within(engine.shutdown()).await.unwrap();
        for name in ["sums", "digits"] {
            let registered = engine.state().projection(name, 1).unwrap().unwrap();
            for number in 0..PARTITIONS {
                let stored = engine
                    .state()
                    .progress(registered.id, PartitionId(number))
                    .unwrap();
                let end = Offset(partition(&engine, number).len() as u64);
                assert_eq!(
                    stored.unwrap_or_default().next,
                    end,
                    "{name}/{number}, {hot_rows_max} rows"
                );
            }
        }
    }
}
