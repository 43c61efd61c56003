//! Requests of the command line that a dataflow of the running engine answers: to take a savepoint, or delete one.
//!
//! Place: `checkpoint create|delete` -> a file in `requests/` -> **here**, once a second -> the dataflow -> a file with the
//! answer, which the command waits for. Unlike [`requests`](super::requests) they are of this engine alone: what an
//! engine that is gone has left is removed, and the command says that it is gone.
//! Invariants: (1) files appear whole or not at all; (2) a request is taken once: its file gets another name first;
//! (3) nobody is answered who has gone: it takes its file away.
//! Threads: the monitor's looks, a task of the runtime for each request does it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use millstream_engine::checkpoint::Epoch;
use millstream_engine::time::{Clock, SystemClock};
use serde::{Deserialize, Serialize};

use super::Engine;

/// Folder of requests in a data folder.
const FOLDER: &str = "requests";
/// How the names of a request, one that is being answered and an answer end.
const ASKED: &str = "checkpoint";
const TAKEN: &str = "taken";
const ANSWER: &str = "answer";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) dataflow: String,
    pub(crate) action: Action,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Take a savepoint.
    Create,
    /// Delete one.
    Delete(Epoch),
}

/// The checkpoint that was taken or deleted, or why not.
pub(crate) type Answer = Result<Epoch, String>;

/// A request that was left, for whoever waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked(PathBuf);

/// Leaves a request in the data folder `data`.
///
/// # Errors
/// What the file system says.
pub(crate) fn ask(data: &Path, request: &Request) -> io::Result<Asked> {
    let folder = data.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let (now, process) = (SystemClock::new().now().0, std::process::id());
    let path = folder.join(format!("{now:020}-{process}.{ASKED}"));
    put(&path, request)?;
    Ok(Asked(path))
}

impl Asked {
    /// Whether an engine may still come to it: one that begins removes what an earlier one was asked.
    pub(crate) fn is_there(&self) -> bool {
        let mut ends = [ASKED, TAKEN, ANSWER].iter();
        ends.any(|end| self.0.with_extension(end).exists())
    }

    /// The answer, if it has come.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn answer(&self) -> io::Result<Option<Answer>> {
        match fs::read(self.0.with_extension(ANSWER)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Asked {
    /// Nobody waits any more.
    fn drop(&mut self) {
        for end in [ASKED, TAKEN, ANSWER] {
            // Most of them are not there.
            let _ = fs::remove_file(self.0.with_extension(end));
        }
    }
}

/// Removes what an earlier engine was asked.
pub(super) fn clear(data: &Path) {
    for end in [ASKED, TAKEN, ANSWER] {
        for path in files(data, end) {
            tracing::info!(request = %path.display(), "a request to an earlier engine is removed");
            let _ = fs::remove_file(path);
        }
    }
}

/// Has tasks take up what was asked.
pub(super) fn take_up(engine: &Engine) {
    for path in files(engine.folder(), ASKED) {
        let taken = path.with_extension(TAKEN);
        if fs::rename(&path, &taken).is_err() {
            // Withdrawn.
            continue;
        }
        let of_engine = engine.clone();
        engine.inner.runtime.spawn(async move {
            let answer = match read(&taken) {
                Ok(request) => answer(&of_engine, request).await,
                Err(error) => Err(format!("the request cannot be read: {error}")),
            };
            if fs::remove_file(&taken).is_err() {
                return;
            }
            if let Err(error) = put(&taken.with_extension(ANSWER), &answer) {
                tracing::error!(request = %taken.display(), %error, "an answer cannot be written");
            }
        });
    }
}

async fn answer(engine: &Engine, request: Request) -> Answer {
    let name = &request.dataflow;
    let found = engine.dataflows().iter().find(|flow| flow.name() == name);
    let dataflow = found.ok_or_else(|| format!("the engine runs no dataflow {name:?}"))?;
    match request.action {
        Action::Create => dataflow
            .savepoint()
            .await
            .map_err(|error| error.to_string()),
        Action::Delete(epoch) => {
            let deleted = dataflow.delete_savepoint(epoch).await;
            deleted.map(|()| epoch).map_err(|error| error.to_string())
        }
    }
}

fn read(path: &Path) -> io::Result<Request> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Writes a file that appears whole.
fn put(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let begun = path.with_extension("begun");
    let mut file = fs::File::create_new(&begun)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&begun, path)
}

/// Files of requests whose names end so, the oldest first.
fn files(data: &Path, end: &str) -> Vec<PathBuf> {
    // No such folder as a rule.
    let Ok(entries) = fs::read_dir(data.join(FOLDER)) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == end))
        .collect();
    found.sort_unstable();
    found
}
