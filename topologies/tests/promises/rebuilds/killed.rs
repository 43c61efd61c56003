//! Versions that are built, compared, switched and dropped by a process that is killed in all of it.

use std::collections::BTreeMap;

use super::*;
use crate::kills::{self, Answer};
use crate::processes;

/// What a round declares: some versions come and go.
fn declared(round: u64) -> Topology {
    let tallies = tallies();
    let declared = match round % 4 {
        0 => tallies
            .projection_with(SumsOf::<1>, busy())
            .candidate_with(SumsOf::<2>, busy()),
        1 => tallies
            .projection_with(SumsOf::<2>, busy())
            .candidate_with(SumsOf::<1>, busy())
            .candidate_with(SumsOf::<3>, busy()),
        2 => tallies
            .projection_with(SumsOf::<3>, busy())
            .candidate_with(SumsOf::<2>, busy()),
        _ => tallies.projection_with(SumsOf::<1>, busy()),
    };
    declared.build().unwrap()
}

/// Sends commands, and switches, compares and drops versions, until it is killed. Does nothing by itself.
#[test]
fn victim() {
    let Some((folder, round)) = kills::told() else {
        return;
    };
    runtime().block_on(async {
        let engine = start(&folder, declared(round)).await;
        let tasks = (0..4).map(|task| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let (name, id, values) = kills::command(round, task, n);
                    let sent = engine.send_with::<Tally>(&id, Ask::AddAll(values), named(name));
                    let ack = sent.await.unwrap();
                    let query = engine
                        .query(&SUMS)
                        .at_least(&ack.token())
                        .deadline(PATIENCE);
                    let row = query.get(id.as_str()).await.unwrap().unwrap();
                    assert!(row.events > ack.version.unwrap(), "not its own write");
                    processes::acknowledge(format_args!("{task} {n} {}", ack.version.unwrap()));
                }
            })
        });
        let tasks: Vec<_> = tasks.collect();
        change(&engine, round).await;
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn change(engine: &Engine, round: u64) {
    let rebuild = engine.rebuild("sums").unwrap();
    for n in 0.. {
        let others = rebuild.versions();
        let others: Vec<_> = others.iter().filter(|one| !one.is_active).collect();
        let Some(other) = others.get(n % others.len().max(1)) else {
            return;
        };
        let one = rebuild.clone().to(other.version).unwrap();
        one.caught_up().await.unwrap();
        assert!(one.compare().await.unwrap().is_same());
        let before = one.active();
        assert_eq!(one.switch().await.unwrap(), other.version);
        if n % 2 == 0 {
            assert_eq!(one.switch_back().await.unwrap(), before);
        } else if n as u64 > 3 + round % 7 {
            one.drop_version(before).await.unwrap();
        }
    }
}

/// Goal: after kill -9 at any moment of building, comparing, switching, switching back and dropping, one version answers,
/// with all that was acknowledged; each version that runs has the rows of a replay. Method: a real process that does all
/// of it under load is killed, over and over on the same folder. `KILLS=` rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut all = BTreeMap::<u64, (String, u64)>::new();
    for round in 0..processes::kills() {
        let victim = "rebuilds::killed::victim";
        for Answer(task, n, version) in kills::killed(victim, folder.path(), round, &mut random) {
            let (name, id, _) = kills::command(round, task, n);
            all.insert(name as u64, (id, version));
        }
        let engine = start(folder.path(), declared(round)).await;
        let streams = check(&engine).await;
        kills::compare(&streams, &all, round);
        let rebuild = engine.rebuild("sums").unwrap();
        let known = engine.state().versions("sums").unwrap().unwrap();
        assert_eq!(known.active, rebuild.active());
        for version in rebuild.versions() {
            if !version.is_active {
                let one = rebuild.clone().to(version.version).unwrap();
                within(one.caught_up()).await.unwrap();
                let compared = within(one.compare()).await.unwrap();
                assert!(compared.is_same(), "round {round}: {compared:?}");
            }
        }
        drop(rebuild);
        close(engine).await;
    }
}
