//! Requests that the command line leaves in a data folder, for the engine that has it or will have it.
//!
//! Place: `dead-letters redrive|edit|discard` -> a file in `requests/` -> **here**, once a second and at the start -> the log.
//! Invariants: (1) a request appears whole or not at all: it is written under another name, synced and renamed;
//! (2) it is removed after its decisions are durable, so a crash in between takes it up again, which does nothing
//! twice: what is not about a letter as it is now is left out, such as what it says of a late item whose place in the stage
//! another one has by now; one of which a part must wait is left with that part;
//! (3) one that is none is put aside as `….refused` and said, never dropped; one that cannot be read for now is left.
//! Memory: one chunk of a request. Threads: the monitor's starts it, a task of the runtime does it, one at a time.

use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_engine::partition::AppendError;
use millstream_engine::time::{Clock, SystemClock};
use millstream_operators::projection::LetterDecision;

use super::{Engine, dead_letters};

/// Folder of requests in a data folder.
const FOLDER: &str = "requests";
/// How a request's name ends once it is whole.
const READY: &str = "jsonl";
/// Decisions in memory.
const CHUNK: usize = 1_024;

/// Leaves decisions in the data folder `data`; gives the file, which is removed once they are in the log.
///
/// # Errors
/// What the file system says.
pub(crate) fn leave(
    data: &Path,
    decisions: impl IntoIterator<Item = LetterDecision>,
) -> io::Result<PathBuf> {
    let folder = data.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let now = SystemClock::new().now().0;
    let process = std::process::id();
    let whole = folder.join(format!("{now:020}-{process}.{READY}"));
    let begun = whole.with_extension("begun");
    let mut file = BufWriter::new(fs::File::create_new(&begun)?);
    for decision in decisions {
        serde_json::to_writer(&mut file, &decision)?;
        file.write_all(b"\n")?;
    }
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(&begun, &whole)?;
    fs::File::open(&folder)?.sync_all()?;
    Ok(whole)
}

/// Whether anything was left, of whatever kind.
pub(super) fn is_any(data: &Path) -> bool {
    let entries = fs::read_dir(data.join(FOLDER));
    entries.is_ok_and(|mut entries| entries.next().is_some())
}

/// Has a task take up what was left, unless one is at it.
pub(super) fn take_up(engine: &Engine, busy: &Arc<AtomicBool>) {
    let found = requests(engine.folder());
    if found.is_empty() || busy.swap(true, Ordering::AcqRel) {
        return;
    }
    let mut under_way = engine.inner.running.requests().one();
    let (engine, busy) = (engine.clone(), Arc::clone(busy));
    let runtime = engine.inner.runtime.clone();
    runtime.spawn(async move {
        for request in found {
            let taken = tokio::select! {
                biased;
                taken = take(&engine, &request) => taken,
                // The next engine has what is not done yet.
                () = under_way.over() => break,
            };
            match taken {
                Ok(()) => {}
                // With the next checkpoint of a dataflow: the others need not wait for that.
                Err(Untaken::Append(cause @ dead_letters::DecideError::Unsaved { .. })) => {
                    tracing::info!(request = %request.display(), %cause, "a request waits");
                }
                // Never: it must not keep those behind it.
                Err(Untaken::Append(dead_letters::DecideError::Append(
                    cause @ (AppendError::Event(_) | AppendError::Panicked { .. }),
                ))) => refuse(&request, &cause.to_string()),
                // Later, or by the next engine.
                Err(Untaken::Append(cause)) => {
                    tracing::warn!(request = %request.display(), %cause, "a request waits");
                    break;
                }
                Err(Untaken::Unreadable(cause)) => refuse(&request, &cause),
                // The disk may answer at the next look; the others need not wait for it.
                Err(Untaken::Io(cause)) => {
                    tracing::warn!(request = %request.display(), %cause, "a request cannot be read for now");
                }
                Err(Untaken::Stays(cause)) => {
                    tracing::warn!(
                        request = %request.display(), %cause,
                        "a request that was taken cannot be removed: it is taken up again, which does nothing twice"
                    );
                }
            }
        }
        busy.store(false, Ordering::Release);
        // A shutdown waits for this one: the engine goes first.
        drop(engine);
        drop(under_way);
    });
}

/// Requests that are whole, oldest first.
fn requests(data: &Path) -> Vec<PathBuf> {
    // No such folder as a rule.
    let Ok(entries) = fs::read_dir(data.join(FOLDER)) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == READY))
        .collect();
    found.sort_unstable();
    found
}

enum Untaken {
    Append(dead_letters::DecideError),
    /// It is no request.
    Unreadable(String),
    /// It could not be read.
    Io(io::Error),
    /// All of it was taken.
    Stays(io::Error),
}

async fn take(engine: &Engine, request: &Path) -> Result<(), Untaken> {
    // Looked through before anything is appended: it is taken as a whole or refused.
    let mut count = 0;
    for decision in lines(request)? {
        let decision = decision?;
        let partitions = engine.partitions();
        if decision.order().log_partition(partitions).0 >= partitions {
            return Err(Untaken::Unreadable(
                "it names a partition that is not there".to_owned(),
            ));
        }
        count += 1;
    }
    let waiting =
        dead_letters::Waiting::of(engine).map_err(|error| Untaken::Append(error.into()))?;
    let (mut lines, mut late) = (lines(request)?, 0);
    let mut rest = Rest::of(request);
    loop {
        let chunk: Vec<_> = lines.by_ref().take(CHUNK).collect::<Result<_, _>>()?;
        if chunk.is_empty() {
            break;
        }
        let (mut admitted, mut of_late) = (Vec::with_capacity(chunk.len()), Vec::new());
        for decision in chunk {
            if let Some(letter) = waiting.late(&decision).map_err(Untaken::Append)? {
                of_late.push(letter);
                continue;
            }
            match waiting.admits(decision.order()) {
                Ok(true) => admitted.push(decision),
                Ok(false) => late += 1,
                // The others need not wait for it.
                Err(cause @ dead_letters::DecideError::Unsaved { .. }) => {
                    rest.add(&decision, cause);
                }
                Err(cause) => return Err(Untaken::Append(cause)),
            }
        }
        let let_go = dead_letters::let_go(engine, of_late).await;
        let_go.map_err(Untaken::Append)?;
        dead_letters::append(engine, admitted)
            .await
            .map_err(Untaken::Append)?;
    }
    if let Some(cause) = rest.leave() {
        return Err(Untaken::Append(cause));
    }
    tracing::info!(request = %request.display(), count, late, "decisions about dead letters were taken, but those that came too late");
    fs::remove_file(request).map_err(Untaken::Stays)
}

/// What is left of a request: decisions that must wait, in a file that takes its place.
struct Rest<'r> {
    request: &'r Path,
    file: io::Result<Option<BufWriter<fs::File>>>,
    cause: Option<dead_letters::DecideError>,
}

impl<'r> Rest<'r> {
    /// Nothing yet.
    const fn of(request: &'r Path) -> Self {
        Self {
            request,
            file: Ok(None),
            cause: None,
        }
    }

    fn path(&self) -> PathBuf {
        self.request.with_extension("rest")
    }

    fn add(&mut self, decision: &LetterDecision, cause: dead_letters::DecideError) {
        let path = self.path();
        let added = match std::mem::replace(&mut self.file, Ok(None)) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => fs::File::create(path).map(BufWriter::new),
            Err(error) => Err(error),
        };
        self.file = added.and_then(|mut file| {
            serde_json::to_writer(&mut file, decision)?;
            file.write_all(b"\n")?;
            Ok(Some(file))
        });
        self.cause = Some(cause);
    }

    /// Puts it in the place of the request; gives why it must wait, if there is any.
    fn leave(self) -> Option<dead_letters::DecideError> {
        let path = self.path();
        let put = self.file.and_then(|file| {
            let Some(file) = file else {
                // Of a request that was taken up before and could not be appended.
                let _ = fs::remove_file(path);
                return Ok(());
            };
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(path, self.request)
        });
        if let Err(cause) = put {
            // The request stays whole: what was taken of it is left out then.
            tracing::warn!(request = %self.request.display(), %cause, "the rest of a request cannot be kept apart");
        }
        self.cause
    }
}

fn lines(request: &Path) -> Result<impl Iterator<Item = Result<LetterDecision, Untaken>>, Untaken> {
    let file = fs::File::open(request).map_err(Untaken::Io)?;
    Ok(BufReader::new(file).lines().map(|line| {
        let line = line.map_err(|error| match error.kind() {
            // It is no text.
            io::ErrorKind::InvalidData => Untaken::Unreadable(error.to_string()),
            _ => Untaken::Io(error),
        })?;
        serde_json::from_str(&line).map_err(|error| Untaken::Unreadable(error.to_string()))
    }))
}

fn refuse(request: &Path, cause: &str) {
    tracing::error!(request = %request.display(), cause, "a request is refused");
    if let Err(cause) = fs::rename(request, request.with_extension("refused")) {
        tracing::error!(request = %request.display(), %cause, "a refused request stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reading a request comes to at its first line.
    fn read(request: &Path) -> Option<Untaken> {
        lines(request).map_or_else(Some, |mut lines| lines.next()?.err())
    }

    /// Story: a request that could not be read for a moment was put aside for good.
    #[test]
    fn only_what_is_no_request_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let request = folder.path().join("1.jsonl");
        assert!(matches!(read(&request), Some(Untaken::Io(_))));
        // Opened, but not read, as on a disk that does not answer.
        fs::create_dir(&request).unwrap();
        assert!(matches!(read(&request), Some(Untaken::Io(_))));
        fs::remove_dir(&request).unwrap();
        for content in [&b"{}\n"[..], b"no JSON\n", b"\xff\n"] {
            fs::write(&request, content).unwrap();
            assert!(matches!(read(&request), Some(Untaken::Unreadable(_))));
        }
        fs::write(&request, b"").unwrap();
        assert!(read(&request).is_none());
    }
}
