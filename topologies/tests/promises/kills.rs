//! Danger: the process is killed. Whatever was acknowledged is there, whole, once, and every table agrees with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use millstream::prelude::*;

use crate::processes::{self, Victim};
use crate::support::*;

/// Names the folder to the process that is going to be killed, and which round it is.
const VICTIM: &str = "MILLSTREAM_ENGINE_VICTIM";
const ROUND: &str = "MILLSTREAM_ENGINE_ROUND";

/// Tasks of the victim that send commands.
const TASKS: u64 = 8;

/// Rows are stored and let go often, and snapshots are taken, so that a kill meets all of it.
async fn open_busy(folder: &Path) -> Engine {
    let aggregate = AggregateConfig {
        resident_bytes_max: 2_000,
        reload_target_us: 0,
        ..AggregateConfig::default()
    };
    let projection = ProjectionConfig {
        store_every_ms: 2,
        hot_rows_max: 12,
        ..ProjectionConfig::default()
    };
    open_with(folder, config(), topology_with(aggregate, projection)).await
}

/// Command `n` of a task of a round: its name, which is also the value of each of its events; whom it goes to, and
/// how many events it gives.
pub(super) fn command(round: u64, task: u64, n: u64) -> (u128, String, Vec<i64>) {
    let name = (round * TASKS + task) * 1_000_000 + n;
    let id = format!("t{}", (name ^ (name >> 5)) % 23);
    (
        u128::from(name),
        id,
        vec![name as i64; 1 + (n % 3) as usize],
    )
}

/// Sends commands until it is killed, and says which were acknowledged. Does nothing by itself.
#[test]
fn victim() {
    let Some((folder, round)) = told() else {
        return;
    };
    runtime().block_on(async {
        let engine = open_busy(&folder).await;
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    for n in 0.. {
                        let (name, id, values) = command(round, task, n);
                        let sent = engine.send_with::<Tally>(&id, Ask::AddAll(values), named(name));
                        let ack = sent.await.unwrap();
                        assert!(!ack.is_repeat);
                        let version = ack.version.unwrap();
                        processes::acknowledge(format_args!("{task} {n} {version}"));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// The task, the number and the version that the victim names.
pub(super) struct Answer(pub(super) u64, pub(super) u64, pub(super) u64);

impl FromStr for Answer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse().ok();
        let mut answer = || Some(Self(number()?, number()?, number()?));
        answer().ok_or(())
    }
}

/// Kills a test that is a victim in this round, on this folder, after some answers; gives them.
pub(super) fn killed(victim: &str, folder: &Path, round: u64, random: &mut Random) -> Vec<Answer> {
    let mut victim = processes::alone(victim);
    victim.env(VICTIM, folder).env(ROUND, round.to_string());
    let wanted = 1 + random.below(400) as usize;
    Victim::of(&mut victim).killed_after(wanted)
}

/// The folder and the round, in a process that is going to be killed.
pub(super) fn told() -> Option<(PathBuf, u64)> {
    let folder = std::env::var_os(VICTIM)?;
    let round = std::env::var(ROUND).unwrap();
    Some((folder.into(), round.parse().unwrap()))
}

/// Goal: after kill -9 at any moment, every acknowledged command is there, of each command all events or none, without
/// gaps; the tables equal a replay; the last acknowledged command of each task is still known by its id. Method:
/// a real process is killed after a varying number of answers, over and over on the same folder. `KILLS=` rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut all = BTreeMap::<u64, (String, u64)>::new();
    for round in 0..processes::kills() {
        let mut last = BTreeMap::new();
        for Answer(task, n, version) in killed("kills::victim", folder.path(), round, &mut random) {
            let (name, id, _) = command(round, task, n);
            all.insert(name as u64, (id, version));
            last.insert(task, (n, version));
        }
        let engine = open_busy(folder.path()).await;
        let streams = check(&engine).await;
        compare(&streams, &all, round);
        for (task, (n, version)) in last {
            let (name, id, values) = command(round, task, n);
            let sent = engine.send_with::<Tally>(&id, Ask::AddAll(values), named(name));
            let ack = sent.await.unwrap();
            assert!(ack.is_repeat && ack.version == Some(version), "{ack:?}");
        }
        assert_eq!(self::streams(&engine), streams, "a repeat had an effect");
        close(engine).await;
    }
}

pub(super) fn compare(streams: &Streams, acknowledged: &BTreeMap<u64, (String, u64)>, round: u64) {
    let mut found = BTreeMap::<u64, (String, u64, usize)>::new();
    for (stream, events) in streams {
        for (version, event) in (0u64..).zip(events) {
            let Happened::Added { by } = event else {
                panic!("{event:?}")
            };
            let entry = found
                .entry(*by as u64)
                .or_insert((stream.clone(), version, 0));
            assert_eq!(entry.0, *stream);
            entry.1 = version;
            entry.2 += 1;
        }
    }
    for (name, (_, _, events)) in &found {
        let (n, task) = (name % 1_000_000, name / 1_000_000);
        let (_, _, values) = command(task / TASKS, task % TASKS, n);
        assert_eq!(
            *events,
            values.len(),
            "half of command {name}, round {round}"
        );
    }
    for (name, (id, version)) in acknowledged {
        let (stream, last, _) = found
            .get(name)
            .unwrap_or_else(|| panic!("{name} is lost, round {round}"));
        assert_eq!(
            (stream.strip_prefix("tally-").unwrap(), last),
            (&**id, version)
        );
    }
}
