//! The process that is killed: runs the dataflow over the log, appends input meanwhile, and says how far it has come.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use millstream::dataflow::{DataflowHandle, DataflowStatus};
use millstream::prelude::*;

use crate::engine::{append, close, finish, open, redriving, runtime};
use crate::plan::Plan;
use crate::processes::{self, Victim};

/// Tell the process which folder is meant, which plan and run it is, and how many batches of each partition it appends.
const FOLDER: &str = "MILLSTREAM_TORTURE_FOLDER";
const PLAN: &str = "MILLSTREAM_TORTURE_PLAN";
const RUN: &str = "MILLSTREAM_TORTURE_RUN";
const BATCHES: &str = "MILLSTREAM_TORTURE_BATCHES";

/// Everything is in the log, and is being dealt with.
pub(crate) const FINISHING: &str = "finishing";
/// Everything is dealt with, and the engine has shut down.
pub(crate) const FINISHED: &str = "finished";

/// Starts it. With `batches` it appends so many of each partition and goes on until it is killed, otherwise it ends by
/// itself once all is done.
pub(crate) fn start(plan: &Plan, run: u64, folder: &Path, batches: Option<u64>) -> Victim {
    let mut command: Command = processes::alone("victim::victim");
    command
        .env(FOLDER, folder)
        .env(PLAN, plan.seed.to_string())
        .env(RUN, run.to_string());
    if let Some(batches) = batches {
        command.env(BATCHES, batches.to_string());
    }
    Victim::of(&mut command)
}

/// Does nothing by itself.
#[test]
fn victim() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let plan = Arc::new(Plan::of(processes::number_of(PLAN, 0)));
    let run = processes::number_of(RUN, 0);
    let batches = processes::number_of(BATCHES, u64::MAX);
    runtime().block_on(live(&plan, run, Path::new(&folder), batches));
}

async fn live(plan: &Arc<Plan>, run: u64, folder: &Path, batches: u64) {
    let engine = open(plan, plan.options(run), folder).await;
    processes::acknowledge("started");
    let telling = tokio::spawn(tell_checkpoints(engine.clone()));
    let redriven = redriving(&engine, plan);
    let batches_max = usize::try_from(batches).unwrap_or(usize::MAX);
    append(&engine, plan, batches_max, |partition| {
        processes::acknowledge(format_args!("appended {partition}"));
    })
    .await;
    if batches < u64::MAX {
        std::future::pending::<()>().await;
    }
    processes::acknowledge(FINISHING);
    finish(&engine, plan).await;
    telling.abort();
    redriven.abort();
    close(engine).await;
    processes::acknowledge(FINISHED);
}

/// Says of each checkpoint that it is complete. Ends the process when a dataflow has failed.
async fn tell_checkpoints(engine: Engine) {
    let mut last: Vec<_> = engine.dataflows().iter().map(completed).collect();
    let mut looks = tokio::time::interval(Duration::from_millis(1));
    loop {
        looks.tick().await;
        for (flow, last) in engine.dataflows().iter().zip(&mut last) {
            if let DataflowStatus::Failed(failure) = flow.status() {
                eprintln!("dataflow {}: {failure}", flow.name());
                std::process::exit(1);
            }
            let completed = completed(flow);
            if completed > *last {
                *last = completed;
                processes::acknowledge(format_args!("checkpoint of {}", flow.name()));
            }
        }
    }
}

fn completed(flow: &DataflowHandle) -> u64 {
    let status = flow.checkpoints();
    let completed = status.and_then(|status| status.completed);
    completed.map_or(0, |epoch| epoch.0)
}
