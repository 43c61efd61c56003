//! Asking the engine that runs on a data folder.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use millstream_engine::store::FolderLock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::folder::DataFolder;
use crate::engine::asking;

/// How often an answer is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks between two at whether the engine still runs.
const LOOKS: u64 = 20;

/// Whether an engine runs on the folder.
pub(super) fn is_running(folder: &DataFolder) -> Result<bool> {
    let state = folder.state_folder();
    Ok(state.is_dir() && FolderLock::is_held(state)?)
}

/// Has the running engine do something, and waits for its answer.
pub(super) fn ask<T: DeserializeOwned>(
    folder: &DataFolder,
    kind: &'static str,
    question: &impl Serialize,
    seconds: u64,
) -> Result<T> {
    let data = folder.data();
    let asked = asking::ask(data, kind, question)
        .with_context(|| format!("leaving a request in {}", data.display()))?;
    let looks = seconds.saturating_mul(LOOKS);
    let mut gone = 0;
    for look in 0..=looks {
        if let Some(answer) = asked.answer()? {
            return answer.map_err(anyhow::Error::msg);
        }
        if look % LOOKS == 0 && !FolderLock::is_held(folder.state_folder())? {
            bail!("the engine has ended before it answered");
        }
        // Between request and answer there is a moment with neither.
        gone = if asked.is_there() { 0 } else { gone + 1 };
        if gone == LOOKS {
            bail!("another engine has begun: ask again");
        }
        // Nobody unparks it; waking early does no harm.
        std::thread::park_timeout(LOOK_EVERY);
    }
    bail!("the engine has not answered within {seconds} s; it may still do what was asked")
}
