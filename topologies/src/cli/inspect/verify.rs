//! `verify`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use millstream_engine::log::{EmbeddedReader, LogError};
use millstream_engine::state::StateError;
use millstream_engine::store::structure::Scope;
use serde_json::{Value, json};

use super::asking::is_running;
use super::folder::DataFolder;

pub(super) fn verify(data: &Path, is_json: bool, out: &mut impl Write) -> Result<()> {
    let folder = DataFolder::find(data)?;
    let log = folder.log()?;
    let verified = match log.verify() {
        Ok(verified) => verified,
        Err(error) => {
            if is_json {
                writeln!(out, "{}", fault(&error))?;
            }
            return Err(error).context("the log is not whole");
        }
    };
    let (frames, events) = (verified.frames, verified.events);
    if !is_json {
        writeln!(
            out,
            "{events} events in {frames} frames: all checksums, hashes and chains hold"
        )?;
    }
    let index = indexes(&log);
    if let (false, Ok(chunks @ 1..)) = (is_json, &index) {
        writeln!(
            out,
            "{chunks} chunks of the stream index: all checksums hold"
        )?;
    }
    let index_error = index.as_ref().err().map(|error| format!("{error:#}"));
    let entries = match state(&folder) {
        Ok(entries) => entries,
        Err(error) => {
            if is_json {
                let error = format!("{error:#}");
                let line = json!({
                    "ok": false, "frames": frames, "events": events, "index_error": index_error, "error": error
                });
                writeln!(out, "{line}")?;
            } else if let Some(error) = index_error {
                writeln!(out, "{error}")?;
            }
            let state = folder.state_folder().display();
            let what = match is_damage(&error) {
                true => format!(
                    "the log is whole, the state in {state} is not: export the checkpoints that matter, look with `effects list --waiting` at what was not delivered yet, which nobody will send without it, stop the engine and delete it: all else is rebuilt from the log"
                ),
                false => format!("the log is whole, the state in {state} could not be checked"),
            };
            return Err(error).context(what);
        }
    };
    if is_json {
        let mut line = json!({
            "ok": index.is_ok(), "frames": frames, "events": events,
            "index_chunks": index.as_ref().ok(), "state_entries": entries
        });
        if let Some(error) = index_error {
            line["index_error"] = json!(error);
            line["error"] = json!(error);
        }
        writeln!(out, "{line}")?;
    } else if let Some(entries) = entries {
        writeln!(out, "{entries} entries of the state: all checksums hold")?;
    }
    index.map(|_| ())
}

/// Reads the stream indexes; gives the number of their chunks. Damage is noted beside the log.
fn indexes(log: &EmbeddedReader) -> Result<u64> {
    log.verify_indexes().map_err(|error| {
        let is_noted = matches!(&error, LogError::Index { partition, .. } if log.is_index_noted_damaged(*partition));
        let what = match is_noted {
            true => "the log is whole, its stream index is not: it is made anew from the log at the next start of an engine",
            false => "the log is whole, its stream index could not be verified, and no damage of it could be noted beside the log",
        };
        anyhow::Error::new(error).context(what)
    })
}

/// Reads the whole state, if there is one; gives the number of its entries. The pages between them are looked at while no engine
/// runs: that takes one long read, during which an engine could not use again what it frees.
fn state(folder: &DataFolder) -> Result<Option<u64>> {
    if !folder.has_state() {
        return Ok(None);
    }
    let state = folder.state()?;
    if !is_running(folder)? {
        let checked = state.environment().check(Scope::Full);
        checked.map_err(StateError::from)?;
    }
    Ok(Some(state.verify()?))
}

fn is_damage(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<StateError>() {
        Some(StateError::Format { .. }) => true,
        Some(StateError::Store(cause)) => cause.is_damage(),
        _ => false,
    }
}

/// The first fault, with its place where it has one.
fn fault(error: &LogError) -> Value {
    let (partition, offset) = match error {
        LogError::Frame {
            partition, offset, ..
        } => (Some(partition.0), Some(offset.0)),
        LogError::Chain {
            partition,
            expected,
            ..
        } => (Some(partition.0), Some(expected.0)),
        _ => (None, None),
    };
    let error = error.to_string();
    json!({ "ok": false, "partition": partition, "offset": offset, "error": error })
}
