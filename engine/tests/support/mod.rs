//! What tests of kills and damage share: processes that are killed or that may die, cases that are the same each time,
//! a disk that is soon full. The tests of `millstream` use it as well.

#![allow(dead_code, reason = "each test uses a part of it")]

mod skipped;

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::str::FromStr;

use self::skipped::skipped;

/// A number that the environment may give; `otherwise` if it does not.
pub(crate) fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| {
        let number = text.parse();
        number.unwrap_or_else(|_| panic!("{variable} is a number"))
    })
}

/// Rounds of a test that kills: `KILLS=`, 20 if nothing is said.
pub(crate) fn kills() -> u64 {
    number_of("KILLS", 20)
}

/// Acknowledgements after which a victim is killed: another number each round.
pub(crate) fn patience(round: u64) -> usize {
    (1 + round * 7 % 23) as usize
}

/// A test of this program, alone in a process of its own.
pub(crate) fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test is a program"));
    command.args(["--exact", test, "--nocapture"]);
    command
}

/// Says in a victim that something was acknowledged. On a line of its own, whatever the test runner prints.
pub(crate) fn acknowledge(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nacknowledged {what}").expect("somebody listens");
    out.flush().expect("somebody listens");
}

/// A process that does something until it is killed, and says what was acknowledged. Killed when dropped.
pub(crate) struct Victim {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    /// Starts a test that is told by `variable` which folder is meant.
    pub(crate) fn start(test: &str, variable: &str, folder: &Path) -> Self {
        Self::of(alone(test).env(variable, folder))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let out = child.stdout.take().expect("it is piped");
        let lines = BufReader::new(out).lines();
        Self { child, lines }
    }

    /// What was acknowledged next; `None` once it has ended.
    pub(crate) fn next<T: FromStr>(&mut self) -> Option<T> {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("acknowledged ")?.parse().ok())
    }

    /// All of what was acknowledged next; `None` once it has ended.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        lines.find_map(|line| line.strip_prefix("acknowledged ").map(str::to_owned))
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("it is our child")
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait().expect("it is our child");
        ended.is_some()
    }

    /// Kills it after `wanted` acknowledgements; gives those and all that it made until then.
    pub(crate) fn killed_after<T: FromStr>(mut self, wanted: usize) -> Vec<T> {
        let mut all: Vec<T> = (0..wanted).map_while(|_| self.next()).collect();
        assert!(!all.is_empty(), "the victim did not start");
        self.child.kill().expect("it can be killed");
        all.extend(std::iter::from_fn(|| self.next()));
        all
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Splitmix64: the cases are the same each time.
pub(crate) fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Flips the bit that a seed names.
pub(crate) fn flip(bytes: &mut [u8], seed: &mut u64, place: impl FnOnce(usize) -> usize) {
    let at = place(random(seed) as usize % bytes.len());
    bytes[at] ^= 1 << (random(seed) % 8);
}

/// Names the cases of a run to the process that tries them.
const CASES: &str = "MILLSTREAM_DAMAGE_CASES";
/// Cases that one process tries.
const RUN: u64 = 50;

/// In a process that [`try_damage`] started: tries the cases it is told, and says first which it is, so that the one
/// that killed it is known. Otherwise nothing.
pub(crate) fn tried_cases(mut outcome: impl FnMut(u64) -> String) {
    let Ok(cases) = std::env::var(CASES) else {
        return;
    };
    let (from, to) = cases.split_once("..").expect("it was written below");
    let number = |text: &str| text.parse::<u64>().expect("it was written below");
    for n in number(from)..number(to) {
        eprintln!("case {n}");
        println!("\noutcome {}", outcome(n));
    }
}

/// Outcomes of `cases` cases (or of `CASES=`), tried by `test` in processes that may die of them, which fails.
pub(crate) fn try_damage(test: &str, cases: u64) -> Vec<String> {
    let cases = number_of("CASES", cases);
    let mut outcomes = Vec::new();
    for from in (0..cases).step_by(RUN as usize) {
        let run = format!("{from}..{}", (from + RUN).min(cases));
        let output = alone(test).env(CASES, run).output().expect("it starts");
        assert_success(&output);
        let said = String::from_utf8_lossy(&output.stdout);
        let words = said
            .lines()
            .filter_map(|line| line.strip_prefix("outcome "));
        outcomes.extend(words.map(str::to_owned));
    }
    assert_eq!(outcomes.len() as u64, cases, "{outcomes:?}");
    outcomes
}

/// Shows what a process said before it failed.
pub(crate) fn assert_success(output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
}

/// A file system of its own that is soon full, unmounted when dropped.
pub(crate) struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, said on the console, where this process may not mount, such as in a container without the right to.
    pub(crate) fn mount(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            skipped("this process may not mount a file system");
            return None;
        }
        Some(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that another test is just starting may still hold files of this one.
        let mut umount = Command::new("umount");
        let _ = umount.arg("--lazy").arg(self.folder.path()).status();
    }
}
