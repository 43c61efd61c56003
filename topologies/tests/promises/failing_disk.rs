//! Danger: the disk refuses to force what was written, or to take it. All writing stops, nobody is told "yes" again, and
//! a new process finds what was acknowledged.
//!
//! After a failed fsync the kernel may call the lost pages clean, so that the next one succeeds: such a success
//! must release nobody. The failing disk is a library in C, `failing_disk.c`, compiled here and loaded into the
//! process that is to suffer; the failures it can make are described there.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream::prelude::*;
use millstream_engine::event::EventId;
use millstream_engine::partition::{AppendError, NewEvent};
use uuid::Uuid;

use crate::kills::{command, compare};
use crate::preloaded;
use crate::support::*;

/// Names the folder to the process whose disk fails.
const SUFFERER: &str = "MILLSTREAM_ENGINE_SUFFERER";

/// Tasks of it that send commands, and tasks that append; each waits for its answer.
const TASKS: u64 = 8;
const APPENDERS: u64 = 3;
/// A disk that has not failed by then is not going to.
const CALLS_MAX: u64 = 10_000;

/// One line on standard output, whatever the test harness writes in between.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// Append `n` of an appender: two events that know it, under ids of their own.
fn events(appender: u64, n: u64) -> Vec<NewEvent> {
    let event = |half: u64| {
        let id = Uuid::from_u128(u128::from((appender * CALLS_MAX + n) * 2 + half + 1));
        NewEvent::json("Noted", format!("{{\"n\":{n}}}")).with_id(EventId(id))
    };
    vec![event(0), event(1)]
}

async fn append(engine: &Engine, appender: u64, n: u64) -> Result<u64, AppendError> {
    let stream = format!("note-{appender}").parse().unwrap();
    let expected = n.checked_mul(2).and_then(|next| next.checked_sub(1));
    let expected = expected.map_or(Expected::NoStream, Expected::Exact);
    let appended = engine
        .appender()
        .append(stream, expected, events(appender, n))
        .await?;
    Ok(appended.last_version)
}

/// Sends until the disk fails. What was sent after somebody heard of the failure may not succeed.
async fn send_until_it_fails(engine: Engine, has_failed: Arc<AtomicBool>, task: u64) {
    for n in 0..CALLS_MAX {
        let is_late = has_failed.load(Ordering::SeqCst);
        let version = if task < TASKS {
            let (name, id, values) = command(0, task, n);
            let sent = engine.send_with::<Tally>(&id, Ask::AddAll(values), named(name));
            match within(sent).await {
                Ok(ack) => Ok(ack.version.unwrap()),
                Err(CommandError::OutcomeUnknown { cause }) => Err(cause),
                Err(other) => panic!("command {n} of task {task}: {other}"),
            }
        } else {
            match within(append(&engine, task - TASKS, n)).await {
                Ok(version) => Ok(version),
                Err(AppendError::OutcomeUnknown { cause }) => Err(cause),
                Err(other) => panic!("append {n} of task {task}: {other}"),
            }
        };
        match version {
            Ok(version) => {
                assert!(!is_late, "a success after the failure: {task} {n}");
                say(&format!("acknowledged {task} {n} {version}"));
            }
            Err(cause) => {
                has_failed.store(true, Ordering::SeqCst);
                assert!(cause.contains("start the process again"), "{cause}");
                return say(&format!("unknown {task} {n} 0"));
            }
        }
    }
    panic!("the disk never failed");
}

/// Once the log has stopped, every call on every partition is told so, also one that would store nothing.
async fn nothing_succeeds(engine: &Engine) {
    for round in 0..20 {
        for number in 0..PARTITIONS {
            let id = id_in(number, 40 + round % 3);
            let asks = [
                Ask::Nothing,
                Ask::Add(1),
                Ask::Refuse,
                Ask::Note("x".repeat(20_000)),
            ];
            for (n, ask) in asks.into_iter().enumerate() {
                let late = within(engine.send::<Tally>(&id, ask)).await;
                assert!(
                    matches!(late, Err(CommandError::OutcomeUnknown { .. })),
                    "{n} after the failure: {late:?}"
                );
            }
        }
        let late = within(append(engine, APPENDERS + round as u64, 0)).await;
        assert!(
            matches!(late, Err(AppendError::OutcomeUnknown { .. })),
            "{late:?}"
        );
    }
}

/// The process whose disk fails. Says what was acknowledged, what is unknown and how it ended. Does nothing by itself.
#[test]
fn sufferer() {
    let Ok(folder) = std::env::var(SUFFERER) else {
        return;
    };
    runtime().block_on(async {
        let engine = match try_open(Path::new(&folder), config(), topology()).await {
            Ok(engine) => engine,
            Err(error) => return say(&format!("refused: {error}")),
        };
        let has_failed = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..TASKS + APPENDERS)
            .map(|task| {
                let has_failed = Arc::clone(&has_failed);
                tokio::spawn(send_until_it_fails(engine.clone(), has_failed, task))
            })
            .collect();
        for task in tasks {
            within(task).await.unwrap();
        }
        nothing_succeeds(&engine).await;
        let cause = within(engine.failed()).await;
        assert!(cause.contains("start the process again"), "{cause}");
        // In order or with an error, but it ends.
        let _ = within(engine.shutdown()).await;
        say(&format!("stopped: {cause}"));
    });
}

/// A process whose disk fails while two of its partitions have nothing to do. Does nothing by itself.
#[test]
fn lone_sufferer() {
    let Ok(folder) = std::env::var(SUFFERER) else {
        return;
    };
    runtime().block_on(async {
        let engine = open(Path::new(&folder)).await;
        let id = id_in(0, 0);
        let mut count = 0;
        while within(engine.send::<Tally>(&id, Ask::Add(1))).await.is_ok() {
            count += 1;
            assert!(count < CALLS_MAX, "the disk never failed");
        }
        nothing_succeeds(&engine).await;
        let _ = within(engine.shutdown()).await;
    });
}

/// One way to fail.
#[derive(Clone, Copy, Debug)]
struct Fault {
    /// `forced` or `writes`.
    calls: &'static str,
    /// How the call fails: see the library.
    how: &'static str,
    /// Number of the first call that fails.
    at: u32,
    /// Whether all later ones fail, too.
    is_lasting: bool,
}

/// Runs a sufferer on `folder` with a fault; false when its disk was never asked often enough.
fn suffer(who: &str, library: &Path, folder: &Path, fault: Fault) -> (Output, bool) {
    let data = folder.join("data");
    let report = folder.join("report");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", who, "--nocapture"])
        .env(SUFFERER, &data)
        .env("LD_PRELOAD", library)
        .env("FAILING_DISK_FILE", data.join("log/data.mdb"))
        .env("FAILING_DISK_REPORT", &report)
        .env("FAILING_DISK_CALLS", fault.calls)
        .env("FAILING_DISK_HOW", fault.how)
        .env("FAILING_DISK_AT", fault.at.to_string())
        .env(
            "FAILING_DISK_EVER",
            if fault.is_lasting { "1" } else { "0" },
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output, report.exists())
}

/// What the sufferer said: the version of each acknowledged call by task and number, those that are unknown, and how
/// it ended.
#[derive(Default)]
struct Said {
    acknowledged: BTreeMap<(u64, u64), u64>,
    unknown: Vec<(u64, u64)>,
    end: String,
}

impl Said {
    fn parse(output: &Output) -> Self {
        let mut said = Self::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.split(' ');
            let word = words.next().unwrap();
            let mut number = || words.next()?.parse().ok();
            match word {
                "acknowledged" => {
                    let call = (number().unwrap(), number().unwrap());
                    said.acknowledged.insert(call, number().unwrap());
                }
                "unknown" => said.unknown.push((number().unwrap(), number().unwrap())),
                "refused:" | "stopped:" => line.clone_into(&mut said.end),
                _ => {}
            }
        }
        said
    }
}

/// Whether each acknowledged append is there, each append whole or not at all, and in order.
fn check_appends(engine: &Engine, said: &Said) {
    for appender in 0..APPENDERS {
        let stream: StreamId = format!("note-{appender}").parse().unwrap();
        let stored = preloaded::events_of_pairs(engine, &stream);
        let calls = said.acknowledged.iter();
        for (_, version) in calls.filter(|((task, _), _)| *task == TASKS + appender) {
            assert!(*version < stored, "an append is lost");
        }
    }
}

/// Opens the folder on a disk that works again and compares it with what was said.
async fn recover(folder: &Path, said: &Said) {
    let engine = open(folder).await;
    let mut all = BTreeMap::new();
    for ((task, n), version) in &said.acknowledged {
        if *task < TASKS {
            let (name, id, _) = command(0, *task, *n);
            all.insert(name as u64, (id, *version));
        }
    }
    compare(&check(&engine).await, &all, 0);
    check_appends(&engine, said);
    // Who was left in doubt asks again, and then the call has had its effect once.
    for (task, n) in said.unknown.iter().copied() {
        if task < TASKS {
            let (name, id, values) = command(0, task, n);
            let sent = engine.send_with::<Tally>(&id, Ask::AddAll(values), named(name));
            let version = sent.await.unwrap().version.unwrap();
            all.insert(name as u64, (id, version));
        } else {
            append(&engine, task - TASKS, n).await.unwrap();
        }
    }
    compare(&check(&engine).await, &all, 0);
    check_appends(&engine, said);
    close(engine).await;
}

async fn survives(library: &Path, fault: Fault, is_new: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    if !is_new {
        close(open(&folder.join("data")).await).await;
    }
    let (output, has_failed) = suffer("failing_disk::sufferer", library, &folder, fault);
    let said = Said::parse(&output);
    let what = format!(
        "{fault:?}, {}: {}\n{}",
        if is_new { "a new store" } else { "a store" },
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{what}");
    assert!(has_failed, "the disk did not fail: {what}");
    assert!(!said.end.is_empty(), "{what}");
    if said.end.starts_with("refused:") {
        // The first one of a store that is there is made by opening it.
        let is_opening = is_new || (fault.calls, fault.at) == ("forced", 1);
        assert!(is_opening && said.acknowledged.is_empty(), "{what}");
    } else {
        let tasks = (TASKS + APPENDERS) as usize;
        assert_eq!(said.unknown.len(), tasks, "somebody was not told: {what}");
    }
    recover(&folder.join("data"), &said).await;
    said.end
}

/// Runs the faults and prints how they ended, so that a reader sees what was met.
async fn survive_all(faults: impl Iterator<Item = Fault>, is_new: bool) {
    let folder = tempfile::tempdir().unwrap();
    let library = preloaded::compile("failing_disk", folder.path());
    let mut refused = 0;
    for fault in faults {
        let end = survives(&library, fault, is_new).await;
        refused += u32::from(end.starts_with("refused:"));
        eprintln!("{fault:?}: {end}");
    }
    eprintln!("{refused} were refused at opening");
}

/// Goal: whichever forced write of the log fails, for once or for good, with what was written kept or lost: everybody
/// who waits is told "unknown", nobody "yes" afterwards, and a new process finds each acknowledged command and
/// append whole, once, and goes on. Method: a process per failure, on the 12 first forced writes of an open store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_write_fails() {
    let faults = (1..=12).flat_map(|at| {
        let ways = [
            ("kept", false),
            ("lost", false),
            ("kept", true),
            ("lost", true),
        ];
        ways.map(|(how, is_lasting)| Fault {
            calls: "forced",
            how,
            at,
            is_lasting,
        })
    });
    survive_all(faults, false).await;
}

/// The same while the store is being made: opening is refused, or the log stops later; the next opening makes it whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_write_of_a_new_store_fails() {
    let faults = (1..=12).map(|at| Fault {
        calls: "forced",
        how: if at % 2 == 0 { "kept" } else { "lost" },
        at,
        is_lasting: at % 3 == 0,
    });
    survive_all(faults, true).await;
}

/// The same where it is the writing that fails, since the disk is full: nothing is written, or a part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_finds_the_disk_full() {
    let faults = (1..=12).map(|at| Fault {
        calls: "writes",
        how: if at % 2 == 0 { "full" } else { "short" },
        at,
        is_lasting: at % 3 == 0,
    });
    survive_all(faults.clone(), false).await;
    survive_all(faults, true).await;
}

/// Story: a partition that had nothing in flight when the log stopped went on to answer what needs no event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_log_is_known_to_every_partition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let library = preloaded::compile("failing_disk", &path);
    close(open(&path.join("data")).await).await;
    let fault = Fault {
        calls: "forced",
        how: "lost",
        at: 6,
        is_lasting: false,
    };
    let (output, has_failed) = suffer("failing_disk::lone_sufferer", &library, &path, fault);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && has_failed, "{errors}");
    let engine = open(&path.join("data")).await;
    // The third is in doubt, and was lost.
    assert_eq!(
        check(&engine).await.values().map(Vec::len).sum::<usize>(),
        2
    );
    close(engine).await;
}
