//! What is not live sends nothing, and whichever version answers, each effect is sent once.

use std::collections::{BTreeMap, BTreeSet};

use millstream::{Rebuild, RebuildError};

use super::*;

/// Expects exactly these mails, by stream and in order, and no more calls than that, but for `again`.
fn check(outside: &Outside, expected: &BTreeMap<String, Vec<String>>, again: usize) {
    assert_eq!(&outside.mails(), expected);
    let (calls, taken) = (outside.calls().len(), outside.taken().len());
    assert_eq!(calls, taken + again, "the outside has seen repeats");
    let mut known = BTreeMap::new();
    for call in outside.calls() {
        let mail = known.entry(call.id).or_insert_with(|| call.value.clone());
        assert_eq!(*mail, call.value, "two effects under one id");
    }
    let distinct: BTreeSet<_> = outside.taken().into_iter().map(|one| one.value).collect();
    assert_eq!(
        distinct.len(),
        outside.taken().len(),
        "one effect under two ids"
    );
}

async fn caught_up(engine: &Engine) {
    let rebuild = engine.rebuild("mailing").unwrap();
    within(rebuild.caught_up()).await.unwrap();
    let token = engine.durable();
    within(
        engine
            .query(&TOTALS)
            .at_least(&token)
            .deadline(PATIENCE)
            .get("none"),
    )
    .await
    .unwrap();
}

/// Sends an addition and gives the mails about it.
async fn add(engine: &Engine, id: &str, by: i64) -> Vec<String> {
    let ack = engine.send::<Tally>(id, Ask::Add(by)).await.unwrap();
    let version = ack.version.unwrap();
    (0..by.clamp(0, 2))
        .map(|copy| mail(id, version, by, copy))
        .collect()
}

fn expect(expected: &mut BTreeMap<String, Vec<String>>, id: &str, mails: Vec<String>) {
    if !mails.is_empty() {
        expected.entry(id.to_owned()).or_default().extend(mails);
    }
}

fn count(expected: &BTreeMap<String, Vec<String>>) -> usize {
    expected.values().map(Vec::len).sum()
}

#[tokio::test]
async fn the_log_before_the_outbox_is_silent_unless_it_is_asked_for() {
    for is_early in [false, true] {
        let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
        let before = Topology::named("mailing")
            .aggregate::<Tally>()
            .build()
            .unwrap();
        let engine = open_with(folder.path(), config(), before).await;
        let mut expected = BTreeMap::new();
        for id in ["a", "b", "a"] {
            let mails = add(&engine, id, 2).await;
            if is_early {
                expect(&mut expected, id, mails);
            }
        }
        close(engine).await;
        let declared = || {
            let builder = Topology::named("mailing").aggregate::<Tally>();
            let builder = if is_early {
                builder.projection(Mailing::<1, true>::default())
            } else {
                builder.projection(Mailing::<1>::default())
            };
            builder
                .deliver_with(&MAILS, quick(), outside.deliver())
                .build()
                .unwrap()
        };
        // Where it begins is known from the first start on, also if nothing is appended before the next.
        close(open_with(folder.path(), config(), declared()).await).await;
        let engine = open_with(folder.path(), config(), declared()).await;
        let mails = add(&engine, "a", 1).await;
        expect(&mut expected, "a", mails);
        outside
            .until(|outside| outside.taken().len() == count(&expected))
            .await;
        check(&outside, &expected, 0);
        // What asks about the past has no way out.
        assert!(
            engine
                .verify(Mailing::<1>::default())
                .await
                .unwrap()
                .is_good()
        );
        close(engine).await;
        check(&outside, &expected, 0);
    }
}

#[tokio::test]
async fn rows_that_are_made_anew_are_silent() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let engine = open(folder.path(), &outside).await;
    let mut expected = BTreeMap::new();
    for _ in 0..3 {
        let mails = add(&engine, "a", 1).await;
        expect(&mut expected, "a", mails);
    }
    outside.until(|outside| outside.taken().len() == 3).await;
    close(engine).await;
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let engine = open(folder.path(), &outside).await;
    let mails = add(&engine, "a", 1).await;
    expect(&mut expected, "a", mails);
    outside.until(|outside| outside.taken().len() == 4).await;
    check(&outside, &expected, 0);
    assert_eq!(outside.calls().len(), 4);
    close(engine).await;
}

async fn switch(rebuild: &Rebuild) {
    match rebuild.active() {
        1 => within(rebuild.switch()).await.unwrap(),
        _ => within(rebuild.switch_back()).await.unwrap(),
    };
}

/// Goal: under load, while versions are switched to and fro, each effect is sent exactly once, in order per stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_effect_is_sent_once_while_versions_are_switched() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let mut expected = BTreeMap::new();
    for round in 0..2 {
        let engine = open_with(folder.path(), config(), two(&outside)).await;
        let writers = (0..3).map(|task| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let id = format!("t{task}");
                let mut mails = Vec::new();
                for n in 0..60 {
                    mails.extend(add(&engine, &id, 1 + n % 2).await);
                }
                (id, mails)
            })
        });
        let writers: Vec<_> = writers.collect();
        let rebuild = engine.rebuild("mailing").unwrap();
        for _ in 0..5 {
            switch(&rebuild).await;
        }
        for writer in writers {
            let (id, mails) = within(writer).await.unwrap();
            expect(&mut expected, &id, mails);
        }
        if round == 0 {
            switch(&rebuild).await;
        }
        drop(rebuild);
        close(engine).await;
    }
    let engine = open_with(folder.path(), config(), two(&outside)).await;
    outside
        .until(|outside| outside.taken().len() >= count(&expected))
        .await;
    let mails = engine.outbox(&MAILS).unwrap();
    until("all are delivered", || mails.waiting() == 0).await;
    drop(mails);
    close(engine).await;
    check(&outside, &expected, 0);
}

/// Goal: what the new version has applied in silence before a switch is sent by the old one, which is far behind. Method: the
/// old one is held up in the middle of a turn, and let go when the new one stands still for the switch.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_new_version_has_applied_already_is_sent_by_the_old_one() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let held = std::sync::Arc::new(Held::default());
    let first = Mailing {
        held: Some(std::sync::Arc::clone(&held)),
        ..Mailing::default()
    };
    let engine = open_with(folder.path(), config(), two_of(first, &outside)).await;
    engine
        .send::<Tally>("a", Ask::Note(HOLD.to_owned()))
        .await
        .unwrap();
    let mut expected = BTreeMap::from([("a".to_owned(), vec!["a.0: hold".to_owned()])]);
    let second = engine.version::<Mailing<2>>().unwrap();
    for _ in 0..10 {
        let mails = add(&engine, "a", 1).await;
        expect(&mut expected, "a", mails);
        let seen = engine.durable();
        within(
            second
                .query(&TOTALS)
                .at_least(&seen)
                .deadline(PATIENCE)
                .get("a"),
        )
        .await
        .unwrap();
    }
    let rebuild = engine.rebuild("mailing").unwrap();
    let switching = tokio::spawn(async move { rebuild.switch().await });
    let soon = std::time::Duration::from_millis(10);
    loop {
        let mails = add(&engine, "a", 1).await;
        expect(&mut expected, "a", mails);
        let seen = engine.durable();
        let query = second.query(&TOTALS).at_least(&seen).deadline(soon);
        if query.get("a").await.is_err() {
            break;
        }
    }
    held.let_go();
    assert_eq!(within(switching).await.unwrap().unwrap(), 2);
    let mails = add(&engine, "a", 2).await;
    expect(&mut expected, "a", mails);
    outside
        .until(|outside| outside.taken().len() >= count(&expected))
        .await;
    drop(second);
    close(engine).await;
    check(&outside, &expected, 0);
}

/// Goal: the same as a naive model says, with events that fail in one version, or once, and with restarts. Each event is the
/// affair of the version that answers when it is appended: what waits in that one is not sent by the other.
#[tokio::test]
async fn what_fails_is_the_affair_of_the_version_that_answered() {
    let mut random = Random::new();
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let mut engine = open_with(folder.path(), config(), two(&outside)).await;
    let mut expected = BTreeMap::new();
    // Streams that wait, by version.
    let mut parked = BTreeSet::new();
    let mut active = 1;
    for _ in 0..60 {
        match random.below(20) {
            0 => {
                close(engine).await;
                engine = open_with(folder.path(), config(), two(&outside)).await;
            }
            1 | 2 => {
                // So that the switch lies behind all that was appended.
                caught_up(&engine).await;
                switch(&engine.rebuild("mailing").unwrap()).await;
                active = 3 - active;
            }
            _ => {
                let id = format!("t{}", random.below(4));
                let by = match random.below(12) {
                    0 => FAILS + 1,
                    1 => FAILS + 2,
                    2 => FLAKY,
                    other => i64::try_from(other).unwrap() % 3,
                };
                let mails = add(&engine, &id, by).await;
                for version in [1, 2] {
                    if by == FAILS + version {
                        parked.insert((id.clone(), version));
                    }
                }
                if !parked.contains(&(id.clone(), active)) {
                    expect(&mut expected, &id, mails);
                }
            }
        }
    }
    caught_up(&engine).await;
    outside
        .until(|outside| outside.taken().len() >= count(&expected))
        .await;
    let mails = engine.outbox(&MAILS).unwrap();
    until("all are delivered", || mails.waiting() == 0).await;
    drop(mails);
    close(engine).await;
    check(&outside, &expected, 0);
}

/// Goal: what was stored and not delivered by a version that is not even declared any more is delivered, and the one that
/// answers goes on exactly behind it.
#[tokio::test]
async fn a_program_with_another_version_goes_on_where_the_one_before_ends() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let mut expected = BTreeMap::new();
    let engine = open(folder.path(), &outside).await;
    outside.odd("a.0: 1 (0)", std::iter::repeat_n(Then::Fail, 3));
    for _ in 0..3 {
        let mails = add(&engine, "a", 1).await;
        expect(&mut expected, "a", mails);
    }
    close(engine).await;
    let other = Topology::named("mailing")
        .aggregate::<Tally>()
        .projection(Mailing::<2>::default())
        .deliver_with(&MAILS, quick(), outside.deliver())
        .build()
        .unwrap();
    let engine = open_with(folder.path(), config(), other).await;
    let mails = add(&engine, "a", 2).await;
    expect(&mut expected, "a", mails);
    outside.until(|outside| outside.taken().len() == 5).await;
    close(engine).await;
    check(&outside, &expected, 3);
}

/// Goal: a version that was given up and owes effects is not switched away from without a word; once it is mended it sends them,
/// and then is.
#[tokio::test]
async fn a_version_that_was_given_up_keeps_the_effects_that_it_owes() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let limited = |parked_keys_max| {
        let limited = ProjectionConfig {
            parked_keys_max,
            ..failing_at_once()
        };
        Topology::named("mailing")
            .aggregate::<Tally>()
            .projection_with(Mailing::<1>::default(), limited)
            .candidate(Mailing::<2>::default())
            .deliver_with(&MAILS, quick(), outside.deliver())
            .build()
            .unwrap()
    };
    let mut config = config();
    // A projection that halts is given up at once.
    config.restart.attempts_max = 0;
    let engine = open_with(folder.path(), config.clone(), limited(1)).await;
    let mut expected = BTreeMap::new();
    let sent = add(&engine, "a", 1).await;
    expect(&mut expected, "a", sent);
    outside.until(|outside| outside.taken().len() == 1).await;
    // More than one to a partition, of some.
    for id in ["b", "c", "d", "e", "f", "g", "h", "i"] {
        add(&engine, id, FAILS + 1).await;
    }
    let rebuild = engine.rebuild("mailing").unwrap();
    until("it is given up", || {
        let versions = rebuild.versions();
        let mut versions = versions.iter();
        versions.any(|one| one.version == 1 && one.given_up.is_some())
    })
    .await;
    let sent = add(&engine, "a", 2).await;
    expect(&mut expected, "a", sent);
    within(rebuild.caught_up()).await.unwrap();
    let refused = within(rebuild.switch()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            RebuildError::Unsent {
                version: 1,
                events: 1..,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(rebuild.active(), 1);
    drop(rebuild);
    let ended = within(engine.shutdown()).await.unwrap_err().to_string();
    assert!(ended.contains("mailing"), "{ended}");
    drop(engine);
    // More may wait.
    let engine = open_with(folder.path(), config, limited(10)).await;
    caught_up(&engine).await;
    switch(&engine.rebuild("mailing").unwrap()).await;
    let sent = add(&engine, "a", 1).await;
    expect(&mut expected, "a", sent);
    outside
        .until(|outside| outside.taken().len() >= count(&expected))
        .await;
    close(engine).await;
    check(&outside, &expected, 0);
}
