//! The program itself: what it prints, beside a running engine too, and the status with which it leaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cli.rs"]
mod cli;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use millstream::catalog::bank::{self, Account, AccountCommand, Cents, Channel};
use millstream::prelude::*;
use serde_json::Value;

use cli::{interrupt, millstream_on, printed as out};

fn run(words: &[&str], data: &Path) -> Output {
    millstream_on(words, data).output().unwrap()
}

async fn open(data: &Path) -> Engine {
    let builder = Engine::open(data).partitions(2);
    builder.run(bank::topology().unwrap()).await.unwrap()
}

/// Opens an account and pays in, `deposits` times.
async fn deposits(engine: &Engine, id: &str, deposits: u64) {
    let overdraft_limit = Cents::ZERO;
    let opening = AccountCommand::Open { overdraft_limit };
    let accounts = engine.aggregate::<Account>();
    accounts.send(id, opening).await.unwrap();
    for reference in 0..deposits {
        let deposit = AccountCommand::Deposit {
            amount: Cents::new(100),
            channel: Channel::Cash,
            reference,
        };
        accounts.send(id, deposit).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_reads_beside_the_engine_that_writes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let engine = open(data).await;
    deposits(&engine, "42", 20).await;
    // Writing goes on while the others read.
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn({
        let engine = engine.clone();
        async move {
            let mut id = 1_000;
            while stopped.try_recv().is_err() {
                id += 1;
                deposits(&engine, &id.to_string(), 5).await;
            }
        }
    });
    let data = data.to_path_buf();
    let reading = tokio::task::spawn_blocking(move || {
        for _ in 0..5 {
            assert!(out(&["verify", "DATA"], &data).contains("all checksums"));
            let shown = out(&["stream", "show", "DATA", "account-42"], &data);
            assert_eq!(shown.lines().count(), 21);
            assert!(
                shown
                    .lines()
                    .nth(20)
                    .unwrap()
                    .contains(r#"v20 Deposited {"amount":100,"#)
            );
            assert!(
                out(&["log", "read", "DATA", "--category", "account"], &data)
                    .lines()
                    .count()
                    > 20
            );
            let figures = out(&["log", "stats", "DATA", "--json"], &data);
            let total: Value = serde_json::from_str(figures.lines().last().unwrap()).unwrap();
            assert!(total["events"].as_u64().unwrap() >= 21);
            let listed = out(&["projection", "list", "DATA"], &data);
            assert!(listed.contains("ledger-control ("), "{listed}");
            assert_eq!(
                out(&["dead-letters", "list", "DATA"], &data),
                "no dead letters\n"
            );
        }
    });
    reading.await.unwrap();
    stop.send(()).unwrap();
    writing.await.unwrap();
    engine.shutdown().await.unwrap();
}

/// A `log tail` that has said where it begins.
fn tail(words: &[&str], data: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = millstream_on(words, data);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    errors.read_line(&mut said).unwrap();
    assert!(said.starts_with("following from "), "{said}");
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_prints_new_events_until_it_has_enough() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    deposits(&engine, "old", 3).await;
    let words = ["log", "tail", "DATA", "--json", "--limit", "4"];
    let (mut child, mut lines) = tail(&words, folder.path());
    deposits(&engine, "new", 10).await;
    let mut printed = String::new();
    lines.read_to_string(&mut printed).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let versions: Vec<_> = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .inspect(|event| assert_eq!(event["stream"], "account-new"))
        .map(|event| event["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, [0, 1, 2, 3]);
    engine.shutdown().await.unwrap();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_ends_in_order_at_ctrl_c_and_with_its_reader() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let (mut child, mut lines) = tail(&["log", "tail", "DATA"], folder.path());
    deposits(&engine, "42", 1).await;
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("account-42 v0 Opened"), "{line}");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let (mut child, lines) = tail(&["log", "tail", "DATA"], folder.path());
    drop(lines);
    deposits(&engine, "43", 1).await;
    assert_eq!(child.wait().unwrap().code(), Some(0));
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    // More than a pipe holds.
    let accounts: Vec<_> = (0..40).map(|id| id.to_string()).collect();
    let waits: Vec<_> = accounts
        .iter()
        .map(|id| deposits(&engine, id, 10))
        .collect();
    for wait in waits {
        wait.await;
    }
    engine.shutdown().await.unwrap();
    drop(engine);
    let words = ["log", "read", "DATA", "--json", "--limit", "1000000"];
    let mut command = millstream_on(&words, folder.path());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.starts_with('{'));
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

const TOTALS: Table<u64, u64> = Table::named("totals");

/// Tables of a dataflow are shown as its, and dropped once a topology opens without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_dataflow_are_not_behind_and_go_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("bank")
        .projection(bank::Balances)
        .aggregate::<Account>()
        .dataflow("totals", |flow| {
            let events = flow.events::<bank::AccountEvent>().until_durable_end();
            let ones = events.stream().map(|_| (1, Some(1)));
            ones.to_table(&TOTALS, |row| row);
        })
        .dataflow("tardy", |flow| {
            let items = [(100, "in time"), (1, "too late")];
            let items = items.map(|(second, text)| (Timestamp::from_seconds(second), text));
            let items = flow.timed_items(items).watermarks(Ascending::new());
            let windows = items
                .stream()
                .window_all(Tumbling::of(Duration::from_secs(10)));
            let counted = windows.late_to_dead_letters().aggregate(function::count());
            counted.for_each(|_, _| {});
        });
    let engine = open(folder.path()).await;
    deposits(&engine, "42", 5).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    let engine = Engine::open(folder.path()).run(topology.build().unwrap());
    let engine = engine.await.unwrap();
    engine.dataflow("totals").wait().await.unwrap();
    engine.dataflow("tardy").wait().await.unwrap();
    engine.shutdown().await.unwrap();
    drop(engine);
    let listed = || {
        let lines = out(&["projection", "list", "DATA", "--json"], folder.path());
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let mut dataflows: Vec<Value> = lines.collect();
        dataflows.retain(|line| line["dataflow"] != Value::Null);
        dataflows
    };
    let dataflows = listed();
    assert_eq!(dataflows.len(), 2);
    let letters = out(&["dead-letters", "list", "DATA", "--json"], folder.path());
    let letter: Value = serde_json::from_str(letters.trim_end()).unwrap();
    assert_eq!(letter["projection"], "dataflow tardy");
    let id = letter["id"].as_str().unwrap();
    let shown = out(&["dead-letters", "show", "DATA", id], folder.path());
    assert!(shown.contains("\"too late\""), "{shown}");
    assert!(
        shown.contains("came behind the watermark 1970-01-01T00:01:40"),
        "{shown}"
    );
    assert_eq!(dataflows[1]["dataflow"], "totals");
    assert_eq!(dataflows[1]["tables"][0]["rows"], 1);
    assert_eq!(dataflows[1]["behind"], Value::Null);
    let text = out(&["projection", "list", "DATA"], folder.path());
    let line = text.lines().find(|line| line.contains("dataflow totals"));
    assert!(line.unwrap().contains("made anew at each start"), "{text}");
    let by = ["--by", "ann", "--reason", "old"];
    let words = [&["dead-letters", "discard", "DATA", id][..], &by].concat();
    assert!(out(&words, folder.path()).contains("discard of 1 dead letter requested"));

    let engine = open(folder.path()).await;
    engine.shutdown().await.unwrap();
    assert_eq!(listed(), [] as [Value; 0]);
}

#[test]
fn the_status_says_that_it_failed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("nothing");
    let failed: [&[&str]; 6] = [
        &["verify", "DATA"],
        &["log", "read", "DATA"],
        &["log", "stats", "DATA"],
        &["log", "tail", "DATA"],
        &["projection", "list", "DATA"],
        &["dead-letters", "show", "DATA", "3-0-1234-9f86d081"],
    ];
    for words in failed {
        let output = run(words, &data);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(
            error.starts_with("millstream: there is no folder "),
            "{error}"
        );
        assert!(output.stdout.is_empty() && !data.exists());
    }
}

#[test]
fn the_status_says_that_it_was_used_wrongly() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("nothing");
    let letter = "3-0-1234-9f86d081";
    let wrong: [&[&str]; 10] = [
        &["verify"],
        &["log"],
        &["log", "read", "DATA", "--from", "x"],
        &["log", "read", "DATA", "--partition", "70000"],
        &["stream", "show", "DATA", "account"],
        &["dead-letters", "show", "DATA", "first"],
        &["dead-letters", "redrive", "DATA", "--by", "ann"],
        &[
            "dead-letters",
            "redrive",
            "DATA",
            letter,
            "--key",
            "a",
            "--by",
            "ann",
        ],
        &[
            "dead-letters",
            "discard",
            "DATA",
            letter,
            "--by",
            " ",
            "--reason",
            "old",
        ],
        &[
            "dead-letters",
            "discard",
            "DATA",
            letter,
            "--by",
            "ann",
            "--reason",
            " ",
        ],
    ];
    for words in wrong {
        let output = run(words, &data);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

#[test]
fn each_command_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    let help: [&[&str]; 9] = [
        &[],
        &["verify"],
        &["log"],
        &["log", "read"],
        &["log", "tail"],
        &["log", "stats"],
        &["stream", "show"],
        &["projection", "list"],
        &["dead-letters", "list"],
    ];
    for words in help {
        let text = out(&[words, &["--help"]].concat(), folder.path());
        assert!(
            text.contains("Usage: millstream") && text.len() > 300,
            "{text}"
        );
    }
}

#[tokio::test]
async fn damage_is_placed_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    deposits(&engine, "42", 3).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    let file = folder.path().join("log/data.mdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let name = b"account";
    for at in 0..bytes.len() - name.len() {
        if bytes[at..].starts_with(name) {
            bytes[at] ^= 1;
        }
    }
    std::fs::write(&file, &bytes).unwrap();
    let output = run(&["verify", "DATA", "--json"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.starts_with("millstream: the log is not whole: partition "),
        "{error}"
    );
    let fault: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&fault["ok"], &fault["offset"]), (&false.into(), &0.into()));
    assert!(error.contains(&format!(
        "partition {}, frame at offset 0",
        fault["partition"]
    )));
}
