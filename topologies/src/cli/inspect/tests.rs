//! The commands against a log that was written with the library.

use super::*;
use millstream_engine::event::Metadata;
use millstream_engine::log::frame::{Draft, Encoding, FrameBuilder, Kind};
use millstream_engine::log::{EmbeddedLog, Head, LogStore};
use millstream_engine::store::EnvironmentOptions;
use millstream_engine::time::Timestamp;

fn written(folder: &Path) {
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
            let version = head.next.0 + n;
            let metadata = Metadata::default();
            let draft = Draft {
                kind,
                stream: "42",
                hash: millstream_engine::event::stream_hash("account-42"),
                version,
                event_time: None,
                id: None,
                metadata,
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

fn output(words: &[&str], folder: &Path) -> Result<String> {
    let folder = folder
        .to_str()
        .expect("a temporary folder has a plain name");
    let words = words
        .iter()
        .map(|word| if *word == "DATA" { folder } else { word });
    let arguments = Arguments::try_parse_from(std::iter::once("millstream").chain(words))?;
    let mut out = Vec::new();
    run(&arguments, &mut out)?;
    Ok(String::from_utf8(out)?)
}

#[test]
fn a_log_is_verified_counted_and_read() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let run = |words: &[&str]| output(words, folder.path()).unwrap();
    assert_eq!(
        run(&["verify", "DATA"]),
        "12 events in 3 frames: all checksums, hashes and chains hold\n"
    );
    assert_eq!(
        run(&["log", "stats", "DATA"]),
        "partition 0: 0 events\npartition 1: 12 events\n"
    );
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
    let json: serde_json::Value =
        serde_json::from_str(&run(&["--json", "verify", "DATA"])).unwrap();
    assert_eq!(json["events"], 12);
}

#[test]
fn a_folder_without_a_log_is_an_error_and_stays_empty() {
    let folder = tempfile::tempdir().unwrap();
    let error = output(&["verify", "DATA"], folder.path()).unwrap_err();
    assert!(format!("{error:#}").contains("there is no"), "{error:#}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
