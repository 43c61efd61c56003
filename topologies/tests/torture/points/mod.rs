//! Fail points: a process dies, or an operation fails, between any two steps of what must survive it.
//!
//! For each [point](millstream_engine::fail_points) there is a victim that comes to it, in the [`scenario`] that has that step.
//! Where it dies it must die: a point that is not met is a failure. Another process goes on, and what is there in the end
//! must be what a run gives that nobody disturbed. Where it fails the process must go on by itself, or say what failed and
//! end, as [`after_failure`] says for each point; after that it is the same.
//!
//! `MILLSTREAM_FAIL_POINT=` runs one point alone, or all whose names begin so; `MILLSTREAM_FAIL_PASSINGS=` says how often each point is
//! passed before the process dies: 1 to this number, 1 by default. A point that is not passed so often is left alone.

mod archives;
mod effects;
mod flow;
mod letters;
mod process;
mod versions;

use std::collections::BTreeSet;

use millstream_engine::fail_points::{self, Point};
use uuid::Uuid;

use crate::SEED;
use crate::processes::{self, Victim};

/// What is to be done at which points: `name die passing`, several separated by commas.
pub(crate) const POINTS: &str = "MILLSTREAM_TORTURE_POINTS";
/// Says how many points failed before the end.
const FAILURES: &str = "failures";
const ONE: &str = "MILLSTREAM_FAIL_POINT";

/// What a test wants of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Die,
    Fail,
}

/// An order as a process is given it.
fn order(point: Point, act: Act, passing: u64) -> String {
    let act = match act {
        Act::Die => "die",
        Act::Fail => "fail",
    };
    format!("{} {act} {passing}", point.name)
}

/// In a victim: does as it was told.
pub(crate) fn set() {
    let orders = std::env::var(POINTS).unwrap_or_default();
    for order in orders.split(',').filter(|order| !order.is_empty()) {
        let words: Vec<&str> = order.split(' ').collect();
        let [name, act, passing] = words[..] else {
            panic!("{order:?} is no order");
        };
        let point = fail_points::ALL.iter().find(|point| point.name == name);
        let (point, passing) = (*point.unwrap(), passing.parse().unwrap());
        match act {
            "die" => fail_points::die_at(point, passing),
            "fail" => fail_points::fail_at(point, passing),
            other => panic!("{other:?} is nothing to do"),
        }
    }
}

/// In a victim that is about to end well.
pub(crate) fn tell_failures() {
    processes::acknowledge(format_args!("{FAILURES} {}", fail_points::failures()));
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// After this many failures.
    Finished(u64),
    /// It said why it could not go on.
    Stopped {
        cause: String,
        /// The dataflow was being stopped, and is not begun again then.
        was_stopping: bool,
    },
    /// At the point.
    Died,
}

/// Waits for a victim's end. Panics if it neither finished nor said why not, nor died.
fn end_of(mut victim: Victim, what: &str) -> End {
    let (mut last, mut failures, mut was_stopping) = (String::new(), 0, false);
    let mut cause = None;
    while let Some(said) = victim.next_line() {
        was_stopping |= said == crate::victim::STOPPING;
        if let Some(failed) = said.strip_prefix(FAILURES) {
            failures = failed.trim().parse().unwrap();
        } else {
            // Others of the process may still say something.
            let stopped = said.strip_prefix(crate::victim::STOPPED);
            cause = cause.or_else(|| stopped.map(|cause| cause.trim().to_owned()));
            last = said;
        }
    }
    let status = victim.wait();
    if let Some(cause) = cause {
        return End::Stopped {
            cause,
            was_stopping,
        };
    }
    if last == crate::victim::FINISHED {
        assert!(status.success(), "{what}: {status}");
        return End::Finished(failures);
    }
    assert!(
        is_abort(status),
        "{what}: it ended with {status} after it said {last:?}"
    );
    End::Died
}

#[cfg(unix)]
fn is_abort(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGABRT: i32 = 6;
    status.signal() == Some(SIGABRT)
}

#[cfg(not(unix))]
fn is_abort(status: std::process::ExitStatus) -> bool {
    !status.success()
}

/// Seeds that are tried until a process comes to a point.
const TRIES: u64 = 5;

/// What comes to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Flow,
    Letters,
    Archives,
    Versions,
    Effects,
}

fn scenario(point: Point) -> Scenario {
    match point.name.split('.').next() {
        Some("letter" | "projection") => Scenario::Letters,
        Some("archive") => Scenario::Archives,
        Some("version") => Scenario::Versions,
        Some("effect") => Scenario::Effects,
        _ => Scenario::Flow,
    }
}

/// What a process makes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterFailure {
    /// The dataflow, or the projection, begins again, and all comes to its end.
    GoesOn,
    /// It says what failed; another process goes on.
    Stops,
}

/// As `docs/guarantees.md` promises it.
fn after_failure(point: Point) -> AfterFailure {
    match point.name.split('.').next() {
        _ if point == fail_points::RESTORE_BEFORE_FIRST_TURN => AfterFailure::GoesOn,
        _ if point == fail_points::LOG_SINK_OWED => AfterFailure::Stops,
        // After a failed commit nobody is told success again.
        Some("log" | "index" | "state") => AfterFailure::Stops,
        // The start is refused, and whoever asked for the archive is told.
        Some("restore" | "archive") => AfterFailure::Stops,
        _ => AfterFailure::GoesOn,
    }
}

/// The points that are meant and passings of each, with a number that is the same whatever is meant.
fn chosen() -> impl Iterator<Item = (u64, Point, u64)> {
    let one = std::env::var(ONE).unwrap_or_default();
    let passings = processes::number_of("MILLSTREAM_FAIL_PASSINGS", 1);
    let points = (0..).zip(fail_points::ALL.iter().copied());
    let meant = points.filter(move |(_, point)| point.name.starts_with(&one));
    meant.flat_map(move |(number, point)| {
        (1..=passings).map(move |passing| (number + passing - 1, point, passing))
    })
}

fn seed() -> u64 {
    // Its lower half is chance.
    processes::number_of(SEED, Uuid::now_v7().as_u128() as u64)
}

/// Goal: whatever step is a process's last, each result is there, once. Every point is met.
#[test]
fn a_process_may_die_at_any_fail_point() {
    let seed = seed();
    let mut unmet = BTreeSet::new();
    for (at, point, passing) in chosen() {
        eprintln!("{SEED}={seed}: {} for the {passing}. time", point.name);
        let dies = |seed| match scenario(point) {
            Scenario::Flow => flow::dies(seed, at, point, passing),
            Scenario::Letters => letters::dies(point, passing),
            Scenario::Archives => archives::dies(seed, point, passing),
            Scenario::Versions => versions::dies(point, passing),
            Scenario::Effects => effects::dies(point, passing),
        };
        // Some plans have nothing that comes to it once the process before has died: then others are tried, far from it.
        let tries = if passing == 1 { TRIES } else { 1 };
        let others = |again: u64| seed.wrapping_add(again.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let is_met = (0..tries).any(|again| dies(others(again)));
        if !is_met && passing == 1 {
            unmet.insert(point.name);
        }
    }
    assert!(unmet.is_empty(), "no process comes to {unmet:?}");
}

/// Goal: whatever step fails, it is carried out again or said, and each result is there, once.
#[test]
fn any_step_may_fail_that_can() {
    let seed = seed();
    for (at, point, passing) in chosen().filter(|(_, point, _)| point.can_fail) {
        eprintln!("{SEED}={seed}: {} fails the {passing}. time", point.name);
        let end = match scenario(point) {
            Scenario::Flow => flow::fails(seed, at, point, passing),
            Scenario::Letters => letters::fails(point, passing),
            Scenario::Archives => archives::fails(seed, point, passing),
            Scenario::Versions | Scenario::Effects => unreachable!("{} cannot fail", point.name),
        };
        match (after_failure(point), &end) {
            (_, End::Died) => panic!("{} ended the process", point.name),
            (
                AfterFailure::GoesOn,
                End::Stopped {
                    cause,
                    was_stopping: false,
                },
            ) => {
                panic!("{}: the process gave up: {cause}", point.name);
            }
            (AfterFailure::Stops, End::Finished(1..)) => {
                panic!("{}: nobody was told that it failed", point.name);
            }
            (_, End::Finished(0)) if passing == 1 => {
                panic!("no process comes to {}", point.name);
            }
            (_, End::Stopped { cause, .. }) => {
                assert!(
                    cause.contains(point.name),
                    "{} is told as {cause:?}",
                    point.name
                );
            }
            (_, End::Finished(_)) => {}
        }
    }
}
