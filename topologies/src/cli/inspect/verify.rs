//! `verify`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use millstream_engine::log::LogError;
use serde_json::{Value, json};

use super::folder::DataFolder;

pub(super) fn verify(data: &Path, is_json: bool, out: &mut impl Write) -> Result<()> {
    let verified = match DataFolder::find(data)?.log()?.verify() {
        Ok(verified) => verified,
        Err(error) => {
            if is_json {
                writeln!(out, "{}", fault(&error))?;
            }
            return Err(error).context("the log is not whole");
        }
    };
    if is_json {
        let (frames, events) = (verified.frames, verified.events);
        let line = json!({ "frames": frames, "events": events, "ok": true });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{} events in {} frames: all checksums, hashes and chains hold",
            verified.events, verified.frames
        )?;
    }
    Ok(())
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
