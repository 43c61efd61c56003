//! One version, live: each effect is delivered, in order, until its call goes well.

use std::collections::BTreeSet;

use millstream_engine::stage::StageStatus;
use millstream_engine::state::DeadLetterStatus;
use millstream_operators::projection::QueryError;

use super::*;

/// What a later program sends to the same outbox.
const NUMBERS: Outbox<u64> = Outbox::named("mails");

/// The same projection in a later program, that sends numbers.
struct Numbering;

impl Projection for Numbering {
    const NAME: &'static str = "mailing";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, i64>, Outbox<u64>);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (TOTALS, NUMBERS)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (_, numbers): &mut (TableMut<String, i64>, OutboxMut<u64>),
    ) -> Result<(), Self::Error> {
        numbers.send(event.version);
        Ok(())
    }
}

#[tokio::test]
async fn effects_are_delivered_in_order_and_deleted() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let engine = open(folder.path(), &outside).await;
    for number in 0..20 {
        let id = format!("{}", number % 3);
        engine
            .send::<Tally>(&id, Ask::Add(1 + number % 2))
            .await
            .unwrap();
    }
    outside.until(|outside| outside.taken().len() == 30).await;
    let mails = outside.mails();
    for (key, mails) in &mails {
        let model = streams(&engine)[&format!("tally-{key}")].clone();
        let model = (0..).zip(&model).flat_map(|(version, event)| match event {
            Happened::Added { by } => {
                let copies = (0..(*by).clamp(0, 2))
                    .map(move |copy| format!("{key}.{version}: {by} ({copy})"));
                copies.collect::<Vec<_>>()
            }
            _ => Vec::new(),
        });
        assert_eq!(mails, &model.collect::<Vec<_>>());
    }
    let ids: BTreeSet<_> = outside.taken().iter().map(|effect| effect.id).collect();
    assert_eq!(ids.len(), 30);
    let mails = engine.outbox(&MAILS).unwrap();
    until("all are deleted", || mails.waiting() == 0).await;
    drop(mails);
    assert_eq!(outside.calls().len(), 30, "none was called twice");
    close(engine).await;
    // Nothing comes again.
    let engine = open(folder.path(), &outside).await;
    engine.send::<Tally>("0", Ask::Add(1)).await.unwrap();
    outside.until(|outside| outside.taken().len() == 31).await;
    assert_eq!(outside.calls().len(), 31);
    close(engine).await;
}

#[tokio::test]
async fn what_fails_hangs_or_panics_is_tried_again_and_its_stream_waits() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    outside.odd(
        "a.0: 1 (0)",
        [Then::Fail, Then::Panic, Then::Hang, Then::Fail],
    );
    let config = DeliveryConfig {
        call_ms_max: 20,
        ..quick()
    };
    let engine = open_delivering(folder.path(), &outside, config).await;
    for id in ["a", "a", "b"] {
        engine.send::<Tally>(id, Ask::Add(1)).await.unwrap();
    }
    outside.until(|outside| outside.taken().len() == 3).await;
    let mails = outside.mails();
    assert_eq!(mails["a"], ["a.0: 1 (0)", "a.1: 1 (0)"]);
    let calls = outside.calls();
    let first: Vec<_> = calls
        .iter()
        .filter(|call| call.value == "a.0: 1 (0)")
        .collect();
    assert_eq!(
        first.iter().map(|call| call.attempt).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert!(first.iter().all(|call| call.id == first[0].id));
    close(engine).await;
}

#[tokio::test]
async fn one_that_is_given_up_lets_others_go_on_and_can_be_sent_again() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    outside.odd("a.0: 1 (0)", [Then::Fail, Then::Fail]);
    outside.odd("a.1: 1 (0)", [Then::Fail, Then::Fail]);
    let config = DeliveryConfig {
        attempts_max: Some(2),
        ..quick()
    };
    let engine = open_delivering(folder.path(), &outside, config).await;
    for _ in 0..3 {
        engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    }
    outside.until(|outside| outside.taken().len() == 1).await;
    assert_eq!(outside.mails()["a"], ["a.2: 1 (0)"]);
    let mails = engine.outbox(&MAILS).unwrap();
    until("two are put aside", || {
        mails.list(None, 10).unwrap().len() == 2
    })
    .await;
    let listed = |after, limit| mails.list(after, limit).unwrap().remove(0).1.unwrap();
    let given_up = listed(None, 1);
    assert_eq!(given_up.effect.value, "a.0: 1 (0)");
    assert_eq!(
        (given_up.effect.attempt, &*given_up.cause),
        (2, "it is out of order")
    );
    let other = listed(Some(given_up.place), 10);
    assert_eq!(other.effect.value, "a.1: 1 (0)");
    assert!(mails.discard(other.which()).await.unwrap());
    assert!(!mails.redrive(other.which()).await.unwrap());
    assert!(mails.redrive(given_up.which()).await.unwrap());
    outside.until(|outside| outside.taken().len() == 2).await;
    assert_eq!(outside.taken()[1].id, given_up.effect.id);
    assert!(mails.list(None, 10).unwrap().is_empty());
    close(engine).await;
}

/// Goal: of effects that are put aside and are not what this program sends, none keeps the others from being seen; such a one is
/// not sent again, which would only lose it, but can be thrown away.
#[tokio::test]
async fn one_that_cannot_be_read_is_seen_and_thrown_away() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    outside.odd("a.0: 1 (0)", [Then::Fail]);
    let once = DeliveryConfig {
        attempts_max: Some(1),
        ..quick()
    };
    let engine = open_delivering(folder.path(), &outside, once).await;
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    let mails = engine.outbox(&MAILS).unwrap();
    until("it is put aside", || {
        mails.list(None, 10).unwrap().len() == 1
    })
    .await;
    let numbers: Outbox<u64> = Outbox::named("mails");
    let error = engine.outbox(&numbers).unwrap_err();
    assert!(matches!(error, QueryError::UnknownTable { .. }), "{error}");
    drop(mails);
    close(engine).await;
    // A later program has other effects under the name.
    let later = Topology::named("mailing")
        .aggregate::<Tally>()
        .projection(Numbering)
        .deliver(&NUMBERS, |_: Effect<u64>| async { Ok::<_, String>(()) })
        .build()
        .unwrap();
    let engine = open_with(folder.path(), crate::support::config(), later).await;
    let numbers = engine.outbox(&NUMBERS).unwrap();
    let (which, unreadable) = numbers.list(None, 10).unwrap().remove(0);
    assert!(
        matches!(unreadable, Err(QueryError::Row(_))),
        "{unreadable:?}"
    );
    let refused = numbers.redrive(which).await.unwrap_err();
    assert!(matches!(refused, QueryError::Row(_)), "{refused}");
    assert_eq!(
        numbers.list(None, 10).unwrap().len(),
        1,
        "it is still there"
    );
    assert!(numbers.discard(which).await.unwrap());
    assert!(numbers.list(None, 10).unwrap().is_empty());
    close(engine).await;
}

#[tokio::test]
async fn an_event_that_fails_sends_nothing_until_it_is_applied() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let mailing = Mailing::<1>::default();
    let is_mended = std::sync::Arc::clone(&mailing.is_mended);
    let topology = Topology::named("mailing")
        .aggregate::<Tally>()
        .projection_with(mailing, failing_at_once())
        .deliver_with(&MAILS, quick(), outside.deliver())
        .build()
        .unwrap();
    let engine = open_with(folder.path(), config(), topology).await;
    for by in [1, FAILS, 1] {
        engine.send::<Tally>("a", Ask::Add(by)).await.unwrap();
    }
    let seen = engine
        .send::<Tally>("b", Ask::Add(1))
        .await
        .unwrap()
        .token();
    engine
        .query(&TOTALS)
        .at_least(&seen)
        .deadline(PATIENCE)
        .get("b")
        .await
        .unwrap();
    outside.until(|outside| outside.taken().len() == 2).await;
    let mails = outside.mails();
    assert_eq!(mails["a"], ["a.0: 1 (0)"]);
    assert_eq!(mails["b"], ["b.0: 1 (0)"]);
    let letters = || engine.state().dead_letters(None, None, 10).unwrap();
    until("it is a dead letter", || {
        let letters = letters();
        letters.len() == 1 && letters[0].status == DeadLetterStatus::Dead
    })
    .await;
    is_mended.store(true, std::sync::atomic::Ordering::Release);
    let decided = engine.dead_letters();
    let redriven = decided.redrive(&[letters()[0].id()], "ann", "mended").await;
    redriven.unwrap();
    outside.until(|outside| outside.taken().len() == 5).await;
    let expected = ["a.0: 1 (0)", "a.1: 1000 (0)", "a.1: 1000 (1)", "a.2: 1 (0)"];
    assert_eq!(outside.mails()["a"], expected);
    assert_eq!(outside.calls().len(), 5);
    close(engine).await;
}

/// Method: the call is let go once all stages are stopped but the one that waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_for_the_call_under_way() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    outside.odd("a.0: 1 (0)", [Then::Wait]);
    let engine = open(folder.path(), &outside).await;
    for _ in 0..2 {
        engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    }
    outside.until(|outside| outside.calls().len() == 1).await;
    let watching = engine.clone();
    let ending = tokio::spawn(close(engine));
    let running = || {
        let stages = watching.stages().into_iter();
        let running = stages.filter(|(_, status)| !matches!(status, StageStatus::Stopped));
        running.map(|(name, _)| name).collect::<Vec<_>>()
    };
    until(
        "all others are stopped",
        || matches!(&running()[..], [name] if name.starts_with("mailing!mails/")),
    )
    .await;
    assert!(!ending.is_finished());
    outside.let_go();
    within(ending).await.unwrap();
    drop(watching);
    let engine = open(folder.path(), &outside).await;
    outside.until(|outside| outside.taken().len() == 2).await;
    close(engine).await;
    assert_eq!(
        outside.calls().len(),
        2,
        "what was under way is not called again"
    );
}

/// The deadline is that of each part of the engine: with a longer one where another part is named, which a busy machine
/// may keep from ending.
#[tokio::test]
async fn a_call_that_does_not_end_is_told_at_the_shutdown() {
    let mut said = Vec::new();
    for deadline_ms in [50, 1_000, 20_000] {
        let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
        outside.odd("a.0: 1 (0)", [Then::Hang]);
        let mut config = crate::support::config();
        config.shutdown_deadline = std::time::Duration::from_millis(deadline_ms);
        let engine = open_with(folder.path(), config, topology(&outside, quick())).await;
        engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
        outside.until(|outside| outside.calls().len() == 1).await;
        said.push(within(engine.shutdown()).await.unwrap_err().to_string());
        if said.iter().any(|error| error.contains("mailing!mails")) {
            return;
        }
    }
    panic!("{said:?}");
}

#[tokio::test]
async fn a_projection_waits_where_an_outbox_is_bounded() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    outside.odd("a.0: 1 (0)", [Then::Wait]);
    let bounded = DeliveryConfig {
        stored_max: Some(1),
        ..quick()
    };
    let engine = open_delivering(folder.path(), &outside, bounded).await;
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    outside.until(|outside| outside.calls().len() == 1).await;
    let seen = engine
        .send::<Tally>("a", Ask::Add(1))
        .await
        .unwrap()
        .token();
    let soon = std::time::Duration::from_millis(20);
    let waited = engine
        .query(&TOTALS)
        .at_least(&seen)
        .deadline(soon)
        .get("a")
        .await;
    assert!(
        waited.unwrap_err().is_retryable(),
        "it waits for the outbox"
    );
    outside.let_go();
    let total = within(
        engine
            .query(&TOTALS)
            .at_least(&seen)
            .deadline(PATIENCE)
            .get("a"),
    )
    .await
    .unwrap();
    assert_eq!(total, Some(2));
    outside.until(|outside| outside.taken().len() == 2).await;
    close(engine).await;
}

#[test]
fn the_kit_shows_what_is_sent() {
    let hello = Happened::Noted {
        text: "hello".to_owned(),
    };
    project(Mailing::<1>::default())
        .events("a", [added(1), added(2)])
        .failing("a", added(FAILS), "no mail")
        .events("b", [hello])
        .then_row(&TOTALS, "a", 3)
        .then_sent(
            &MAILS,
            [
                ("a", "a.0: 1 (0)".to_owned()),
                ("a", "a.1: 2 (0)".to_owned()),
                ("a", "a.1: 2 (1)".to_owned()),
                ("b", "b.0: hello".to_owned()),
            ],
        )
        .then_sent(&MAILS, []);
}

#[test]
fn a_topology_says_who_delivers() {
    let outside = Outside::default();
    let none = Topology::named("mailing")
        .projection(Mailing::<1>::default())
        .build();
    let error = none.unwrap_err().to_string();
    assert!(error.contains("delivered by nobody"), "{error}");
    let other: Outbox<u64> = Outbox::named("mails");
    let error = Topology::named("mailing")
        .projection(Mailing::<1>::default())
        .deliver(&other, |_: Effect<u64>| async { Ok::<_, String>(()) })
        .build();
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("no projection has one with such effects"),
        "{error}"
    );
    let twice = Topology::named("mailing")
        .projection(Mailing::<1>::default())
        .deliver(&MAILS, outside.deliver())
        .deliver(&MAILS, outside.deliver());
    let error = twice.build().unwrap_err().to_string();
    assert!(error.contains("twice"), "{error}");
}

/// Goal: a stream whose effect cannot be delivered keeps no other stream of its partition waiting, however much it has behind that
/// one: more effects than are held in memory, and more bytes than are read at a time. All others waited as long as it was stuck.
#[tokio::test]
async fn a_stream_that_is_stuck_keeps_no_other_waiting() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    outside.odd("a@p.0: 1 (0)", std::iter::repeat_n(Then::Fail, 1_000_000));
    let few = DeliveryConfig {
        held_max: 4,
        calls_max: 2,
        ..quick()
    };
    for config in [few, quick()] {
        let before = outside.taken().len();
        let large = config.held_max > 4;
        let topology = topology(&outside, config);
        let engine = open_with(folder.path(), crate::support::config(), topology).await;
        engine.send::<Tally>("a@p", Ask::Add(1)).await.unwrap();
        for _ in 0..18 {
            let text = "x".repeat(if large { 1 << 20 } else { 1 });
            engine.send::<Tally>("a@p", Ask::Note(text)).await.unwrap();
        }
        for _ in 0..10 {
            engine.send::<Tally>("b@p", Ask::Add(1)).await.unwrap();
        }
        outside
            .until(|outside| outside.taken().len() == before + 10)
            .await;
        close(engine).await;
    }
    assert!(!outside.mails().contains_key("a@p"));
    outside.odd("a@p.0: 1 (0)", []);
    let engine = open(folder.path(), &outside).await;
    outside
        .until(|outside| outside.taken().len() == 20 + 38)
        .await;
    let mails = &outside.mails()["a@p"];
    let version = |mail: &String| -> u64 {
        let (_, rest) = mail.split_once('.').unwrap();
        rest.split_once(':').unwrap().0.parse().unwrap()
    };
    assert!(mails.iter().map(version).eq(0..38), "in order");
    close(engine).await;
}
