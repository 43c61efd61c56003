//! Questions of the command line to the engine that has a data folder, and its answers, as files.
//!
//! Place: a command -> a file in `requests/` -> **here**, once a second -> whoever answers such questions -> a file with the
//! answer, which the command waits for. Unlike [`requests`](super::requests) they are of this engine alone: what an engine
//! that is gone has left is removed, and the command says that it is gone.
//! Invariants: (1) files appear whole or not at all; (2) a question is taken once: its file gets another name first;
//! (3) nobody is answered who has gone: it takes its file away; (4) what is under way when the engine has ended is answered with
//! that, and a shutdown waits for it: it holds the engine, and with it the data folder.
//! Threads: the monitor's looks, a task of the runtime for each question does it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use millstream_engine::time::{Clock, SystemClock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Engine;
use super::under_way::SHUT_DOWN;

/// Folder of questions in a data folder.
const FOLDER: &str = "requests";
/// How the names of one that is being answered and of an answer end; that of a question ends as its kind.
const TAKEN: &str = "taken";
const ANSWER: &str = "answer";

/// A question that was left, for whoever waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    path: PathBuf,
    kind: &'static str,
}

/// Leaves a question of a kind in the data folder `data`.
///
/// # Errors
/// What the file system says.
pub(crate) fn ask(data: &Path, kind: &'static str, question: &impl Serialize) -> io::Result<Asked> {
    let folder = data.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let (now, process) = (SystemClock::new().now().0, std::process::id());
    let path = folder.join(format!("{now:020}-{process}.{kind}"));
    put(&path, question)?;
    Ok(Asked { path, kind })
}

impl Asked {
    fn ends(&self) -> [&'static str; 3] {
        [self.kind, TAKEN, ANSWER]
    }

    /// Whether an engine may still come to it: one that begins removes what an earlier one was asked.
    pub(crate) fn is_there(&self) -> bool {
        let mut ends = self.ends().into_iter();
        ends.any(|end| self.path.with_extension(end).exists())
    }

    /// The answer, if it has come.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn answer<T: DeserializeOwned>(&self) -> io::Result<Option<Result<T, String>>> {
        match fs::read(self.path.with_extension(ANSWER)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Asked {
    /// Nobody waits any more.
    fn drop(&mut self) {
        for end in self.ends() {
            // Most of them are not there.
            let _ = fs::remove_file(self.path.with_extension(end));
        }
    }
}

/// Removes what an earlier engine was asked.
pub(super) fn clear(data: &Path, kinds: &[&str]) {
    for end in kinds.iter().chain(&[TAKEN, ANSWER]) {
        for path in files(data, end) {
            tracing::info!(request = %path.display(), "a request to an earlier engine is removed");
            let _ = fs::remove_file(path);
        }
    }
}

/// Has tasks answer what was asked of a kind.
pub(super) fn take_up<Q, T, F>(engine: &Engine, kind: &str, answer: fn(Engine, Q) -> F)
where
    Q: DeserializeOwned + Send + 'static,
    T: Serialize + Send + Sync + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    for path in files(engine.folder(), kind) {
        let taken = path.with_extension(TAKEN);
        if fs::rename(&path, &taken).is_err() {
            // Withdrawn.
            continue;
        }
        let mut under_way = engine.inner.running.requests().one();
        let of_engine = engine.clone();
        engine.inner.runtime.spawn(async move {
            let answer = tokio::select! {
                biased;
                answer = answered(of_engine, &taken, answer) => answer,
                () = under_way.over() => Err(SHUT_DOWN.to_owned()),
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

/// What is said to a question. The engine is let go with it.
async fn answered<Q: DeserializeOwned, T, F: Future<Output = Result<T, String>>>(
    engine: Engine,
    question: &Path,
    answer: fn(Engine, Q) -> F,
) -> Result<T, String> {
    match read(question) {
        Ok(question) => answer(engine, question).await,
        Err(error) => Err(format!("the request cannot be read: {error}")),
    }
}

fn read<Q: DeserializeOwned>(path: &Path) -> io::Result<Q> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Topology;
    use crate::catalog::bank::Account;

    const KIND_OF_TEST: &str = "test";

    /// An answer that does not come, which holds the engine.
    async fn never(engine: Engine, (): ()) -> Result<(), String> {
        std::future::pending::<()>().await;
        drop(engine);
        Ok(())
    }

    /// Story: a request that was under way held the engine after its shutdown, and nobody could open its folder until it ended.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_shutdown_ends_the_requests_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let topology = || {
            let bank = Topology::named("bank").aggregate::<Account>();
            bank.build().unwrap()
        };
        let engine = Engine::open(folder.path()).run(topology()).await.unwrap();
        let asked = ask(folder.path(), KIND_OF_TEST, &()).unwrap();
        take_up(&engine, KIND_OF_TEST, never);
        engine.shutdown().await.unwrap();
        assert_eq!(Arc::strong_count(&engine.inner), 1);
        assert_eq!(
            asked.answer::<()>().unwrap(),
            Some(Err(SHUT_DOWN.to_owned()))
        );
        drop(engine);
        let engine = Engine::open(folder.path()).run(topology()).await.unwrap();
        engine.shutdown().await.unwrap();
    }
}
