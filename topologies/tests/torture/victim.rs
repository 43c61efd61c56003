//! The process that is killed: runs the dataflow over the log, appends input meanwhile, and says how far it has come.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use millstream::dataflow::{DataflowHandle, DataflowStatus};
use millstream::prelude::*;

use crate::engine::{finish, redriving, runtime, try_append, try_open, within};
use crate::plan::Plan;
use crate::processes::{self, Victim};

/// Tell the process which folder is meant, which plan and run it is, and how many batches of each partition it appends.
const FOLDER: &str = "MILLSTREAM_TORTURE_FOLDER";
const PLAN: &str = "MILLSTREAM_TORTURE_PLAN";
const RUN: &str = "MILLSTREAM_TORTURE_RUN";
const BATCHES: &str = "MILLSTREAM_TORTURE_BATCHES";

/// Everything is in the log, and is being dealt with.
pub(crate) const FINISHING: &str = "finishing";
/// The dataflow is being stopped.
pub(crate) const STOPPING: &str = "stopping";
/// Everything is dealt with, and the engine has shut down.
pub(crate) const FINISHED: &str = "finished";

/// Starts it. With `batches` it appends so many of each partition and goes on until it is killed, otherwise it ends by
/// itself once all is done.
pub(crate) fn start(plan: &Plan, run: u64, folder: &Path, batches: Option<u64>) -> Victim {
    Victim::of(&mut command(plan, run, folder, batches))
}

fn command(plan: &Plan, run: u64, folder: &Path, batches: Option<u64>) -> Command {
    let mut command = processes::alone("victim::victim");
    command
        .env(FOLDER, folder)
        .env(PLAN, plan.seed.to_string())
        .env(RUN, run.to_string());
    if let Some(batches) = batches {
        command.env(BATCHES, batches.to_string());
    }
    command
}

/// Says that something failed and why, which ends the process: as it should where a step was made to fail.
pub(crate) const STOPPED: &str = "stopped";
/// How often the dataflow may begin again; none without it.
const RESTARTS: &str = "MILLSTREAM_TORTURE_RESTARTS";

/// Starts one that comes to fail points, appends everything and ends by itself, if it can.
#[cfg(feature = "failpoints")]
pub(crate) fn start_with(
    plan: &Plan,
    run: u64,
    folder: &Path,
    (batches, points): (Option<u64>, &str),
) -> Victim {
    let mut command = command(plan, run, folder, batches);
    command
        .env(RESTARTS, "5")
        .env(crate::points::POINTS, points);
    Victim::of(&mut command)
}

/// Does nothing by itself.
#[test]
fn victim() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    #[cfg(feature = "failpoints")]
    crate::points::set();
    let plan = Arc::new(Plan::of(processes::number_of(PLAN, 0)));
    let run = processes::number_of(RUN, 0);
    let batches = processes::number_of(BATCHES, u64::MAX);
    runtime().block_on(live(&plan, run, Path::new(&folder), batches));
}

async fn live(plan: &Arc<Plan>, run: u64, folder: &Path, batches: u64) {
    let restarts = u32::try_from(processes::number_of(RESTARTS, 0)).unwrap();
    let opened = try_open(plan, plan.options(run), folder, restarts).await;
    let engine = opened.unwrap_or_else(|error| stopped(&format!("open: {error}")));
    processes::acknowledge("started");
    let telling = tokio::spawn(tell_checkpoints(engine.clone()));
    let redriven = redriving(&engine, plan);
    let watching = tokio::spawn({
        let engine = engine.clone();
        async move { stopped(&format!("engine: {}", engine.failed().await)) }
    });
    let batches_max = usize::try_from(batches).unwrap_or(usize::MAX);
    let appended = try_append(&engine, plan, batches_max, |partition| {
        processes::acknowledge(format_args!("appended {partition}"));
    });
    if appended.await.is_err() {
        // Whoever watches says why.
        within(std::future::pending::<()>()).await;
    }
    if restarts > 0 && batches < u64::MAX {
        // It dies where it was told to.
        within(std::future::pending::<()>()).await;
    }
    if batches < u64::MAX {
        std::future::pending::<()>().await;
    }
    if restarts > 0 {
        save(&engine).await;
    }
    processes::acknowledge(FINISHING);
    let finished = finish(&engine, plan, || processes::acknowledge(STOPPING)).await;
    if let Err(cause) = finished {
        stopped(&cause);
    }
    telling.abort();
    redriven.abort();
    watching.abort();
    let closed = within(engine.shutdown()).await;
    closed.unwrap_or_else(|error| stopped(&format!("shutdown: {error}")));
    #[cfg(feature = "failpoints")]
    crate::points::tell_failures();
    processes::acknowledge(FINISHED);
}

/// Takes a savepoint and deletes it. Both may fail: whoever watches says what that means.
async fn save(engine: &Engine) {
    let flow = engine.dataflow("flow");
    if let Ok(epoch) = within(flow.savepoint()).await
        && within(flow.checkpoint()).await.is_ok()
    {
        let _ = within(flow.delete_savepoint(epoch)).await;
    }
}

fn stopped(cause: &str) -> ! {
    processes::acknowledge(format_args!("{STOPPED} {cause}"));
    std::process::exit(1);
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
                stopped(&format!("dataflow {}: {failure}", flow.name()));
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
