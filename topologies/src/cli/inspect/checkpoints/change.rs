//! `checkpoint create`, `restore` and `delete`: through the running engine, or where none runs.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use millstream_engine::checkpoint::{self, CheckpointError, Choice, Epoch, InState, Standing};
use millstream_engine::state::{StateStore, StateWriterThread};
use millstream_engine::store::FolderLock;
use serde_json::{Value, json};

use super::{Data, DataFolder};
use crate::dataflow::chosen;
use crate::engine::checkpoint_requests::{Action, KIND, Request};

/// Of which dataflow.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CreateArguments {
    #[command(flatten)]
    data: Data,
    /// The dataflow
    dataflow: String,
    /// Longest to wait for the engine; it may go on without us
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// What the next start begins from.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RestoreArguments {
    #[command(flatten)]
    data: Data,
    /// The dataflow
    dataflow: String,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Number of a checkpoint, as `list` prints it
    epoch: Option<u64>,
    /// A file that `export` wrote: taken in as a savepoint
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// No checkpoint: tables are emptied, sources read from their beginning; savepoints stay
    #[arg(long)]
    anew: bool,
}

/// Which one.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DeleteArguments {
    #[command(flatten)]
    data: Data,
    /// The dataflow
    dataflow: String,
    /// Its number, as `list` prints it
    epoch: u64,
    /// Also the one that the next start would begin from: that begins anew then. Only while no engine has the folder
    #[arg(long)]
    force: bool,
}

/// The state of a folder that no engine has, for writing.
struct AtRest {
    store: StateStore,
    storage: InState,
    thread: StateWriterThread,
}

impl AtRest {
    /// `or_new`: the dataflow may have had no checkpoints.
    fn open(folder: &DataFolder, dataflow: &str, or_new: bool) -> Result<Self> {
        // Nothing is made where there is nothing, and what is damaged is left to the engine.
        ensure!(
            folder.state_folder().is_dir(),
            "there is no state in {} that checkpoints could be part of: start and stop the engine once, which makes it",
            folder.state_folder().display()
        );
        drop(folder.state()?);
        let (store, writer, thread) = folder.state_at_rest()?;
        let known = InState::read(dataflow, &store)?.is_some();
        ensure!(
            known || or_new,
            "dataflow {dataflow:?} has no checkpoints here"
        );
        let storage = InState::open(dataflow, &store, &writer)?;
        Ok(Self {
            store,
            storage,
            thread,
        })
    }

    fn close(self) -> Result<()> {
        drop((self.store, self.storage));
        Ok(self.thread.close()?)
    }
}

pub(in crate::cli) fn create(
    arguments: &CreateArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let folder = DataFolder::find(&arguments.data.data)?;
    ensure!(
        FolderLock::is_held(folder.state_folder())?,
        "no engine runs on {}: a savepoint is taken by the engine that runs the dataflow",
        folder.data().display()
    );
    let dataflow = &arguments.dataflow;
    let action = Action::Create;
    let epoch = ask(&folder, dataflow, action, arguments.timeout)?;
    if is_json {
        let line = json!({ "dataflow": dataflow, "epoch": epoch.0, "savepoint": true });
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "savepoint {epoch} of {dataflow} is complete")?;
    }
    Ok(())
}

/// Has the running engine do something, and waits for its answer.
fn ask(folder: &DataFolder, dataflow: &str, action: Action, seconds: u64) -> Result<Epoch> {
    let request = Request {
        dataflow: dataflow.to_owned(),
        action,
    };
    super::super::asking::ask(folder, KIND, &request, seconds)
}

pub(in crate::cli) fn restore(
    arguments: &RestoreArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let folder = DataFolder::find(&arguments.data.data)?;
    let (dataflow, source) = (&arguments.dataflow, &arguments.source);
    // Before anything is opened for writing.
    let archive = source.from.as_deref().map(checkpoint::look).transpose()?;
    if let Some(archive) = &archive {
        ensure!(
            archive.dataflow == *dataflow,
            "the file has a checkpoint of dataflow {:?}, not of {dataflow:?}",
            archive.dataflow
        );
    }
    let open = AtRest::open(&folder, dataflow, archive.is_some())?;
    let chosen = choose(&open, source);
    open.close()?;
    let from = chosen?;
    if is_json {
        let epoch = from.map_or(Value::Null, |epoch| epoch.0.into());
        writeln!(
            out,
            "{}",
            json!({ "dataflow": dataflow, "next_start": epoch })
        )?;
        return Ok(());
    }
    match from {
        Some(epoch) => writeln!(
            out,
            "the next start of {dataflow} begins from checkpoint {epoch}; events in the log, files and deliveries since \
             then stay as they are"
        )?,
        None => writeln!(out, "the next start of {dataflow} begins anew")?,
    }
    Ok(())
}

fn choose(open: &AtRest, source: &Source) -> Result<Option<Epoch>> {
    let storage = &open.storage;
    let from = match (source.epoch, &source.from) {
        (Some(epoch), _) => {
            let (epoch, standing) = (Epoch(epoch), Standing::read(storage)?);
            let manifest = standing.get(epoch)?;
            if !standing.is_newest(epoch)
                && let Some(stage) = chosen::without_rows(manifest, storage)?
            {
                return Err(CheckpointError::TablesNewer { epoch, stage }.into());
            }
            Some(epoch)
        }
        // With the choice, so that one that was not chosen in the end does not count as the newest.
        (None, Some(file)) => return Ok(Some(checkpoint::import_chosen(storage, file)?)),
        (None, None) => None,
    };
    Choice::store(storage, from)?;
    Ok(from)
}

pub(in crate::cli) fn delete(
    arguments: &DeleteArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let folder = DataFolder::find(&arguments.data.data)?;
    let (dataflow, epoch) = (&arguments.dataflow, Epoch(arguments.epoch));
    if FolderLock::is_held(folder.state_folder())? {
        ensure!(
            !arguments.force,
            "--force is for a folder at rest: stop the engine that has it first"
        );
        let action = Action::Delete(epoch);
        ask(&folder, dataflow, action, 60)?;
    } else {
        let open = AtRest::open(&folder, dataflow, false)?;
        let deleted = delete_at_rest(&open, epoch, arguments.force);
        open.close()?;
        deleted?;
    }
    if is_json {
        let line = json!({ "dataflow": dataflow, "deleted": epoch.0 });
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "checkpoint {epoch} of {dataflow} is deleted")?;
    }
    Ok(())
}

fn delete_at_rest(open: &AtRest, epoch: Epoch, is_forced: bool) -> Result<()> {
    let standing = Standing::read(&open.storage)?;
    ensure!(
        is_forced || chosen::next(&standing) != Some(epoch),
        "the next start begins from checkpoint {epoch}: choose another one with `millstream checkpoint restore`, or \
         begin anew with --force"
    );
    Ok(checkpoint::delete(&open.storage, epoch)?)
}
