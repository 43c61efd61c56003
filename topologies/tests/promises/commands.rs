//! Promise: a command is decided against what its caller expects, and leaves all of its events or none.

use millstream::prelude::*;
use millstream_engine::partition::Conflict;
use millstream_operators::aggregate::Acknowledge;

use crate::support::*;

fn conflict(result: Result<Ack, CommandError<Refused>>) -> Conflict {
    match result {
        Err(CommandError::Conflict(conflict)) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

/// Goal: each expectation holds exactly when it should, and a conflict names the actual version. Method: all
/// four kinds against streams of 0, 1 and 3 events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expected_versions() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    for events in [0u64, 1, 3] {
        let kinds = [
            (Expected::Any, true),
            (Expected::NoStream, events == 0),
            (Expected::Exists, events > 0),
            (Expected::Exact(0), events == 1),
            (Expected::Exact(2), events == 3),
            (Expected::Exact(u64::MAX), false),
        ];
        for (number, (expected, holds)) in kinds.into_iter().enumerate() {
            let id = format!("e{events}-{number}");
            for _ in 0..events {
                engine.send::<Tally>(&id, Ask::Add(1)).await.unwrap();
            }
            let sent = engine
                .send_with::<Tally>(&id, Ask::Add(5), expecting(expected))
                .await;
            if holds {
                let ack = sent.unwrap();
                assert_eq!((ack.events, ack.version), (1, Some(events)));
            } else {
                let actual = events.checked_sub(1);
                assert_eq!(conflict(sent), Conflict { expected, actual });
            }
            let expected_sum = events as i64 + if holds { 5 } else { 0 };
            assert_eq!(
                sum(&engine, &id).await,
                expected_sum,
                "{expected} on {events}"
            );
        }
    }
    check(&engine).await;
    close(engine).await;
}

/// Goal: of a command's events all are stored or none, and versions stay without gaps. Method: commands that
/// fail at every stage (refused behind emitted events, an event that cannot be written as second of three)
/// between ones that succeed, alone and in bulks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let ack = engine
        .send::<Tally>("a", Ask::AddAll(vec![1, 2, 3]))
        .await
        .unwrap();
    assert_eq!((ack.events, ack.version), (3, Some(2)));
    let refused = engine.send::<Tally>("a", Ask::Refuse).await;
    assert!(
        matches!(refused, Err(CommandError::Rejected(Refused::OnPurpose))),
        "{refused:?}"
    );
    let unwritten = engine.send::<Tally>("a", Ask::Write(Odd::Fails)).await;
    assert!(
        matches!(unwritten, Err(CommandError::Event(_))),
        "{unwritten:?}"
    );
    let ack = engine
        .send::<Tally>("a", Ask::AddAll(vec![4, 5]))
        .await
        .unwrap();
    assert_eq!((ack.events, ack.version), (2, Some(4)));

    let note = Ask::Note("x".repeat(1 << 20));
    engine.send::<Tally>("a", note).await.unwrap();

    let bulk: Vec<_> = [
        Ask::Add(1),
        Ask::Write(Odd::Fails),
        Ask::AddAll(vec![2, 3]),
        Ask::Refuse,
        Ask::Nothing,
        Ask::Add(4),
    ]
    .into_iter()
    .map(|command| millstream_operators::aggregate::BulkCommand {
        id: "b".into(),
        command,
        options: CommandOptions::default(),
    })
    .collect();
    let answers = engine.aggregate::<Tally>().send_bulk(bulk).await;
    let versions: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().ok().and_then(|ack| ack.version))
        .collect();
    assert_eq!(versions, [Some(0), None, Some(2), None, Some(2), Some(3)]);

    let streams = check(&engine).await;
    assert_eq!(streams["tally-a"][..5], [1, 2, 3, 4, 5].map(added));
    assert_eq!(streams["tally-a"].len(), 6);
    assert_eq!(streams["tally-b"], [1, 2, 3, 4].map(added));
    close(engine).await;
    let engine = open(folder.path()).await;
    assert_eq!(check(&engine).await, streams);
    assert_eq!(sum(&engine, "a").await, 15);
    close(engine).await;
}

/// Goal: a command without events is accepted, stores nothing, and its token covers what it was decided on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_without_events() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let nothing = engine.send::<Tally>("a", Ask::Nothing).await.unwrap();
    assert_eq!(
        (nothing.events, nothing.version, nothing.position),
        (0, None, None)
    );
    let one = engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    let nothing = engine.send::<Tally>("a", Ask::Nothing).await.unwrap();
    assert_eq!((nothing.events, nothing.version), (0, Some(0)));
    assert_eq!(nothing.token(), one.token());
    let empty = engine
        .send::<Tally>("a", Ask::AddAll(Vec::new()))
        .await
        .unwrap();
    assert_eq!(empty.events, 0);
    assert_eq!(check(&engine).await["tally-a"], [added(1)]);
    close(engine).await;
}

/// Goal: an id that is no part of a stream id is a typed error before anything happens, one that is unusual but
/// allowed works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let long = "x".repeat(600);
    for bad in ["", "a\nb", "a@", "\u{7f}", &long] {
        let sent = engine.send::<Tally>(bad, Ask::Add(1)).await;
        assert!(
            matches!(sent, Err(CommandError::StreamId(_))),
            "{bad:?}: {sent:?}"
        );
    }
    for good in [
        "a b",
        "-",
        "ä€𝄞",
        "7@tenant",
        "x@y@z",
        "a/b",
        &"y".repeat(240),
    ] {
        let ack = engine.send::<Tally>(good, Ask::Add(1)).await.unwrap();
        let stream = StreamId::new("tally", good).unwrap();
        assert_eq!(
            ack.position.unwrap().partition,
            stream.partition(PARTITIONS),
            "{good}"
        );
        assert_eq!(sum(&engine, good).await, 1, "{good}");
    }
    check(&engine).await;
    close(engine).await;
    let engine = open(folder.path()).await;
    assert_eq!(sum(&engine, "x@y@z").await, 1);
    close(engine).await;
}

/// Goal: "accepted" answers are given before the disk, and are durable after an orderly shutdown. Method: right behind an answer
/// its event need not be durable. If answers waited for that it would be each time; whether it is depends on how fast the disk
/// is, so commands are sent until it is not, which the first ones show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_is_decided() {
    const COMMANDS_MAX: u64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let accepted = || CommandOptions {
        acknowledge: Acknowledge::Accepted,
        ..CommandOptions::default()
    };
    let (mut sent, mut before_the_disk) = (0, false);
    while sent < 100 || !before_the_disk {
        assert!(sent < COMMANDS_MAX, "each was durable when it was answered");
        let command = engine.send_with::<Tally>("a", Ask::Add(1), accepted());
        let ack = command.await.unwrap();
        let (durable, place) = (engine.durable(), ack.position.unwrap());
        assert_eq!(ack.version, Some(sent));
        let mut durable = durable.positions().iter();
        let last = durable.find(|last| last.partition == place.partition);
        before_the_disk |= last.is_none_or(|last| last.offset < place.offset);
        sent += 1;
    }
    let refused = engine
        .send_with::<Tally>("a", Ask::Refuse, accepted())
        .await;
    assert!(matches!(refused, Err(CommandError::Rejected(_))));
    close(engine).await;
    let engine = open(folder.path()).await;
    assert_eq!(sum(&engine, "a").await, sent as i64);
    check(&engine).await;
    close(engine).await;
}

/// Story: commands are small and their events may be large, but a batch was drained by the size of the commands: its
/// later events found the frame full, and good commands were refused. Method: a gate holds the partition while
/// commands and a bulk queue up whose events are twice what a frame can hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_events_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let (holder, keeper) = held(&engine, &id_in(0, 0)).await;
    let note = || Ask::Note("large ".repeat(200_000));
    let bulk = (0..80).map(|_| millstream_operators::aggregate::BulkCommand {
        id: id_in(0, 1).into(),
        command: note(),
        options: CommandOptions::default(),
    });
    let bulk: Vec<_> = bulk.collect();
    let handle = engine.aggregate::<Tally>();
    let bulk = tokio::spawn(async move { handle.send_bulk(bulk).await });
    let singles: Vec<_> = (0..60)
        .map(|n| {
            let (engine, id) = (engine.clone(), id_in(0, 2 + n % 2));
            tokio::spawn(async move { engine.send::<Tally>(&id, note()).await })
        })
        .collect();
    keeper.open();
    for (n, answer) in (0u64..).zip(within(bulk).await.unwrap()) {
        assert_eq!(answer.unwrap().version, Some(n));
    }
    for single in singles {
        within(single).await.unwrap().unwrap();
    }
    within(holder).await.unwrap().unwrap();
    assert_eq!(
        check(&engine).await.values().map(Vec::len).sum::<usize>(),
        141
    );
    close(engine).await;
}

/// Story: an event that just fits left no room for the ids of its neighbours' commands; sealing the frame failed, which
/// restarted the partition, and after some of them ended it. Method: a gate holds the partition while small commands
/// with ids queue up before a large one, more often than restarts are allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_too_large_for_a_frame() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let (first, second) = (id_in(0, 0), id_in(0, 1));
    for round in 0..8u128 {
        let (holder, keeper) = held(&engine, &first).await;
        let bytes = millstream_engine::log::frame::BODY_BYTES_MAX - 1_500;
        let large = Ask::Note("x".repeat(bytes));
        let asks = (0..40).map(|_| Ask::Add(1)).chain([large]);
        let bulk: Vec<_> = (1_000 * round..)
            .zip(asks)
            .map(
                |(name, command)| millstream_operators::aggregate::BulkCommand {
                    id: second.as_str().into(),
                    command,
                    options: named(name),
                },
            )
            .collect();
        let handle = engine.aggregate::<Tally>();
        let bulk = tokio::spawn(async move { handle.send_bulk(bulk).await });
        keeper.open();
        let mut answers = within(bulk).await.unwrap();
        let refused = answers.pop().unwrap();
        assert!(
            matches!(refused, Err(CommandError::Event(_))),
            "{refused:?}"
        );
        for answer in answers {
            answer.unwrap();
        }
        within(holder).await.unwrap().unwrap();
    }
    assert_eq!(sum(&engine, &second).await, 320);
    check(&engine).await;
    close(engine).await;
}
