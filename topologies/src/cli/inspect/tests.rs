//! The commands against data folders that an engine, or the log alone, wrote.

mod items;
mod letters;
mod moments;
mod projections;
mod rows;
mod whole;

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use clap::Parser;
use millstream_engine::codec::Event;
use millstream_engine::event::{Metadata, PartitionId, stream_hash};
use millstream_engine::log::frame::{Draft, Encoding, FrameBuilder, Kind};
use millstream_engine::log::{EmbeddedLog, Head, LogStore};
use millstream_engine::store::EnvironmentOptions;
use millstream_engine::time::Timestamp;
use millstream_operators::aggregate::{Aggregate, Decision};
use millstream_operators::projection::{
    FailurePolicy, ProjectedEvent, Projection, ProjectionConfig, Rows, Table, TableMut,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::{Arguments, run};
use crate::{Engine, Topology};

/// A log alone, with payloads that only their writer knows: twelve events in partition 1 of 2.
fn opaque_log(folder: &Path) {
    let EmbeddedLog { mut store, .. } =
        EmbeddedLog::open(folder, 2, EnvironmentOptions::default()).unwrap();
    let mut head = Head::default();
    for _ in 0..3 {
        let mut builder = FrameBuilder::new();
        let kind = builder.kind(&Kind {
            category: "account".into(),
            event_type: "Deposited".into(),
            schema_version: 1,
            encoding: Encoding::Opaque,
        });
        for n in 0..4 {
            let draft = Draft {
                kind,
                stream: "42",
                hash: stream_hash("account-42"),
                version: head.next.0 + n,
                event_time: None,
                id: None,
                metadata: Metadata::default(),
                payload: b"abc",
            };
            builder.push(Timestamp(0), &draft).unwrap();
        }
        let frame = builder
            .seal(PartitionId(1), head.next, uuid::Uuid::nil(), head.hash, &[])
            .unwrap();
        head = Head {
            next: head.next.plus(4),
            hash: frame.hash,
        };
        store.append(&[frame]).unwrap();
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Counted {
    Added { amount: u64, note: String },
    Cleared,
}

impl Event for Counted {}

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    const VERSION: u32 = 1;
    type Command = Counted;
    type Event = Counted;
    type Rejection = Infallible;

    fn decide(&self, command: Counted, out: &mut Decision<'_, Self>) -> Result<(), Infallible> {
        out.emit(command);
        Ok(())
    }

    fn evolve(&mut self, _: &Counted) {
        self.0 += 1;
    }
}

/// Cannot count thirteens, and says so over two lines.
struct Totals;

#[derive(Debug, thiserror::Error)]
#[error("thirteen is\nunlucky")]
struct Thirteen;

impl Projection for Totals {
    const NAME: &'static str = "totals";
    const VERSION: u32 = 2;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = Counter::CATEGORY;
    type Event = Counted;
    type Tables = (Table<String, u64>,);
    type Error = Thirteen;

    fn tables(&self) -> Self::Tables {
        (Table::named("sums"),)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Counted>,
        (sums,): &mut (TableMut<String, u64>,),
    ) -> Result<(), Thirteen> {
        match event.payload {
            Counted::Added { amount: 13, .. } => return Err(Thirteen),
            Counted::Added { amount, .. } => sums.update(&event.id.into(), |sum| *sum += amount),
            Counted::Cleared => sums.put(&event.id.into(), 0),
        }
        Ok(())
    }
}

/// An engine that counts, in which an event that fails is a dead letter at once.
async fn open_counters(folder: &Path) -> Engine {
    let config = ProjectionConfig {
        failures: FailurePolicy {
            attempts_max: 1,
            ..FailurePolicy::default()
        },
        ..ProjectionConfig::default()
    };
    let topology = Topology::named("counters")
        .aggregate::<Counter>()
        .projection_with(Totals, config)
        .build()
        .unwrap();
    let engine = Engine::open(folder).partitions(1).run(topology);
    engine.await.unwrap()
}

/// A data folder with streams `counter-a` (1, cleared, 2) and `counter-b` (13, 5), whose key is parked.
async fn counted(folder: &Path) {
    let engine = open_counters(folder).await;
    let added = |amount| Counted::Added {
        amount,
        note: "x".to_owned(),
    };
    let sent = [
        ("a", added(1)),
        ("a", Counted::Cleared),
        ("b", added(13)),
        ("b", added(5)),
        ("a", added(2)),
    ];
    for (id, command) in sent {
        engine.send::<Counter>(id, command).await.unwrap();
    }
    engine.shutdown().await.unwrap();
}

/// What a command prints, and how it ends.
fn ended(words: &[&str], folder: &Path) -> (String, anyhow::Result<()>) {
    let folder = folder
        .to_str()
        .expect("a temporary folder has a plain name");
    let words = words
        .iter()
        .map(|word| if *word == "DATA" { folder } else { word });
    let mut out = Vec::new();
    let arguments = Arguments::try_parse_from(std::iter::once("millstream").chain(words));
    let outcome = match arguments {
        Ok(arguments) => run(&arguments, &mut out),
        Err(error) => Err(error.into()),
    };
    (String::from_utf8(out).unwrap(), outcome)
}

fn output(words: &[&str], folder: &Path) -> anyhow::Result<String> {
    let (printed, outcome) = ended(words, folder);
    outcome.map(|()| printed)
}

/// What a command that fails prints, and why it fails.
fn failing(words: &[&str], folder: &Path) -> (String, String) {
    let (printed, outcome) = ended(words, folder);
    (printed, outcome.unwrap_err().to_string())
}

/// Changes the file of a log wherever it has `text`, also where that is not in use any more.
fn damage(log: &Path, text: &str) {
    let file = log.join("data.mdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let places = bytes.windows(text.len()).enumerate();
    let places = places.filter(|(_, found)| *found == text.as_bytes());
    let places: Vec<_> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(&file, &bytes).unwrap();
}

fn json(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_log_is_verified_counted_and_read() {
    let folder = tempfile::tempdir().unwrap();
    opaque_log(folder.path());
    let run = |words: &[&str]| output(words, folder.path()).unwrap();
    assert_eq!(
        run(&["verify", "DATA"]),
        "12 events in 3 frames: all checksums, hashes and chains hold\n"
    );
    let stats = run(&["log", "stats", "DATA"]);
    let words = |line: usize| stats.lines().nth(line).unwrap().split_whitespace();
    assert_eq!(
        words(1).take(5).collect::<Vec<_>>(),
        ["0", "0", "0", "0", "-"]
    );
    assert_eq!(words(2).take(3).collect::<Vec<_>>(), ["1", "12", "3"]);
    assert!(stats.contains("12 events in 3 frames of "), "{stats}");
    let figures = json(&run(&["log", "stats", "DATA", "--json"]));
    assert_eq!(figures.len(), 3);
    assert_eq!(figures[0]["first_recorded_at"], Value::Null);
    assert_eq!(figures[1]["events"], 12);
    assert_eq!(figures[1]["last_recorded_at"], "1970-01-01T00:00:00Z");
    let indexed = |key| figures[1][key].as_u64().unwrap();
    assert_eq!(indexed("index_entries") + indexed("index_unflushed"), 12);
    assert_eq!(figures[2]["frames"], 3);

    let read = run(&[
        "log",
        "read",
        "DATA",
        "--partition",
        "1",
        "--from",
        "6",
        "--limit",
        "3",
    ]);
    let lines: Vec<_> = read.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[0],
        "1:6 1970-01-01T00:00:00Z account-42 v6 Deposited 3 bytes"
    );
    assert!(lines[2].starts_with("1:8 "));
    // All partitions unless one is named, and nothing behind the end.
    assert_eq!(run(&["log", "read", "DATA"]).lines().count(), 12);
    assert_eq!(run(&["log", "read", "DATA", "--from", "12"]), "");
    assert_eq!(run(&["log", "read", "DATA", "--limit", "0"]), "");
    let verified = json(&run(&["--json", "verify", "DATA"]));
    assert_eq!(verified[0]["events"], 12);
    let event = &json(&run(&["log", "read", "DATA", "--json"]))[0];
    assert_eq!(event["payload"], Value::Null);
    assert_eq!(event["payload_bytes"], 3);
}

#[tokio::test]
async fn payloads_are_read_with_their_fields_by_name() {
    let folder = tempfile::tempdir().unwrap();
    counted(folder.path()).await;
    for data in [folder.path().to_path_buf(), folder.path().join("log")] {
        let run = |words: &[&str]| output(words, &data).unwrap();
        let text = run(&["log", "read", "DATA"]);
        let ends: Vec<_> = text
            .lines()
            .map(|line| line.split_once("counter-").unwrap().1)
            .collect();
        assert_eq!(
            ends,
            [
                r#"a v0 Added {"amount":1,"note":"x"}"#,
                "a v1 Cleared",
                r#"b v0 Added {"amount":13,"note":"x"}"#,
                r#"b v1 Added {"amount":5,"note":"x"}"#,
                r#"a v2 Added {"amount":2,"note":"x"}"#,
            ]
        );
        let events = json(&run(&[
            "log",
            "read",
            "DATA",
            "--json",
            "--category",
            "counter",
        ]));
        assert_eq!(events.len(), 5);
        assert_eq!(events[3]["payload"]["Added"]["amount"], 5);
        assert_eq!(events[3]["stream"], "counter-b");
        assert_eq!(run(&["log", "read", "DATA", "--category", "none"]), "");
    }
}

#[tokio::test]
async fn a_stream_is_shown_either_way_from_any_version() {
    let folder = tempfile::tempdir().unwrap();
    counted(folder.path()).await;
    let versions = |words: &[&str]| {
        let all = [&["stream", "show", "DATA", "counter-a", "--json"], words].concat();
        let events = json(&output(&all, folder.path()).unwrap());
        events
            .iter()
            .map(|event| event["version"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(versions(&[]), [0, 1, 2]);
    assert_eq!(versions(&["--from", "1"]), [1, 2]);
    assert_eq!(versions(&["--backwards"]), [2, 1, 0]);
    assert_eq!(versions(&["--backwards", "--from", "1"]), [1, 0]);
    assert_eq!(versions(&["--backwards", "--limit", "1"]), [2]);
    assert!(versions(&["--from", "3"]).is_empty());
    assert!(versions(&["--limit", "0"]).is_empty());

    let show = |stream| output(&["stream", "show", "DATA", stream], folder.path()).unwrap_err();
    assert_eq!(
        show("counter-none").to_string(),
        "there is no stream counter-none in this log"
    );
    let usage = show("counter").to_string();
    assert!(
        usage.contains("a stream is named like account-42"),
        "{usage}"
    );
}

#[test]
fn what_is_not_there_is_named_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 9] = [
        &["verify", "DATA"],
        &["log", "read", "DATA"],
        &["log", "tail", "DATA"],
        &["log", "stats", "DATA"],
        &["stream", "show", "DATA", "account-42"],
        &["projection", "list", "DATA"],
        &["dead-letters", "list", "DATA"],
        &["dead-letters", "export", "DATA"],
        &["dead-letters", "redrive", "DATA", "--all", "--by", "ann"],
    ];
    for words in commands {
        let error = output(words, folder.path()).unwrap_err();
        assert!(
            format!("{error:#}").contains("holds no event log"),
            "{error:#}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let nothing: PathBuf = folder.path().join("nothing");
        let error = output(words, &nothing).unwrap_err();
        assert!(
            format!("{error:#}").contains("there is no folder"),
            "{error:#}"
        );
        assert!(!nothing.exists());
    }
    // A log whose state was deleted.
    opaque_log(&folder.path().join("log"));
    for words in &commands[5..] {
        let error = output(words, folder.path()).unwrap_err();
        assert!(
            format!("{error:#}").contains("there is no state in"),
            "{error:#}"
        );
    }
    assert!(!folder.path().join("state").exists());
    for words in [
        &["log", "read", "DATA", "--partition", "2"],
        &["log", "tail", "DATA", "--partition", "2"],
    ] {
        let error = output(words, folder.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the log has 2 partitions, there is no partition 2"
        );
    }
}

/// Goal: whatever byte of a frame is changed, `verify` says in which partition and at which offset.
#[test]
fn a_changed_byte_is_found_and_placed() {
    let folder = tempfile::tempdir().unwrap();
    opaque_log(folder.path());
    damage(folder.path(), "Deposited");
    let error = output(&["verify", "DATA"], folder.path()).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("partition 1, frame at offset 0: frame checksum"),
        "{text}"
    );
}
