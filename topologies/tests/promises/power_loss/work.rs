//! The store whose power is lost: what is done to it, and what must be found of that.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use millstream::prelude::*;
use millstream_engine::event::EventId;
use millstream_engine::partition::NewEvent;
use uuid::Uuid;

use crate::preloaded;
use crate::processes::random;
use crate::support::*;

/// Times that the store is opened, and what is done meanwhile by each task.
const ROUNDS: u64 = 2;
const TASKS: u64 = 8;
const COMMANDS: u64 = 60;
const APPENDERS: u64 = 2;
const APPENDS: u64 = 30;
/// Events that no compression makes smaller, so that the files grow.
const NOTE_BYTES: usize = 6_000;

/// Rows are stored often, snapshots are taken, and files are grown in small steps, so that the power is lost in all
/// of it.
pub(super) async fn open_store(folder: &Path) -> Result<Engine, String> {
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
    let mut config = config();
    config.log.preallocate_step_bytes = 128 << 10;
    config.state.preallocate_step_bytes = 128 << 10;
    let opened = try_open(folder, config, topology_with(aggregate, projection)).await;
    opened.map_err(|error| format!("refused: {error}"))
}

/// Command `n` of a task: its name, whom it goes to, and what it makes happen.
fn command(task: u64, n: u64) -> (u64, String, Vec<Happened>) {
    let name = task * 1_000_000 + n + 1;
    let id = format!("t{}", (name ^ (name >> 5)) % 23);
    let happens = if n % 4 == 3 {
        let mut seed = name;
        let text = (0..NOTE_BYTES).map(|_| char::from(b'!' + (random(&mut seed) % 64) as u8));
        vec![Happened::Noted {
            text: text.collect(),
        }]
    } else {
        vec![added(name as i64); 1 + (n % 3) as usize]
    };
    (name, id, happens)
}

async fn send(engine: &Engine, task: u64, n: u64) -> Ack {
    let (name, id, happens) = command(task, n);
    let mut values = Vec::new();
    for event in happens {
        match event {
            Happened::Added { by } => values.push(by),
            Happened::Noted { text } => {
                let sent = engine.send_with::<Tally>(&id, Ask::Note(text), named(name.into()));
                return within(sent).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    let sent = engine.send_with::<Tally>(&id, Ask::AddAll(values), named(name.into()));
    within(sent).await.unwrap()
}

/// Append `n` of an appender: two events that know it.
async fn append(engine: &Engine, appender: u64, n: u64) -> u64 {
    let event = |half: u64| {
        let id = Uuid::from_u128(u128::from(appender * 1_000_000 + n * 2 + half + 1));
        NewEvent::json("Noted", format!("{{\"n\":{n}}}")).with_id(EventId(id))
    };
    let expected = (n * 2).checked_sub(1);
    let expected = expected.map_or(Expected::NoStream, Expected::Exact);
    let stream = format!("note-{appender}").parse().unwrap();
    let events = vec![event(0), event(1)];
    let appended = engine.appender().append(stream, expected, events).await;
    appended.unwrap().last_version
}

/// Does all of the work. Each answer is one write to `answers` as soon as it is seen.
pub(super) async fn run(folder: &Path, answers: File) {
    let answers = Arc::new(answers);
    for round in 0..ROUNDS {
        let engine = open_store(folder).await.unwrap();
        let tasks: Vec<_> = (0..TASKS + APPENDERS)
            .map(|task| {
                let (engine, answers) = (engine.clone(), Arc::clone(&answers));
                let count = if task < TASKS { COMMANDS } else { APPENDS };
                tokio::spawn(async move {
                    for n in round * count..(round + 1) * count {
                        let version = if task < TASKS {
                            send(&engine, task, n).await.version.unwrap()
                        } else {
                            append(&engine, task - TASKS, n).await
                        };
                        let answer = format!("{task} {n} {version}");
                        (&*answers).write_all(answer.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        close(engine).await;
    }
}

/// Looks at the store. For each stream one write to `answers`: how many events of it were seen.
pub(super) async fn look(folder: &Path, mut answers: File) {
    let engine = open_store(folder).await.unwrap();
    for (stream, events) in streams(&engine) {
        let answer = format!("{stream} {}", events.len());
        answers.write_all(answer.as_bytes()).unwrap();
    }
    close(engine).await;
}

/// Opens what is left of the store and checks it against the answers that were seen. Panics or says what is wrong.
pub(super) async fn examine(folder: &Path, answers: &[&str]) -> Result<(), String> {
    let engine = open_store(folder).await?;
    // The state may be older than the log, but not damaged.
    assert!(!folder.join("state.damaged-1").exists(), "a damaged state");
    let streams = check(&engine).await;
    let mut last = [None; TASKS as usize];
    for answer in answers {
        if let Some((stream, seen)) = answer.split_once(' ')
            && stream.starts_with("tally-")
        {
            let stored = streams.get(stream).map_or(0, Vec::len);
            let seen: usize = seen.parse().unwrap();
            assert!(stored >= seen, "{answer} were seen, {stored} are there");
            continue;
        }
        let numbers: Vec<u64> = answer.split(' ').map(|n| n.parse().unwrap()).collect();
        let [task, n, version] = numbers[..] else {
            panic!("{answer}")
        };
        if task >= TASKS {
            continue;
        }
        let (_, id, happens) = command(task, n);
        let from = version as usize + 1 - happens.len();
        let stream = streams.get(&format!("tally-{id}"));
        let found = stream.and_then(|events| events.get(from..=version as usize));
        assert!(
            found == Some(&happens[..]),
            "{answer} is lost: {}",
            stream.map_or(0, Vec::len)
        );
        last[task as usize] = Some((n, version));
    }
    examine_whole(&streams);
    examine_appends(&engine, answers);
    for (task, seen) in (0..).zip(last) {
        if let Some((n, version)) = seen {
            let ack = send(&engine, task, n).await;
            assert!(ack.is_repeat && ack.version == Some(version), "{ack:?}");
        }
    }
    // It goes on.
    for number in 0..PARTITIONS {
        let id = id_in(number, 30);
        within(engine.send::<Tally>(&id, Ask::Add(1)))
            .await
            .unwrap();
    }
    check(&engine).await;
    close(engine).await;
    Ok(())
}

/// Of each command all events are there, or none, and once; also of one whose answer nobody saw.
fn examine_whole(streams: &Streams) {
    let mut counts = std::collections::BTreeMap::<u64, usize>::new();
    for event in streams.values().flatten() {
        if let Happened::Added { by } = event {
            *counts.entry(*by as u64).or_default() += 1;
        }
    }
    for (name, count) in counts {
        let (task, n) = (name / 1_000_000, name % 1_000_000 - 1);
        let whole = command(task, n).2.len();
        assert_eq!(count, whole, "half of command {n} of task {task}");
    }
}

fn examine_appends(engine: &Engine, answers: &[&str]) {
    for appender in 0..APPENDERS {
        let stream: StreamId = format!("note-{appender}").parse().unwrap();
        let stored = preloaded::events_of_pairs(engine, &stream);
        let own = format!("{} ", TASKS + appender);
        let seen = answers.iter().filter(|answer| answer.starts_with(&own));
        let versions = seen.map(|answer| answer.rsplit(' ').next().unwrap().parse().unwrap());
        let last: Option<u64> = versions.max();
        assert!(last < Some(stored), "append {last:?} of {appender} is lost");
    }
}
