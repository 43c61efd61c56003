//! `checkpoint list` and `export`: what may be done beside a running engine; [`change`] has the others.

mod change;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use millstream_engine::checkpoint::{
    self, CheckpointError, CheckpointStorage, Epoch, InState, Manifest, StageManifest, Standing,
};
use serde_json::{Value, json};

use super::Data;
use super::folder::DataFolder;
use super::text::{number, one_line, table};
use crate::cli::say;
use crate::dataflow::chosen;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CheckpointCommand {
    /// Print one line per checkpoint, by dataflow, the oldest first
    ///
    /// `bytes` is all of its state, `written` what was written for it; `taken` says how long that took. The one that the next
    /// start begins from is marked, as far as that can be told without starting.
    #[command(
        after_help = "Examples:\n  millstream checkpoint list data/shop\n  millstream checkpoint list data/shop rows --json"
    )]
    List(ListArguments),
    /// Have the running engine take a savepoint, and wait until it is complete
    ///
    /// A savepoint is a checkpoint that stays until it is deleted, and has the rows of all tables, so that it can be
    /// restored whatever happened since.
    #[command(after_help = "Example:\n  millstream checkpoint create data/shop rows")]
    Create(change::CreateArguments),
    /// Have the next start of a dataflow begin from a checkpoint, a file, or anew; the engine must be stopped
    ///
    /// Tables are made what they were then. What a dataflow has let out stays: events in the log are not appended twice,
    /// as far as they are computed again as they were; files that were completed since are named at the start, which is
    /// refused until somebody moves them; calls of `deliver`, channels and the like happen again. Newer
    /// checkpoints stay until the dataflow has begun, so that another choice is possible; savepoints stay for good.
    #[command(
        after_help = "Examples:\n  millstream checkpoint restore data/shop rows 17\n  millstream checkpoint restore data/shop rows --from rows.checkpoint\n  millstream checkpoint restore data/shop rows --anew"
    )]
    Restore(change::RestoreArguments),
    /// Write a checkpoint to a file that can be restored elsewhere, also beside a running engine
    ///
    /// Of a dataflow with tables only savepoints have all there is.
    #[command(
        after_help = "Example:\n  millstream checkpoint export data/shop rows 17 rows.checkpoint"
    )]
    Export(ExportArguments),
    /// Delete a checkpoint, with the state that no other one has
    ///
    /// Beside a running engine savepoints only; others go by themselves.
    #[command(after_help = "Example:\n  millstream checkpoint delete data/shop rows 17")]
    Delete(change::DeleteArguments),
}

/// Which checkpoints.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    data: Data,
    /// The dataflow; all unless said otherwise
    dataflow: Option<String>,
}

/// Which one, and where to.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ExportArguments {
    #[command(flatten)]
    data: Data,
    /// The dataflow
    dataflow: String,
    /// Its number, as `list` prints it
    epoch: u64,
    /// A file that is not there yet
    file: PathBuf,
}

pub(super) fn run(command: &CheckpointCommand, is_json: bool, out: &mut impl Write) -> Result<()> {
    match command {
        CheckpointCommand::List(arguments) => list(arguments, is_json, out),
        CheckpointCommand::Create(arguments) => change::create(arguments, is_json, out),
        CheckpointCommand::Restore(arguments) => change::restore(arguments, is_json, out),
        CheckpointCommand::Export(arguments) => export(arguments, is_json, out),
        CheckpointCommand::Delete(arguments) => change::delete(arguments, is_json, out),
    }
}

/// A checkpoint with what it needs to be printed.
struct Printed<'a> {
    dataflow: &'a str,
    epoch: Epoch,
    found: &'a Result<Manifest, CheckpointError>,
    is_next: bool,
}

fn list(arguments: &ListArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let state = DataFolder::find(&arguments.data.data)?.state()?;
    let wanted = arguments.dataflow.as_deref();
    let mut printed = table(&[
        "dataflow", "epoch", "taken at", "kind", "taken in", "bytes", "written", "stages", "next",
    ]);
    let (mut count, mut unknown) = (0, Vec::new());
    for registered in state.projections()? {
        let Some(dataflow) = InState::dataflow_of(&registered) else {
            continue;
        };
        if wanted.is_some_and(|wanted| wanted != dataflow) {
            continue;
        }
        let Some(storage) = InState::read(dataflow, &state)? else {
            continue;
        };
        let standing = Standing::read(&storage)?;
        let next = chosen::next(&standing);
        unknown.extend(standing.choice_failure().map(|error| {
            let dataflow = one_line(dataflow, usize::MAX);
            let error = one_line(&error.to_string(), usize::MAX);
            format!("what the next start of {dataflow} begins from cannot be told: {error}")
        }));
        for (epoch, found) in standing.all() {
            count += 1;
            let line = Printed {
                dataflow,
                epoch: *epoch,
                found,
                is_next: next == Some(*epoch),
            };
            if is_json {
                writeln!(out, "{}", line.to_json())?;
            } else {
                printed.add_row(line.cells());
            }
        }
    }
    match (count, wanted) {
        (0, Some(wanted)) => bail!("dataflow {wanted:?} has no checkpoints here"),
        (0, None) if !is_json => writeln!(out, "no checkpoints")?,
        _ if is_json => {}
        _ => writeln!(out, "{}", printed.trim_fmt())?,
    }
    for line in unknown {
        match is_json {
            // What stands on standard output is JSON.
            true => say(line),
            false => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

impl Printed<'_> {
    fn cells(&self) -> Vec<comfy_table::Cell> {
        let mut cells = vec![
            one_line(self.dataflow, usize::MAX).into(),
            number(self.epoch),
        ];
        match self.found {
            Ok(found) => {
                let micros = Duration::from_micros(found.micros);
                let kind = if found.is_savepoint {
                    "savepoint"
                } else {
                    "checkpoint"
                };
                let stages = found.stages.iter().map(|stage| {
                    let name = one_line(&stage.name, usize::MAX);
                    format!("{name}/{}", stage.partitions.len())
                });
                cells.extend([
                    found.taken_at.to_string().into(),
                    kind.into(),
                    format!("{micros:.1?}").into(),
                    number(found.bytes()),
                    number(found.bytes_written),
                    stages.collect::<Vec<_>>().join(" ").into(),
                ]);
            }
            Err(error) => {
                cells.extend(["-", "unreadable", "-", "-", "-"].map(Into::into));
                cells.push(one_line(&error.to_string(), usize::MAX).into());
            }
        }
        cells.push(if self.is_next { "start" } else { "" }.into());
        cells
    }

    fn to_json(&self) -> Value {
        let (dataflow, epoch, is_next) = (self.dataflow, self.epoch.0, self.is_next);
        match self.found {
            Ok(found) => json!({
                "dataflow": dataflow,
                "epoch": epoch,
                "taken_at": found.taken_at.to_string(),
                "savepoint": found.is_savepoint,
                "duration_us": found.micros,
                "bytes": found.bytes(),
                "bytes_written": found.bytes_written,
                "stages": found.stages.iter().map(stage).collect::<Vec<_>>(),
                "next_start": is_next,
            }),
            Err(error) => json!({
                "dataflow": dataflow,
                "epoch": epoch,
                "error": error.to_string(),
                "next_start": is_next,
            }),
        }
    }
}

fn stage(stage: &StageManifest) -> Value {
    let slots = stage.partitions.iter().flatten();
    let bytes: u64 = slots
        .flat_map(|slot| &slot.parts)
        .map(|part| part.bytes)
        .sum();
    let first = stage.partitions.first().into_iter().flatten();
    let operators: Vec<_> = first.map(|slot| slot.kind.as_str()).collect();
    json!({
        "name": stage.name,
        "partitions": stage.partitions.len(),
        "operators": operators,
        "bytes": bytes,
    })
}

fn export(arguments: &ExportArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let ExportArguments {
        data,
        dataflow,
        epoch,
        file,
    } = arguments;
    let state = DataFolder::find(&data.data)?.state()?;
    let storage = InState::read(dataflow, &state)?
        .with_context(|| format!("dataflow {dataflow:?} has no checkpoints here"))?;
    let epoch = Epoch(*epoch);
    check_rows(&storage, epoch)?;
    let bytes = checkpoint::export(&storage, dataflow, epoch, file)?;
    let file = file.display().to_string();
    if is_json {
        let line = json!({ "dataflow": dataflow, "epoch": epoch.0, "file": file, "bytes": bytes });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "checkpoint {epoch} of {dataflow} is in {file}, {bytes} bytes"
        )?;
    }
    Ok(())
}

/// Whether all that belongs to a checkpoint is in its parts.
fn check_rows(storage: &dyn CheckpointStorage, epoch: Epoch) -> Result<()> {
    let standing = Standing::read(storage)?;
    let stage = chosen::without_rows(standing.get(epoch)?, storage)?;
    ensure!(
        stage.is_none(),
        "checkpoint {epoch} has no copy of the rows of stage {:?}, which are in its table: only savepoints have one, \
         `millstream checkpoint create` takes one",
        stage.unwrap_or_default()
    );
    Ok(())
}
