//! Danger: one account is hot, and callers give up while their commands run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millstream::prelude::*;
use millstream_operators::aggregate::BulkCommand;

use crate::support::*;

/// Goal: 100,000 commands to one account from many tasks give an exact sum, and a neighbour in the same
/// partition is served before the flood ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_account_does_not_starve_its_neighbours() {
    const TASKS: u64 = 1_000;
    const EACH_AT_LEAST: u64 = 100;
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let answered = Arc::new(AtomicU64::new(0));
    // The flood goes on until the neighbour was served, however slow this thread is.
    let is_served = Arc::new(AtomicBool::new(false));
    let handle = engine.aggregate::<Tally>();
    let hot = id_in(0, 0);
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (handle, hot, answered) = (handle.clone(), hot.clone(), Arc::clone(&answered));
            let is_served = Arc::clone(&is_served);
            tokio::spawn(async move {
                let mut sent = 0;
                while sent < EACH_AT_LEAST || !is_served.load(Ordering::Relaxed) {
                    handle.send(&hot, Ask::Add(1)).await.unwrap();
                    answered.fetch_add(1, Ordering::Relaxed);
                    sent += 1;
                }
            })
        })
        .collect();
    until("the flood has begun", || {
        answered.load(Ordering::Relaxed) > 0
    })
    .await;
    for _ in 0..10 {
        within(engine.send::<Tally>(&id_in(0, 1), Ask::Add(1)))
            .await
            .unwrap();
    }
    is_served.store(true, Ordering::Relaxed);
    for task in tasks {
        within(task).await.unwrap();
    }
    let answered = answered.load(Ordering::Relaxed) as i64;
    assert_eq!(sum(&engine, &hot).await, answered);
    drop(handle);
    close(engine).await;
    // The whole stream is replayed or taken from a snapshot.
    let engine = open(folder.path()).await;
    assert_eq!(within(sum(&engine, &hot)).await, answered);
    check(&engine).await;
    close(engine).await;
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let engine = open(folder.path()).await;
    assert_eq!(within(sum(&engine, &hot)).await, answered);
    close(engine).await;
}

/// Goal: a caller that gives up harms nobody: what was taken counts once, what was not counts never, and others
/// are answered. Method: tasks aborted at any moment, commands and bulks, with a mailbox so small that many of
/// them wait for it; then the engine ends in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.partition.mailbox.items_max = 8.try_into().unwrap();
    let engine = open_with(folder.path(), config, topology()).await;
    let handle = engine.aggregate::<Tally>();
    let mut random = Random::new();
    let mut sure = 0;
    for _ in 0..40 {
        let mut tasks = Vec::new();
        for n in 0..50u32 {
            let handle = handle.clone();
            let id = id_in(0, (n % 4) as usize);
            tasks.push(tokio::spawn(async move {
                if n % 5 == 0 {
                    let bulk = (0..20).map(|_| BulkCommand {
                        id: id.as_str().into(),
                        command: Ask::Add(1),
                        options: CommandOptions::default(),
                    });
                    let answers = handle.send_bulk(bulk.collect()).await;
                    answers.into_iter().filter(Result::is_ok).count() as i64
                } else {
                    i64::from(handle.send(&id, Ask::Add(1)).await.is_ok())
                }
            }));
        }
        for task in &tasks {
            if random.below(2) == 0 {
                tokio::task::yield_now().await;
            }
            if random.below(3) == 0 {
                task.abort();
            }
        }
        for task in tasks {
            if let Ok(accepted) = within(task).await {
                sure += accepted;
            }
        }
    }
    let mut total = 0;
    for n in 0..4 {
        total += within(sum(&engine, &id_in(0, n))).await;
    }
    assert!(total >= sure, "{total} stored, {sure} acknowledged");
    let streams = check(&engine).await;
    assert_eq!(streams.values().map(Vec::len).sum::<usize>() as i64, total);
    close(engine).await;
}

/// Goal: an aggregate that does not return holds its own partition alone, and is named. Method: its decision waits
/// until it is let go; meanwhile commands to another partition are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_aggregate_that_does_not_return_is_named_and_holds_one_partition() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let stuck = id_in(0, 0);
    let (gate, keeper) = gate();
    let held = tokio::spawn({
        let (engine, stuck) = (engine.clone(), stuck.clone());
        async move { engine.send::<Tally>(&stuck, Ask::Wait(gate)).await }
    });
    let keeper = tokio::task::spawn_blocking(move || {
        keeper.wait();
        keeper
    });
    let keeper = within(keeper).await.unwrap();
    for n in 0..100 {
        within(engine.send::<Tally>(&id_in(1, n), Ask::Add(1)))
            .await
            .unwrap();
    }
    let named = engine.stuck(std::time::Duration::ZERO);
    let found = named.iter().find(|one| one.partition.0 == 0).unwrap();
    assert_eq!(found.aggregate, stuck);
    keeper.open();
    within(held).await.unwrap().unwrap();
    assert!(engine.stuck(std::time::Duration::from_secs(60)).is_empty());
    close(engine).await;
}
