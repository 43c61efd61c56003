//! Danger: user code panics. It is one caller's error; neighbours, the instance and the log are as if it had not
//! been sent.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use millstream::prelude::*;
use millstream_operators::aggregate::BulkCommand;

use crate::support::*;

fn panicked(answer: &Result<Ack, CommandError<Refused>>, said: &str) {
    match answer {
        Err(CommandError::Panicked { message }) => assert!(message.contains(said), "{message}"),
        other => panic!("expected a panic, got {other:?}"),
    }
}

/// Panics of each kind, one after the other, with nothing in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instance_goes_on_from_its_last_good_state() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    for round in 0..3 {
        engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
        panicked(
            &engine.send::<Tally>("a", Ask::DecidePanics).await,
            "deciding",
        );
        panicked(
            &engine.send::<Tally>("a", Ask::EvolvePanics).await,
            "evolving",
        );
        assert_eq!(sum(&engine, "a").await, round + 1);
        // Also for one that has no event yet.
        let id = format!("new{round}");
        panicked(
            &engine.send::<Tally>(&id, Ask::EvolvePanics).await,
            "evolving",
        );
        assert_eq!(sum(&engine, &id).await, 0);
    }
    assert_eq!(check(&engine).await.len(), 1);
    close(engine).await;
}

/// Goal: a panic while an event is written is one caller's error as well. More of them than the supervisor would
/// take of a partition, so that this cannot end it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_writing_is_one_callers_error() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    for round in 0..20 {
        engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
        panicked(
            &engine.send::<Tally>("a", Ask::Write(Odd::Panics)).await,
            "writing",
        );
        assert_eq!(sum(&engine, "a").await, round + 1);
    }
    assert_eq!(check(&engine).await["tally-a"], vec![added(1); 20]);
    close(engine).await;
}

/// Goal: neighbours in the batch, and the same instance with frames in flight, are unaffected; order is kept.
/// Method: a gate holds the partition while panicking and good commands queue up in a known order per id, so
/// that they are decided in few batches, with the frames of earlier ones still in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_and_frames_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    for round in 0..30 {
        let (holder, keeper) = held(&engine, &id_in(0, 0)).await;
        let sent: Vec<_> = (0..60)
            .map(|n| {
                let engine = engine.clone();
                let id = id_in(0, 1 + n % 3);
                let ask = match n % 10 {
                    3 => Ask::EvolvePanics,
                    5 => Ask::DecidePanics,
                    7 => Ask::Write(Odd::Panics),
                    8 => Ask::Write(Odd::Fails),
                    _ => Ask::AddAll(vec![1, 1]),
                };
                (
                    n,
                    tokio::spawn(async move { engine.send::<Tally>(&id, ask).await }),
                )
            })
            .collect();
        keeper.open();
        for (n, task) in sent {
            let answer = within(task).await.unwrap();
            match n % 10 {
                3 => panicked(&answer, "evolving"),
                5 => panicked(&answer, "deciding"),
                7 => panicked(&answer, "writing"),
                8 => assert!(matches!(answer, Err(CommandError::Event(_))), "{answer:?}"),
                _ => assert_eq!(answer.unwrap().events, 2),
            }
        }
        within(holder).await.unwrap().unwrap();
        let sums = [
            sum(&engine, &id_in(0, 1)).await,
            sum(&engine, &id_in(0, 2)).await,
            sum(&engine, &id_in(0, 3)).await,
        ];
        // 36 of 60 are good, 12 per id.
        assert_eq!(sums, [24 * (round + 1); 3]);
    }
    let streams = check(&engine).await;
    assert!(streams.values().flatten().all(|event| *event == added(1)));
    close(engine).await;
    let engine = open(folder.path()).await;
    assert_eq!(check(&engine).await, streams);
    close(engine).await;
}

/// Goal: a panic in a bulk concerns its command alone, or tells those behind it on the same aggregate to come
/// again; in no case is a good command lost or doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulks() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let handle = engine.aggregate::<Tally>();
    let command = |id: &str, command| BulkCommand {
        id: id.into(),
        command,
        options: CommandOptions::default(),
    };
    let (mut a, mut b) = (0, 0);
    for _ in 0..50 {
        let bulk = vec![
            command("a", Ask::Add(1)),
            command("b", Ask::Add(1)),
            command("a", Ask::EvolvePanics),
            command("b", Ask::DecidePanics),
            command("a", Ask::Add(1)),
            command("b", Ask::Add(1)),
        ];
        let answers = within(handle.send_bulk(bulk)).await;
        panicked(&answers[2], "evolving");
        panicked(&answers[3], "deciding");
        a += [&answers[0], &answers[4]]
            .iter()
            .filter(|answer| answer.is_ok())
            .count() as i64;
        assert!(
            answers[0].is_ok() && answers[1].is_ok() && answers[5].is_ok(),
            "{answers:?}"
        );
        b += 2;
    }
    assert_eq!(sum(&engine, "a").await, a);
    assert_eq!(sum(&engine, "b").await, b);
    assert_eq!(a, 100, "a good command behind a panicking one was refused");
    check(&engine).await;
    close(engine).await;
}

/// Has a call hand over what it sends; its answer is for later.
async fn sent<F: Future>(mut call: Pin<&mut F>) {
    let is_pending = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending()));
    assert!(is_pending.await, "answered while the partition was held");
}

/// An instance that broke within a bulk had the bulk's whole rest wait for the next turn, while the turn went on with
/// what lay behind the bulk: commands to other instances overtook those of the bulk. Method: a gate holds the partition
/// until both calls lie in its lane.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_overtakes_a_bulk_in_which_an_instance_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let handle = engine.aggregate::<Tally>();
    let [x, y] = [1, 2].map(|nth| id_in(0, nth));
    let command = |id: &str, command| BulkCommand {
        id: id.into(),
        command,
        options: CommandOptions::default(),
    };
    let (holder, keeper) = held(&engine, &id_in(0, 0)).await;
    let mut bulk = pin!(handle.send_bulk(vec![
        command(&x, Ask::Add(1)),
        command(&x, Ask::EvolvePanics),
        command(&x, Ask::Add(2)),
        command(&y, Ask::Add(1)),
    ]));
    sent(bulk.as_mut()).await;
    let mut single = pin!(handle.send(&y, Ask::Add(2)));
    sent(single.as_mut()).await;
    keeper.open();
    let (answers, behind) = within(async { tokio::join!(bulk, single) }).await;
    within(holder).await.unwrap().unwrap();

    panicked(&answers[1], "evolving");
    let version = |answer: &Result<Ack, CommandError<Refused>>| answer.as_ref().unwrap().version;
    assert_eq!(version(&answers[0]), Some(0));
    assert_eq!(version(&answers[2]), Some(1));
    assert_eq!(version(&answers[3]), Some(0));
    assert_eq!(version(&behind), Some(1));
    let streams = check(&engine).await;
    for id in [&x, &y] {
        assert_eq!(streams[&format!("tally-{id}")], [added(1), added(2)]);
    }
    close(engine).await;
}
