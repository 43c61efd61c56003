//! Fail points of side effects: stored with rows, delivered, deleted, and handed from one version of a projection to another.
//!
//! Each event sends one effect, which the outside writes to a file. Two versions run; one is switched to in the middle, and
//! back. Whatever step is a process's last, in the end each effect is in the file, those of a stream in order, and what is there
//! twice is there under one id.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use millstream::prelude::*;
use millstream_engine::fail_points::{self, Point};

use super::{Act, End, order, process};
use crate::engine::{config, data_in, runtime, until, within};
use crate::rounds::{Folder, verify};
use crate::sending::{COUNTS, SENT, Sends, Value};

/// The test that is started as a process.
const VICTIM: &str = "points::effects::victim";
const STREAMS: u64 = 20;
/// Events of each stream: some before the first switch, some between the two, some behind.
const EVENTS: u64 = 6;

/// The file of the outside: a line per call, its id, stream and value.
fn outside(folder: &Path) -> std::path::PathBuf {
    folder.join("outside")
}

async fn open(folder: &Path) -> Engine {
    let file = outside(folder);
    let topology = Topology::named("effects")
        .projection(Sends::<1>::default())
        .candidate(Sends::<2>::default())
        .deliver(&SENT, move |effect: Effect<u64>| {
            let file = file.clone();
            async move {
                let mut file = OpenOptions::new().create(true).append(true).open(file)?;
                // One write: a process that dies leaves no half of a line.
                let line = format!("{} {} {}\n", effect.id, effect.key, effect.value);
                file.write_all(line.as_bytes())
            }
        })
        .build()
        .unwrap();
    let builder = Engine::open(data_in(folder)).config(config(3));
    builder.run(topology).await.unwrap()
}

/// Appends events of all streams up to a number.
async fn append(engine: &Engine, upto: u64) {
    for n in 0..STREAMS {
        let stream = StreamId::new("value", &n.to_string()).unwrap();
        let stored = engine.events::<Value>(&stream, 0, usize::MAX).unwrap();
        for at in stored.len() as u64..upto {
            let value = Value(n * EVENTS + at);
            process::append(engine, &stream, at, Expected::Any, value).await;
        }
    }
}

async fn delivered(engine: &Engine) {
    let token = engine.durable();
    within(engine.query(&COUNTS).at_least(&token).get("none"))
        .await
        .unwrap();
    let version = engine.rebuild("sends").unwrap();
    within(version.caught_up()).await.unwrap();
    let sent = engine.outbox(&SENT).unwrap();
    // What is shown may not be stored yet: the file says what has come.
    let folder = engine.folder().parent().unwrap().to_path_buf();
    let events: u64 = engine
        .table(&COUNTS)
        .unwrap()
        .rows()
        .unwrap()
        .iter()
        .map(|row| row.1)
        .sum();
    until(|| async { lines(&folder).1.len() as u64 >= events && sent.waiting() == 0 }).await;
}

/// All from wherever an earlier process has come to.
async fn work(engine: &Engine) {
    let rebuild = engine.rebuild("sends").unwrap();
    append(engine, 2).await;
    if rebuild.active() == 1 {
        within(rebuild.caught_up()).await.unwrap();
        within(rebuild.switch()).await.unwrap();
    }
    append(engine, 4).await;
    delivered(engine).await;
    within(rebuild.switch_back()).await.unwrap();
    append(engine, EVENTS).await;
    delivered(engine).await;
}

/// Ids by value, and values by stream in the order in which they came first.
type Lines = (BTreeMap<u64, BTreeSet<String>>, Vec<(String, u64)>);

/// What the outside has written down.
fn lines(folder: &Path) -> Lines {
    let text = std::fs::read_to_string(outside(folder)).unwrap_or_default();
    let (mut ids, mut first) = (BTreeMap::<_, BTreeSet<_>>::new(), Vec::new());
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let value: u64 = words[2].parse().unwrap();
        if ids.entry(value).or_default().insert(words[0].to_owned()) {
            first.push((words[1].to_owned(), value));
        }
    }
    (ids, first)
}

fn check(folder: &Path) {
    let (ids, first) = lines(folder);
    assert!(
        ids.values().all(|ids| ids.len() == 1),
        "one effect under two ids"
    );
    let mut streams = BTreeMap::<_, Vec<_>>::new();
    for (stream, value) in first {
        streams.entry(stream).or_default().push(value);
    }
    let expected = (0..STREAMS).map(|n| {
        let values = (0..EVENTS).map(|at| n * EVENTS + at);
        (n.to_string(), values.collect::<Vec<_>>())
    });
    assert_eq!(streams, expected.collect());
}

/// Does nothing by itself.
#[test]
fn victim() {
    let Some(folder) = process::begin() else {
        return;
    };
    runtime().block_on(async {
        let engine = open(&folder).await;
        work(&engine).await;
        within(engine.shutdown()).await.unwrap();
        process::finish();
    });
}

pub(super) fn dies(point: Point, passing: u64) -> bool {
    let folder = Folder::new();
    let orders = order(point, Act::Die, passing);
    let end = process::run(VICTIM, folder.path(), (point, &orders), || {});
    check(folder.path());
    verify(&data_in(folder.path()));
    end == End::Died
}

/// Goal: the same at the steps that effects share with others: rows that are stored, commits, and a switch.
#[test]
fn no_effect_is_lost_at_steps_of_others() {
    let points = [
        (fail_points::PROJECTION_BEFORE_STORE, 3),
        (fail_points::STATE_BEFORE_COMMIT, 9),
        (fail_points::STATE_AFTER_COMMIT, 9),
        (fail_points::VERSION_BEFORE_SWITCH, 1),
        (fail_points::VERSION_SWITCHED, 1),
        (fail_points::VERSION_SHOWN, 1),
    ];
    for (point, passing) in points {
        assert!(dies(point, passing), "no process comes to {}", point.name);
    }
}
