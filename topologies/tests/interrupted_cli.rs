//! Ctrl-C in runs that nobody serves: they end in order with status 1, say what was done, and go on from there the next time.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/bank_files.rs"]
mod bank_files;
#[path = "support/cli.rs"]
mod cli;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use bank_files::write_history;
use cli::{events, interrupt, millstream};

/// Its number.
const SIGINT: u32 = 2;
/// Accounts with one transaction each, which are two commands: many bulks.
const ACCOUNTS: u64 = 40_000;

fn start(words: &[&str]) -> Child {
    start_command(millstream(words))
}

fn start_command(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until it holds or the process has ended.
fn until(child: &mut Child, mut holds: impl FnMut(u32) -> bool) {
    while !holds(child.id()) && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
}

/// Ctrl-C; what it came to.
fn interrupted(mut child: Child) -> Output {
    if child.try_wait().unwrap().is_none() {
        interrupt(&child);
    }
    child.wait_with_output().unwrap()
}

/// Whether a process looks after Ctrl-C itself.
fn listens(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
    caught & 1 << (SIGINT - 1) != 0
}

fn last_line(output: &Output) -> Value {
    let stdout = std::str::from_utf8(&output.stdout).unwrap();
    let line = stdout.lines().last();
    serde_json::from_str(line.unwrap_or_else(|| panic!("{output:?}"))).unwrap()
}

/// Goal: a query that would go on for days ends at Ctrl-C, and tells how far it was.
#[test]
fn nexmark_ends_in_order() {
    let words = [
        "run",
        "nexmark",
        "--query",
        "q1",
        "--partitions",
        "2",
        "--json",
    ];
    let mut child = start(&[&words[..], &["--events", "1000000000000"]].concat());
    until(&mut child, listens);
    let output = interrupted(child);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = last_line(&output);
    assert_eq!(report["interrupted"], true, "{report}");
    let events = report["events"].as_u64().unwrap();
    assert!(events < 1_000_000_000_000, "{report}");
    let stderr = std::str::from_utf8(&output.stderr).unwrap();
    let told = format!("stopped after {events} of 1000000000000 events");
    assert!(stderr.contains(&told), "{stderr}");

    let whole = millstream(&[&words[..], &["--events", "5000"]].concat())
        .output()
        .unwrap();
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    let report = last_line(&whole);
    assert_eq!(
        (&report["interrupted"], &report["events"]),
        (&false.into(), &5_000.into())
    );
}

/// Tables of many accounts in files of their own.
fn history(folder: &Path) -> (String, String) {
    let (trans, order) = write_history(folder, ACCOUNTS);
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    (text(trans), text(order))
}

/// Goal: an import ends behind what it has sent, and the next one goes on there. Method: Ctrl-C comes once the log has something;
/// where it was too late for that run, with another folder.
#[test]
fn the_bank_ends_in_order_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (trans, order) = history(folder.path());
    for attempt in 0..20 {
        let data = folder.path().join(format!("data-{attempt}"));
        let folder = data.to_str().unwrap();
        let words = [
            "run", "bank", "--json", "--trans", &trans, "--order", &order, "--data", folder,
        ];
        let mut child = start(&words);
        until(&mut child, |_| events(&data) > 0);
        let output = interrupted(child);
        let first = last_line(&output);
        if first["interrupted"] == false {
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(first["ok"], false, "{first}");
        let commands = first["commands"].as_u64().unwrap();
        assert!(commands > 0 && commands < 2 * ACCOUNTS, "{first}");
        let stderr = std::str::from_utf8(&output.stderr).unwrap();
        assert!(
            stderr.contains(&format!("stopped after {commands} commands")),
            "{stderr}"
        );
        assert!(stderr.contains("with the same --data goes on"), "{stderr}");
        assert_eq!(events(&data), commands);

        let rest = millstream(&words).output().unwrap();
        assert_eq!(rest.status.code(), Some(0), "{rest:?}");
        let rest = last_line(&rest);
        assert_eq!(
            (&rest["ok"], &rest["repeats"]),
            (&true.into(), &commands.into())
        );
        return;
    }
    panic!("each run ended before it was interrupted");
}

/// Story: an import into a temporary folder said at Ctrl-C that what it had sent was durable, and deleted the folder.
#[test]
fn a_temporary_folder_is_told_to_be_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (trans, order) = history(folder.path());
    let words = ["run", "bank", "--trans", &trans, "--order", &order];
    for attempt in 0..20 {
        let temporary = folder.path().join(format!("temporary-{attempt}"));
        std::fs::create_dir(&temporary).unwrap();
        let mut command = millstream(&words);
        command.env("TMPDIR", &temporary);
        let mut child = start_command(command);
        let folders = || std::fs::read_dir(&temporary).unwrap().map_while(Result::ok);
        until(&mut child, |_| {
            folders().any(|entry| events(&entry.path()) > 0)
        });
        let output = interrupted(child);
        assert_eq!(folders().count(), 0);
        let stderr = std::str::from_utf8(&output.stderr).unwrap();
        if output.status.code() == Some(0) {
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            stderr.contains("gone with the temporary data folder"),
            "{stderr}"
        );
        assert!(!stderr.contains("durable"), "{stderr}");
        return;
    }
    panic!("each run ended before it was interrupted");
}
