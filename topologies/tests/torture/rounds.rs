//! One seed: an undisturbed run, runs that are killed, a last one, and the comparison.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{append, close, data_in, finish, open, redriving, runtime};
use crate::flows::Kind;
use crate::model;
use crate::outcome::{self, Outcome};
use crate::plan::{Plan, Random};
use crate::processes::{self, Victim};
use crate::victim::{self, FINISHED, FINISHING};

/// A folder that stays if a test fails.
pub(crate) struct Folder(Option<tempfile::TempDir>);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::tempdir().unwrap()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let (true, Some(folder)) = (std::thread::panicking(), self.0.take()) {
            eprintln!("left to be looked at: {}", folder.keep().display());
        }
    }
}

/// Runs the plan of a seed; gives how many processes were killed.
pub(crate) fn torture(seed: u64) -> u64 {
    let plan = Arc::new(Plan::of(seed));
    eprintln!(
        "MILLSTREAM_TORTURE_SEED={seed}: {:?}, {} batches, {} kills",
        Kind::of(&plan),
        plan.batches(),
        plan.kills
    );
    let expected = undisturbed(&plan);
    model::check(&plan, &expected);
    let folder = Folder::new();
    let (mut killed, mut files) = (0, outcome::files(folder.path()));
    for run in 0..plan.kills {
        killed += u64::from(disturbed(&plan, run, folder.path()));
        let now = outcome::files(folder.path());
        for (name, text) in files {
            assert_eq!(now.get(&name), Some(&text), "{name} was touched");
        }
        files = now;
    }
    let mut last = victim::start(&plan, plan.kills, folder.path(), None);
    let said: Vec<String> = std::iter::from_fn(|| last.next()).collect();
    let end = said.last().map(String::as_str);
    assert_eq!(end, Some(FINISHED), "the last run did not finish");
    let found = left(&plan, folder.path());
    found.compare(&expected, &plan);
    assert_eq!(
        outcome::hidden_files(folder.path()),
        0,
        "files have no name"
    );
    verify(&data_in(folder.path()));
    killed
}

/// What the dataflow comes to without checkpoints in a process that is left alone.
pub(crate) fn undisturbed(plan: &Arc<Plan>) -> Outcome {
    let folder = Folder::new();
    let mut options = plan.options(u64::MAX);
    options.checkpoints = None;
    runtime().block_on(async {
        let engine = open(plan, options, folder.path()).await;
        let redriven = redriving(&engine, plan);
        append(&engine, plan, usize::MAX, |_| {}).await;
        finish(&engine, plan, || {}).await.unwrap();
        redriven.abort();
        let outcome = outcome::read(&engine, plan, folder.path()).await;
        close(engine).await;
        outcome
    })
}

/// What the last run has left, read by another one.
pub(crate) fn left(plan: &Arc<Plan>, folder: &Path) -> Outcome {
    runtime().block_on(async {
        let engine = open(plan, plan.options(plan.kills + 1), folder).await;
        let outcome = outcome::read(&engine, plan, folder).await;
        close(engine).await;
        outcome
    })
}

/// A run that is killed; `false` if it was too late.
fn disturbed(plan: &Plan, run: u64, folder: &Path) -> bool {
    let mut random = Random::new(plan.seed ^ (run + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let is_late = run + 2 >= plan.kills;
    match random.below(7) {
        0 => {
            let victim = victim::start(plan, run, folder, Some(0));
            pause(random.below(250_000));
            drop(victim);
            true
        }
        1 | 2 if is_late => {
            let mut victim = victim::start(plan, run, folder, None);
            let said = |victim: &mut Victim| victim.next::<String>();
            let has_come = std::iter::from_fn(|| said(&mut victim)).any(|what| what == FINISHING);
            assert!(has_come, "run {run} ended by itself");
            pause(random.below(60_000));
            let is_alive = !victim.has_ended();
            drop(victim);
            is_alive
        }
        _ => {
            let batches = random.below(100 / (plan.kills + 1));
            let wanted = 1 + random.below(batches * 4 + 12);
            let mut victim = victim::start(plan, run, folder, Some(batches));
            for _ in 0..wanted {
                assert!(
                    victim.next::<String>().is_some(),
                    "run {run} ended by itself"
                );
            }
            pause(random.below(4_000));
            drop(victim);
            true
        }
    }
}

/// Lets the victim go on for a moment: a kill right after it has said something would always meet it at the same places.
fn pause(micros: u64) {
    std::thread::sleep(Duration::from_micros(micros));
}

/// As the command line does it.
pub(crate) fn verify(data: &PathBuf) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    let output = command.arg("verify").arg(data).output().unwrap();
    processes::assert_success(&output);
}
