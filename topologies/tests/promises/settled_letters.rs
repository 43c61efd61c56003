//! Promise: what somebody decides about a dead letter is an event of the log, is carried out once, in the order of the
//! key, and stays decided; a crash between any two steps changes nothing of it.

mod killed;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use millstream::DecideError;
use millstream::prelude::*;
use millstream_engine::event::Position;
use millstream_engine::partition::AppendError;
use millstream_engine::state::{DeadLetter, DeadLetterId, DeadLetterStatus};
use millstream_operators::projection::{DECISIONS, LetterDecision, LetterOrder};

use crate::failing_events::{LISTS, Switch, fragile, letters, projected, quick, rows, verified};
use crate::support::*;

/// The value that the projection fails on.
const POISON: i64 = 666;

async fn engine_failing(folder: &Path, switch: &Arc<Switch>) -> Engine {
    switch.failing.lock().unwrap().insert(POISON);
    fragile::<true>(folder, switch, quick(1)).await
}

async fn add(engine: &Engine, id: &str, values: &[i64]) {
    for value in values {
        engine.send::<Tally>(id, Ask::Add(*value)).await.unwrap();
    }
}

fn is_dead(letter: &DeadLetter) -> bool {
    letter.status == DeadLetterStatus::Dead
}

/// Waits until there are so many letters, all dead.
async fn dead(engine: &Engine, count: usize) -> Vec<DeadLetter> {
    projected(engine).await;
    until("all are dead letters", || {
        let found = letters(engine);
        found.len() == count && found.iter().all(is_dead)
    })
    .await;
    letters(engine)
}

/// Events that are given up, by the log alone: the first decision that names a number of redrives counts.
fn given_up(engine: &Engine) -> BTreeSet<Position> {
    let mut redrives = BTreeMap::<Position, u32>::new();
    let mut given_up = BTreeSet::new();
    for decision in decisions(engine) {
        let order = decision.order();
        let known = redrives.entry(order.position()).or_default();
        if order.redrives < *known || given_up.contains(&order.position()) {
            continue;
        }
        match decision {
            LetterDecision::Redriven(_) | LetterDecision::Edited { .. } => {
                *known = order.redrives + 1;
            }
            LetterDecision::Discarded(_) => {
                given_up.insert(order.position());
            }
            other => panic!("nothing is known of {other:?}"),
        }
    }
    given_up
}

fn ids(letters: &[DeadLetter]) -> Vec<DeadLetterId> {
    letters.iter().map(DeadLetter::id).collect()
}

/// All decisions in the log.
fn decisions(engine: &Engine) -> Vec<LetterDecision> {
    let mut found = Vec::new();
    for number in 0..engine.partitions() {
        for event in partition(engine, number) {
            if event.stream.starts_with(DECISIONS) {
                found.push(serde_json::from_slice(&event.payload).unwrap());
            }
        }
    }
    found
}

/// Goal: dead letters that are redriven are tried once each; those that fail again are dead letters with their history;
/// once the handler is mended all is applied in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_keeps_order_and_history() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    let engine = engine_failing(folder.path(), &switch).await;
    for id in ["a", "b", "c"] {
        add(&engine, id, &[1, POISON, 2, 3]).await;
    }
    let first = dead(&engine, 3).await;
    let token = engine
        .dead_letters()
        .redrive(&ids(&first), "ann", "let us see")
        .await
        .unwrap();
    engine
        .projected(&token, std::time::Duration::from_secs(300))
        .await
        .unwrap();
    until("all failed again", || {
        let letters = letters(&engine);
        letters
            .iter()
            .all(|letter| letter.attempts == 2 && is_dead(letter))
    })
    .await;
    let again = letters(&engine);
    assert_eq!(ids(&again), ids(&first));
    for (letter, before) in again.iter().zip(&first) {
        assert_eq!(letter.first_failed, before.first_failed);
        let [tries] = &letter.earlier[..] else {
            panic!("{letter:?}")
        };
        assert_eq!((tries.attempts, tries.last_failed), (1, before.last_failed));
        assert_eq!(
            (&*tries.cause, &*tries.redriven_by),
            ("cannot bear 666", "ann")
        );
        assert_eq!(rows(&engine).0[&letter.key["tally-".len()..]], [1]);
    }
    // The history survives a restart.
    close(engine).await;
    let engine = engine_failing(folder.path(), &switch).await;
    assert_eq!(letters(&engine), again);
    switch.failing.lock().unwrap().clear();
    engine
        .dead_letters()
        .redrive(&ids(&again), "ben", "")
        .await
        .unwrap();
    until("no letter is left", || letters(&engine).is_empty()).await;
    for list in rows(&engine).0.values() {
        assert_eq!(*list, [1, POISON, 2, 3]);
    }
    assert_eq!(decisions(&engine).len(), 6);
    close(engine).await;
}

/// Goal: the same redrive twice does what one does, also at the same time; nobody but the engine writes decisions. Method: on
/// one thread, so that all of them have looked at the letter before the first is carried out.
#[tokio::test]
async fn a_redrive_twice_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    let engine = engine_failing(folder.path(), &switch).await;
    add(&engine, "a", &[POISON, 1]).await;
    for round in 1..4 {
        let letter = dead(&engine, 1).await.remove(0);
        assert_eq!((letter.attempts, letter.redrives), (round, round - 1));
        let (api, ids) = (engine.dead_letters(), [letter.id()]);
        // Those that come too late find it tried, or name what was named before.
        let (first, second, third) = tokio::join!(
            api.redrive(&ids, "ann", "one"),
            api.redrive(&ids, "ben", "two"),
            api.redrive(&ids, "cleo", "three")
        );
        assert!([first, second, third].iter().any(Result::is_ok));
        until("it failed again", || {
            letters(&engine)[0].attempts == round + 1
        })
        .await;
        stored(&engine, "fragile").await;
        let again = dead(&engine, 1).await.remove(0);
        assert_eq!((again.attempts, again.redrives), (round + 1, round));
    }
    let letter = dead(&engine, 1).await.remove(0);
    let order = LetterOrder::of(&letter, "ann", "by hand").unwrap();
    let stream = LetterDecision::stream(letter.position.partition, PARTITIONS).unwrap();
    assert_eq!(stream.partition(PARTITIONS), letter.position.partition);
    let events = vec![NewEvent::typed(LetterDecision::Discarded(order))];
    let refused = engine
        .appender()
        .append(stream, Expected::Any, events)
        .await;
    assert!(
        matches!(refused, Err(AppendError::OwnedCategory { .. })),
        "{refused:?}"
    );
    switch.failing.lock().unwrap().clear();
    let ids = [letter.id()];
    engine
        .dead_letters()
        .redrive(&ids, "ann", "mended")
        .await
        .unwrap();
    until("no letter is left", || letters(&engine).is_empty()).await;
    assert_eq!(rows(&engine).0["a"], [POISON, 1]);
    close(engine).await;
}

/// Goal: what is put in the place of an event is what rows are made of, in its order, also when they are made anew and in
/// a replay; what is no event is a dead letter again; the event stays in the log as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_is_what_rows_are_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    let engine = engine_failing(folder.path(), &switch).await;
    add(&engine, "a", &[1, POISON, 2, POISON, 3]).await;
    let first = dead(&engine, 1).await.remove(0);
    let api = engine.dead_letters();
    let none = api.edit(first.id(), "{}", "ann", " ").await;
    assert!(matches!(none, Err(DecideError::Missing { .. })), "{none:?}");
    let none = api.edit(first.id(), "{", "ann", "a typo").await;
    assert!(matches!(none, Err(DecideError::NotJson { .. })), "{none:?}");

    // JSON, and no event.
    let sevn = r#"{"Added":{"by":"sevn"}}"#;
    api.edit(first.id(), sevn, "ann", "a typo").await.unwrap();
    until("it failed again", || letters(&engine)[0].attempts == 2).await;
    let again = dead(&engine, 1).await.remove(0);
    assert_eq!(
        (again.redrives, again.payload.as_slice()),
        (1, sevn.as_bytes())
    );
    assert_eq!(again.class, "unreadable");
    assert_eq!(again.earlier[0].redriven_by, "ann");
    assert_eq!(again.followers, 3);

    let seven = r#"{"Added":{"by":7}}"#;
    api.edit(first.id(), seven, "ben", "it was seven")
        .await
        .unwrap();
    until("the second one is dead", || {
        let letters = letters(&engine);
        letters.len() == 1 && letters[0].id() != first.id() && is_dead(&letters[0])
    })
    .await;
    assert_eq!(rows(&engine).0["a"], [1, 7, 2]);
    let second = letters(&engine).remove(0);
    let eight = r#"{"Added":{"by":8}}"#;
    api.edit(second.id(), eight, "ben", "eight").await.unwrap();
    until("no letter is left", || letters(&engine).is_empty()).await;
    projected(&engine).await;
    let expected = rows(&engine);
    assert_eq!(expected.0["a"], [1, 7, 2, 8, 3]);
    let replayed = verified(&engine, &switch).await;
    assert!(replayed.is_good(), "{replayed:?}");
    let events = [1, POISON, 2, POISON, 3].map(added);
    assert_eq!(streams(&engine)["tally-a"], events);
    drop(api);
    close(engine).await;
    // Made anew; nothing would fail any more, and the edits hold.
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    switch.failing.lock().unwrap().clear();
    let engine = fragile::<true>(folder.path(), &switch, quick(1)).await;
    projected(&engine).await;
    assert_eq!(rows(&engine), expected);
    assert!(letters(&engine).is_empty());
    close(engine).await;
}

/// Danger: an event that is tried by itself may be applied the next moment. Goal: nobody decides about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_tried_anyhow_is_not_decided() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    switch.failing.lock().unwrap().insert(POISON);
    let engine = fragile::<true>(folder.path(), &switch, quick(u32::MAX)).await;
    add(&engine, "a", &[POISON, 1]).await;
    until("the letter is stored", || letters(&engine).len() == 1).await;
    let id = letters(&engine)[0].id();
    let refused = engine.dead_letters().discard(&[id], "ann", "no").await;
    assert!(
        matches!(refused, Err(DecideError::Retrying { id: named }) if named == id),
        "{refused:?}"
    );
    assert!(decisions(&engine).is_empty());
    close(engine).await;
}

/// Nobody discards without a name and a reason, or what is not there.
async fn refused(engine: &Engine, id: DeadLetterId) {
    for (by, reason) in [("ann", " "), ("", "because")] {
        let refused = engine.dead_letters().discard(&[id], by, reason).await;
        assert!(
            matches!(refused, Err(DecideError::Missing { .. })),
            "{refused:?}"
        );
    }
    let nobody = DeadLetterId {
        discriminator: id.discriminator ^ 1,
        ..id
    };
    let refused = engine
        .dead_letters()
        .discard(&[id, nobody], "ann", "no")
        .await;
    assert!(
        matches!(refused, Err(DecideError::Unknown { id }) if id == nobody),
        "{refused:?}"
    );
}

/// Key, name and reason of what was discarded.
fn discards(engine: &Engine) -> BTreeSet<(String, String, String)> {
    decisions(engine)
        .into_iter()
        .map(|decision| match decision {
            LetterDecision::Discarded(order) => (order.key, order.by, order.reason),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Goal: a discarded event is passed over and what waits behind it goes on, up to the next that fails; the log says who
/// and why; rows that are made anew lack it as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discard_is_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    let engine = engine_failing(folder.path(), &switch).await;
    add(&engine, "a", &[1, POISON, 2, POISON, 3]).await;
    add(&engine, "end", &[1, POISON]).await;
    let first = dead(&engine, 2).await;
    let of = |letters: &[DeadLetter], key: &str| {
        let found = letters.iter().find(|letter| letter.key == key);
        found.cloned().unwrap()
    };
    let id = of(&first, "tally-a").id();
    let end = of(&first, "tally-end").id();
    refused(&engine, id).await;
    engine
        .dead_letters()
        .discard(&[id, end], "ann", "test data")
        .await
        .unwrap();
    until("the second one is dead", || {
        let letters = letters(&engine);
        letters.len() == 1 && letters[0].id() != id && is_dead(&letters[0])
    })
    .await;
    let second = letters(&engine).remove(0);
    assert_eq!((second.attempts, second.followers), (1, 1));
    assert_eq!(second.cause[0], "cannot bear 666");
    assert_eq!(rows(&engine).0["a"], [1, 2]);
    assert_eq!(rows(&engine).0["end"], [1]);
    engine
        .dead_letters()
        .discard(&[second.id()], "ben", "that too")
        .await
        .unwrap();
    until("no letter is left", || letters(&engine).is_empty()).await;
    add(&engine, "a", &[4]).await;
    add(&engine, "end", &[2]).await;
    projected(&engine).await;
    let expected = rows(&engine);
    assert_eq!(expected.0["a"], [1, 2, 3, 4]);
    assert_eq!(expected.0["end"], [1, 2]);
    let decided = discards(&engine);
    let named = |key: &str, by: &str, reason: &str| (key.into(), by.into(), reason.into());
    assert_eq!(
        decided,
        BTreeSet::from([
            named("tally-a", "ann", "test data"),
            named("tally-a", "ben", "that too"),
            named("tally-end", "ann", "test data"),
        ])
    );
    close(engine).await;
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let engine = engine_failing(folder.path(), &switch).await;
    projected(&engine).await;
    stored(&engine, "fragile").await;
    assert!(letters(&engine).is_empty());
    assert_eq!(rows(&engine), expected);
    close(engine).await;

    // Also when it would not fail any more.
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let engine = fragile::<true>(folder.path(), &Arc::default(), quick(1)).await;
    projected(&engine).await;
    assert_eq!(rows(&engine), expected);
    close(engine).await;
}

/// Goal: an answer says that it lacks events, and by which letter, for as long as that is so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_names_the_letter() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    let mut engine = engine_failing(folder.path(), &switch).await;
    add(&engine, "bad", &[1, POISON, 2]).await;
    add(&engine, "good", &[1]).await;
    let letter = dead(&engine, 1).await.remove(0);
    for _ in 0..2 {
        let token = engine.durable();
        let asked = |id: &'static str| {
            engine
                .query(&LISTS)
                .at_least(&token)
                .deadline(PATIENCE)
                .answer(id, id)
        };
        let answer = asked("bad").await.unwrap();
        assert_eq!(answer.row, Some(vec![1]));
        let parked = answer.parked.unwrap();
        assert_eq!(
            (parked.letter, parked.status, parked.attempts),
            (letter.id(), letter.status, 1)
        );
        let answer = asked("good").await.unwrap();
        assert_eq!((answer.row, answer.parked), (Some(vec![1]), None));
        let answer = asked("nobody").await.unwrap();
        assert_eq!((answer.row, answer.parked), (None, None));
        close(engine).await;
        engine = engine_failing(folder.path(), &switch).await;
        projected(&engine).await;
    }
    engine
        .dead_letters()
        .discard(&[letter.id()], "ann", "no")
        .await
        .unwrap();
    let reader = engine.table(&LISTS).unwrap();
    until("it is free", || reader.parked("bad").is_none()).await;
    until("its row is whole", || {
        reader.get(&"bad".to_owned()).unwrap() == Some(vec![1, 2])
    })
    .await;
    close(engine).await;
}
