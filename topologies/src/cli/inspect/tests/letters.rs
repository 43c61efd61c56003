//! `dead-letters`: which there are, and what is decided about them.

use std::time::Duration;

use millstream_operators::projection::{LetterDecision, LetterOrder};

use super::*;

#[tokio::test]
async fn dead_letters_are_listed_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    counted(folder.path()).await;
    let run = |words: &[&str]| output(words, folder.path());
    let text = run(&["dead-letters", "list", "DATA"]).unwrap();
    let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
    let [id, rest @ ..] = &row[..] else { panic!() };
    assert_eq!(rest[..6], ["totals", "counter-b", "0:2", "1", "dead", "1"]);
    assert!(text.contains("thirteen is unlucky"), "{text}");
    let listed = json(&run(&["dead-letters", "list", "DATA", "--json"]).unwrap());
    assert_eq!(listed[0]["id"], *id);
    assert_eq!(listed[0]["causes"][0], "thirteen is\nunlucky");
    assert_eq!(listed[0]["follower_offsets"][0], 3);

    let shown = run(&["dead-letters", "show", "DATA", id]).unwrap();
    for line in [
        "projection  totals version 2",
        "key         counter-b",
        "event       Added schema 1",
        r#"payload     {"Added":{"amount":13,"note":"x"}}"#,
        "followers   1 at offsets 3",
        "cause       thirteen is unlucky",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
    }
    let shown = json(&run(&["dead-letters", "show", "DATA", id, "--json"]).unwrap());
    assert_eq!(shown[0]["payload"]["Added"]["amount"], 13);

    let named = |name| run(&["dead-letters", "list", "DATA", "--projection", name]);
    assert_eq!(named("totals").unwrap(), text);
    assert!(named("none").is_err());
    let none = run(&["dead-letters", "show", "DATA", "9-0-2-00000000"]).unwrap_err();
    assert!(none.to_string().contains("there is no dead letter 9-0-2"));
    let usage = run(&["dead-letters", "show", "DATA", "first"]).unwrap_err();
    assert!(usage.is::<clap::Error>(), "{usage}");
}

#[tokio::test]
async fn dead_letters_are_filtered() {
    let folder = tempfile::tempdir().unwrap();
    counted(folder.path()).await;
    let run = |words: &[&str]| output(words, folder.path()).unwrap();
    let whole = run(&["dead-letters", "list", "DATA"]);
    let met: [&[&str]; 7] = [
        &["--stage", "totals"],
        &["--key", "counter-b"],
        &["--key", "counter-*"],
        &["--key", "*"],
        &["--cause", "unlucky"],
        &["--older-than", "0s"],
        &[
            "--projection",
            "totals",
            "--key",
            "counter-b",
            "--cause",
            "thirteen",
        ],
    ];
    let unmet: [&[&str]; 5] = [
        &["--stage", "total"],
        &["--key", "counter"],
        &["--key", "counter-bb*"],
        &["--cause", "Unlucky"],
        &["--older-than", "1d", "--key", "counter-b"],
    ];
    for command in ["list", "stats", "export"] {
        let with = |filter: &[&str]| run(&[&["dead-letters", command, "DATA"], filter].concat());
        for filter in met {
            assert_eq!(
                with(filter).lines().count(),
                with(&[]).lines().count(),
                "{filter:?}"
            );
        }
        let nothing = if command == "export" {
            ""
        } else {
            "no dead letters\n"
        };
        for filter in unmet {
            assert_eq!(with(filter), nothing, "{command} {filter:?}");
        }
    }
    assert_eq!(
        run(&["dead-letters", "list", "DATA", "--limit", "0"]),
        "no dead letters\n"
    );
    assert_eq!(
        run(&["dead-letters", "list", "DATA", "--limit", "1"]),
        whole
    );
    let usage = output(
        &["dead-letters", "list", "DATA", "--older-than", "soon"],
        folder.path(),
    );
    assert!(usage.unwrap_err().to_string().contains("such as 15m"));
}

#[tokio::test]
async fn dead_letters_are_counted_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    counted(folder.path()).await;
    let run = |words: &[&str]| output(words, folder.path()).unwrap();
    let text = run(&["dead-letters", "stats", "DATA"]);
    let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["totals", "1", "1", "2"], "{text}");
    assert!(text.ends_with("thirteen is unlucky\n"), "{text}");
    let figures = json(&run(&["dead-letters", "stats", "DATA", "--json"]));
    assert_eq!(
        (figures[0]["dead"].as_u64(), figures[0]["retrying"].as_u64()),
        (Some(1), Some(0))
    );
    assert_eq!(figures[0]["cause"], "thirteen is\nunlucky");
    assert!(figures[0]["bytes"].as_u64().unwrap() > 256);
    assert!(figures[0]["oldest_age_seconds"].is_u64());

    let exported = json(&run(&["dead-letters", "export", "DATA"]));
    let mut listed = json(&run(&["dead-letters", "list", "DATA", "--json"]));
    for (name, value) in exported[0].as_object().unwrap() {
        if name == "age_seconds" || name == "encoding" || name.ends_with("_hex") {
            listed[0][name] = value.clone();
        }
    }
    assert_eq!(exported, listed);
    assert_eq!(exported[0]["encoding"], "binary");
    // The text of the note stands in the bytes as it is.
    assert!(exported[0]["payload_hex"].as_str().unwrap().contains("78"));
    let bytes = exported[0]["payload_bytes"].as_u64().unwrap() as usize;
    assert_eq!(
        exported[0]["payload_hex"].as_str().unwrap().len(),
        2 * bytes
    );
}

/// Waits until `holds`, looking again and again.
pub(super) async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while !holds() {
            looks.tick().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(ended.is_ok(), "it never came true");
}

/// Waits until this many letters are left.
pub(super) async fn until_left(engine: &Engine, count: u64) {
    until(|| engine.state().dead_letter_count(None).unwrap() == count).await;
}

/// Goal: what is asked for while no engine runs is done when one starts, and while it runs as well; the request is gone
/// then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_taken_up_by_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    counted(folder.path()).await;
    let run = |words: &[&str]| output(words, folder.path());
    let requests = folder.path().join("requests");
    let left = || std::fs::read_dir(&requests).unwrap().count();
    let mended = ["--by", "ann", "--reason", "mended"];
    let said = run(&[&["dead-letters", "redrive", "DATA", "--all"], &mended[..]].concat());
    assert!(
        said.unwrap()
            .starts_with("redrive of 1 dead letter requested")
    );
    assert_eq!(left(), 1);

    let engine = open_counters(folder.path()).await;
    until(|| engine.state().dead_letters(None, None, 1).unwrap()[0].attempts == 2).await;
    // While it runs. The state is open in this process: the command itself is for another one.
    let letter = engine
        .state()
        .dead_letters(None, None, 1)
        .unwrap()
        .remove(0);
    assert_eq!(letter.earlier[0].redriven_by, "ann");
    // One that cannot be read is put aside, and the others are taken.
    std::fs::write(requests.join("0.part"), "{}\n").unwrap();
    std::fs::rename(requests.join("0.part"), requests.join("0.jsonl")).unwrap();
    let order = LetterOrder::of(&letter, "ann", "13").unwrap();
    crate::engine::requests::leave(folder.path(), [LetterDecision::Discarded(order)]).unwrap();
    until_left(&engine, 0).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    assert!(requests.join("0.refused").exists());
    let projections = json(&run(&["projection", "list", "DATA", "--json"]).unwrap());
    assert_eq!(projections[0]["tables"][0]["rows"], 2);
    let log = run(&["log", "read", "DATA", "--category", "dead_letter", "--json"]).unwrap();
    let discarded = json(&log).pop().unwrap();
    assert_eq!(discarded["type"], "Discarded");
    assert_eq!(discarded["payload"]["Discarded"]["reason"], "13");
    assert_eq!(
        run(&["dead-letters", "redrive", "DATA", "--all", "--by", "a"]).unwrap(),
        "no dead letters\n"
    );
}

#[tokio::test]
async fn decisions_need_letters_a_name_and_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    counted(folder.path()).await;
    let run = |words: &[&str]| {
        let words = [&["dead-letters"], words].concat();
        output(&words, folder.path()).unwrap_err().to_string()
    };
    let which = run(&["redrive", "DATA", "--by", "ann"]);
    assert!(which.contains("which letters?"), "{which}");
    let nobody = run(&["redrive", "DATA", "--all", "--by", " "]);
    assert!(nobody.contains("--by"), "{nobody}");
    let why = run(&["discard", "DATA", "--all", "--by", "ann"]);
    assert!(why.contains("--reason"), "{why}");
    let why = run(&["discard", "DATA", "--all", "--by", "ann", "--reason", ""]);
    assert!(why.contains("--reason"), "{why}");
    let unknown = run(&["redrive", "DATA", "9-0-2-00000000", "--by", "ann"]);
    assert!(
        unknown.contains("there is no dead letter 9-0-2"),
        "{unknown}"
    );
    let both = run(&[
        "redrive",
        "DATA",
        "9-0-2-00000000",
        "--key",
        "a",
        "--by",
        "ann",
    ]);
    assert!(both.contains("not by both"), "{both}");
    assert!(!folder.path().join("requests").exists());
}
