//! Promise: a command sent again under its id has no second effect and gets the same answer, inside the window.

use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream_engine::partition::DedupLimits;
use millstream_engine::time::ManualClock;

use crate::support::*;

fn same(repeat: &Ack, first: &Ack) {
    assert!(
        repeat.is_repeat && !first.is_repeat,
        "{repeat:?} after {first:?}"
    );
    let first = Ack {
        is_repeat: true,
        ..*first
    };
    assert_eq!(*repeat, first);
}

/// Goal: the same answer at once, later and after a restart; the expected version is not asked of a repeat; a
/// rejected command and one without events are decided anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_has_no_second_effect() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let options = CommandOptions {
        expected: Expected::NoStream,
        ..named(1)
    };
    let add = || Ask::AddAll(vec![3, 4]);
    let first = engine
        .send_with::<Tally>("a", add(), options.clone())
        .await
        .unwrap();
    same(
        &engine
            .send_with::<Tally>("a", add(), options.clone())
            .await
            .unwrap(),
        &first,
    );
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    same(
        &engine
            .send_with::<Tally>("a", add(), options.clone())
            .await
            .unwrap(),
        &first,
    );

    let refused = engine
        .send_with::<Tally>("a", Ask::AddIf { sum: 9, by: 1 }, named(2))
        .await;
    assert!(matches!(
        refused,
        Err(CommandError::Rejected(Refused::Sum(8)))
    ));
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    let anew = engine
        .send_with::<Tally>("a", Ask::AddIf { sum: 9, by: 1 }, named(2))
        .await
        .unwrap();
    assert!(!anew.is_repeat);
    let nothing = engine
        .send_with::<Tally>("a", Ask::Nothing, named(3))
        .await
        .unwrap();
    assert_eq!(nothing.events, 0);
    let anew_with_events = engine
        .send_with::<Tally>("a", Ask::Add(1), named(3))
        .await
        .unwrap();
    assert!(!anew_with_events.is_repeat);

    close(engine).await;
    let engine = open(folder.path()).await;
    same(
        &engine
            .send_with::<Tally>("a", add(), options)
            .await
            .unwrap(),
        &first,
    );
    same(
        &engine
            .send_with::<Tally>("a", Ask::Add(7), named(2))
            .await
            .unwrap(),
        &anew,
    );
    same(
        &engine
            .send_with::<Tally>("a", Ask::Add(7), named(3))
            .await
            .unwrap(),
        &anew_with_events,
    );
    assert_eq!(sum(&engine, "a").await, 11);
    check(&engine).await;
    close(engine).await;
}

/// An id was known per partition: under the id of a command to one stream, a command to another was answered with the
/// position of the first and had no effect, where both streams happened to lie in one partition. Goal: it is another
/// command, and a repeat of either is one, also after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_names_a_command_to_one_stream() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let (debit, credit) = ("one@tenant", "two@tenant");
    let send = async |engine: &Engine, id: &str, by: i64| {
        let sent = engine.send_with::<Tally>(id, Ask::Add(by), named(1));
        within(sent).await.unwrap()
    };
    let firsts = [
        (debit, -5, send(&engine, debit, -5).await),
        (credit, 5, send(&engine, credit, 5).await),
    ];
    let positions = firsts.map(|(_, _, ack)| ack.position.unwrap());
    assert_eq!(positions[0].partition, positions[1].partition);
    assert!(positions[0].offset < positions[1].offset);
    for (id, by, first) in &firsts {
        same(&send(&engine, id, *by).await, first);
    }
    close(engine).await;
    let engine = open(folder.path()).await;
    for (id, by, first) in &firsts {
        same(&send(&engine, id, *by).await, first);
        assert_eq!(sum(&engine, id).await, *by);
    }
    let streams = check(&engine).await;
    assert!(streams.values().all(|events| events.len() == 1));
    close(engine).await;
}

/// Goal: a repeat of a command in flight waits for the first and answers the same. Method: a gate holds the
/// partition while the pairs queue up, so that both lie in one batch; many tasks besides, without a gate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_in_flight_waits_for_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let (holder, keeper) = held(&engine, &id_in(0, 0)).await;
    let id = id_in(0, 1);
    let pairs: Vec<_> = (0..200u128)
        .map(|n| {
            let (engine, id) = (engine.clone(), id.clone());
            tokio::spawn(async move {
                // One of both is the first; which, is not for us to say.
                let number = 100 + n / 2;
                engine
                    .send_with::<Tally>(&id, Ask::Add(1), named(number))
                    .await
                    .unwrap()
            })
        })
        .collect();
    keeper.open();
    let mut acks = Vec::new();
    for pair in pairs {
        acks.push(within(pair).await.unwrap());
    }
    within(holder).await.unwrap().unwrap();
    for pair in acks.chunks(2) {
        let (first, repeat) = if pair[0].is_repeat {
            (pair[1], pair[0])
        } else {
            (pair[0], pair[1])
        };
        same(&repeat, &first);
    }
    assert_eq!(sum(&engine, &id).await, 100);
    check(&engine).await;
    close(engine).await;
}

/// Which of the ids `0..count` are remembered: repeats change nothing, so asking twice is the same. Commands that
/// are forgotten are refused by their expectation and leave no trace either.
async fn remembered(engine: &Engine, id: &str, count: u128) -> Vec<bool> {
    let mut found = Vec::new();
    for number in 0..count {
        let options = CommandOptions {
            expected: Expected::NoStream,
            ..named(number)
        };
        found.push(
            match engine.send_with::<Tally>(id, Ask::Add(1), options).await {
                Ok(ack) => ack.is_repeat,
                Err(CommandError::Conflict(_)) => false,
                Err(other) => panic!("{other}"),
            },
        );
    }
    found
}

/// Goal: the window forgets by count of events, exactly, and is the same after a restart with any bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_forgets_by_count() {
    for events_max in [0u64, 1, 7, 30] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        config.partition.dedup = DedupLimits {
            events_max,
            ..DedupLimits::default()
        };
        let engine = open_with(folder.path(), config.clone(), topology()).await;
        let id = id_in(1, 0);
        let mut offsets = Vec::new();
        for number in 0..30u128 {
            let events = vec![1; 1 + number as usize % 3];
            let ack = engine
                .send_with::<Tally>(&id, Ask::AddAll(events), named(number))
                .await
                .unwrap();
            offsets.push(ack.position.unwrap().offset.0 + 1 - u64::from(ack.events));
        }
        let next = partition(&engine, 1).len() as u64;
        let expected: Vec<_> = offsets
            .iter()
            .map(|first| first + events_max >= next)
            .collect();
        assert_eq!(
            remembered(&engine, &id, 30).await,
            expected,
            "{events_max} events"
        );
        close(engine).await;
        let engine = open_with(folder.path(), config, topology()).await;
        assert_eq!(
            remembered(&engine, &id, 30).await,
            expected,
            "{events_max}, restarted"
        );
        check(&engine).await;
        close(engine).await;
    }
}

/// Goal: the window forgets by age, and is the same after a restart. Method: a clock that is moved by hand, one
/// minute per command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_forgets_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
    let mut config = config();
    config.partition.dedup.age_max = Duration::from_secs(600);
    let engine = open_at(folder.path(), config.clone(), Arc::clone(&clock) as _).await;
    let id = id_in(2, 0);
    for number in 0..30u128 {
        engine
            .send_with::<Tally>(&id, Ask::Add(1), named(number))
            .await
            .unwrap();
        clock.advance(Duration::from_secs(60));
    }
    let found = remembered(&engine, &id, 30).await;
    // The last was recorded at minute 29: what is more than ten minutes older is forgotten.
    let expected: Vec<_> = (0..30).map(|minute| minute >= 19).collect();
    assert_eq!(found, expected);
    close(engine).await;
    let engine = open_at(folder.path(), config, Arc::clone(&clock) as _).await;
    assert_eq!(remembered(&engine, &id, 30).await, expected);
    // One that was forgotten is a new command, and remembered again.
    let again = engine
        .send_with::<Tally>(&id, Ask::Add(1), named(3))
        .await
        .unwrap();
    assert!(!again.is_repeat);
    same(
        &engine
            .send_with::<Tally>(&id, Ask::Add(1), named(3))
            .await
            .unwrap(),
        &again,
    );
    check(&engine).await;
    close(engine).await;
}
