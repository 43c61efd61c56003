//! What a dataflow has come to: everything that it wrote, and how two of these are compared.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use millstream::prelude::*;
use millstream_engine::event::EventId;

use crate::engine::written;
use crate::flows::{Delivered, Kind, PRODUCER, READ, ROWS, Row, delivered_in, files_in};
use crate::plan::{Item, Plan};

/// A row with its event time.
pub(crate) type Timed = (i64, Row);

/// All that a dataflow wrote.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) table: Vec<(String, Row)>,
    /// How many events the second dataflow has read, by key.
    pub(crate) read: Vec<(u16, u64)>,
    /// By stream.
    pub(crate) events: BTreeMap<String, Vec<Timed>>,
    /// Ids of events that are not those that their producer gives.
    pub(crate) foreign: Vec<String>,
    pub(crate) files: Vec<Row>,
    pub(crate) delivered: Vec<Timed>,
    pub(crate) letters: Vec<Item>,
}

/// Reads it, once all is done.
pub(crate) async fn read(engine: &Engine, plan: &Plan, outside: &Path) -> Outcome {
    let kind = Kind::of(plan);
    let mut outcome = Outcome::default();
    if kind.has_table() {
        outcome.table = engine.query(&ROWS).rows().await.unwrap();
    }
    if kind.has_reader() {
        outcome.read = engine.query(&READ).rows().await.unwrap();
    }
    for (stream, count) in written(engine) {
        let id: StreamId = stream.parse().unwrap();
        let events = engine.events::<Row>(&id, 0, usize::MAX).unwrap();
        assert_eq!(events.len() as u64, count, "{stream}");
        for (version, event) in (0..).zip(&events) {
            assert_eq!(event.version, version, "{stream}");
            if event.id != EventId::derived(PRODUCER, &stream, version) {
                outcome.foreign.push(format!("{stream}, event {version}"));
            }
        }
        let events = events.into_iter();
        let timed = events.map(|event| (event.event_time.0, event.payload));
        outcome.events.insert(stream, timed.collect());
    }
    outcome.files = files(outside)
        .values()
        .flat_map(|text| rows(text))
        .collect();
    outcome.files.sort();
    outcome.delivered = delivered(outside);
    let letters = engine.state().dead_letters(None, None, usize::MAX).unwrap();
    let items = letters
        .iter()
        .map(|letter| serde_json::from_slice(&letter.payload).unwrap());
    outcome.letters = items.collect();
    outcome.letters.sort();
    outcome
}

/// Names and paths of what is in the folder of files.
fn entries(outside: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = std::fs::read_dir(files_in(outside)).into_iter().flatten();
    entries.map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, path)
    })
}

/// Files that have their name, with what is in them.
pub(crate) fn files(outside: &Path) -> BTreeMap<String, String> {
    let seen = entries(outside).filter(|(name, _)| !name.starts_with('.'));
    let read = |path| std::fs::read_to_string(path).unwrap();
    seen.map(|(name, path)| (name, read(path))).collect()
}

/// How many have no name yet.
pub(crate) fn hidden_files(outside: &Path) -> usize {
    let hidden = entries(outside).filter(|(name, _)| name.starts_with('.'));
    hidden.count()
}

/// Rows of a file, which are JSON, or CSV with a header.
fn rows(text: &str) -> Vec<Row> {
    let header = "key,start,end,left,right,is_taken_back";
    let Some(lines) = text.strip_prefix(header) else {
        let lines = text.lines();
        return lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
    };
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| fields[at].parse::<i64>().unwrap();
        Row {
            key: number(0) as u16,
            start: number(1),
            end: number(2),
            left: number(3),
            right: number(4),
            is_taken_back: fields[5].parse().unwrap(),
        }
    };
    lines.lines().skip(1).map(row).collect()
}

/// What was delivered, each id once. Whatever has an id twice has the same content.
fn delivered(outside: &Path) -> Vec<Timed> {
    let text = std::fs::read_to_string(delivered_in(outside)).unwrap_or_default();
    let mut results = BTreeMap::new();
    for line in text.lines() {
        let result: Delivered = serde_json::from_str(line).unwrap();
        let id = (result.stage, result.partition, result.number);
        let content = (result.time, result.row);
        if let Some(before) = results.insert(id.clone(), content.clone()) {
            assert_eq!(before, content, "two results have the id {id:?}");
        }
    }
    let mut delivered: Vec<_> = results.into_values().collect();
    delivered.sort();
    delivered
}

impl Outcome {
    /// Compares with what an undisturbed run has come to, part by part.
    pub(crate) fn compare(&self, expected: &Self, plan: &Plan) {
        assert!(self.foreign.is_empty(), "ids: {:?}", self.foreign);
        if Kind::of(plan).is_by_arrival() {
            return self.agree(plan);
        }
        same("the table", &self.table, &expected.table);
        same("late items", &self.letters, &expected.letters);
        same("files", &self.files, &expected.files);
        same("deliveries", &self.delivered, &expected.delivered);
        let is_in_order = Kind::of(plan).is_in_order();
        let streams = |outcome: &Self| outcome.events.keys().cloned().collect::<Vec<_>>();
        same("streams", &streams(self), &streams(expected));
        for (stream, events) in &self.events {
            let expected = &expected.events[stream];
            if is_in_order {
                same(stream, events, expected);
            } else {
                same(stream, &net(events), &net(expected));
            }
        }
        let written = |(stream, events): (&String, &Vec<Timed>)| {
            let (_, key) = stream.split_once('-').unwrap();
            (key.parse().unwrap(), events.len() as u64)
        };
        if Kind::of(plan).has_reader() {
            let mut written: Vec<(u16, u64)> = self.events.iter().map(written).collect();
            written.sort_unstable();
            same("the second dataflow", &self.read, &written);
        }
    }
}

impl Outcome {
    /// For results that depend on the order of arrival: all sinks have the same ones, which have each item once, and count the
    /// items of each key.
    pub(crate) fn agree(&self, plan: &Plan) {
        same("dead letters", &self.letters, &[]);
        let sorted = |rows: &mut dyn Iterator<Item = &Row>| {
            let mut rows: Vec<Row> = rows.cloned().collect();
            rows.sort();
            rows
        };
        let events = sorted(&mut self.events.values().flatten().map(|(_, row)| row));
        let table = sorted(&mut self.table.iter().map(|(_, row)| row));
        let delivered = sorted(&mut self.delivered.iter().map(|(_, row)| row));
        same("the table, by the log", &table, &events);
        same("files, by the log", &self.files, &events);
        same("deliveries, by the log", &delivered, &events);
        for (stream, events) in &self.events {
            let numbers: Vec<_> = events.iter().map(|(_, row)| row.right).collect();
            let expected: Vec<_> = (1..).take(events.len()).collect();
            same(stream, &numbers, &expected);
        }
        let mut serials: Vec<_> = events.iter().map(|row| row.left).collect();
        serials.sort_unstable();
        let items = plan.items("a").flatten();
        let mut expected: Vec<_> = items.map(|(_, item)| item.serial).collect();
        expected.sort_unstable();
        same("items", &serials, &expected);
    }
}

/// What was given and not taken back, sorted. What was taken back was given before.
fn net(events: &[Timed]) -> Vec<Timed> {
    let mut given = BTreeMap::<Timed, usize>::new();
    for (time, row) in events {
        let of = Row {
            is_taken_back: false,
            ..row.clone()
        };
        let count = given.entry((*time, of)).or_default();
        if row.is_taken_back {
            assert!(*count > 0, "{row:?} takes back what is not there");
            *count -= 1;
        } else {
            *count += 1;
        }
    }
    let given = given.into_iter();
    given
        .flat_map(|(row, count)| std::iter::repeat_n(row, count))
        .collect()
}

/// Shows where two lists begin to differ.
pub(crate) fn same<T: Debug + PartialEq>(what: &str, found: &[T], expected: &[T]) {
    if found == expected {
        return;
    }
    let pairs = found.iter().zip(expected);
    let at = pairs
        .take_while(|(found, expected)| found == expected)
        .count();
    panic!(
        "{what}: {} are there, and should be {}; number {at} is {:?} and should be {:?}",
        found.len(),
        expected.len(),
        found.get(at),
        expected.get(at)
    );
}
