//! The thread that writes one partition's files: a name appears when its file is complete and durable.
//!
//! Invariants: (1) a file is written under a temporary name, forced to the disk and then renamed, so that whoever
//! sees the name sees all of it; (2) commands are carried out in order. Bounds: the queue to the thread.
//! Failure: the first one is kept, and nothing is written after it; what has no name yet is deleted.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use millstream_engine::threads;
use tokio::sync::Notify;

/// Commands that wait for the thread.
const PLACES: usize = 8;

/// What the thread does.
#[derive(Debug)]
pub(super) enum Command {
    /// Writes to the present file, which is made if there is none.
    Write(Vec<u8>),
    /// Completes the present file.
    Finish,
}

/// How files of one partition are named: `prefix-000-000000.extension`.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    pub(super) folder: PathBuf,
    pub(super) prefix: String,
    pub(super) partition: usize,
    pub(super) extension: &'static str,
}

impl Naming {
    fn stem(&self) -> String {
        format!("{}-{:03}-", self.prefix, self.partition)
    }

    fn complete(&self, number: u64) -> PathBuf {
        let (stem, extension) = (self.stem(), self.extension);
        self.folder.join(format!("{stem}{number:06}.{extension}"))
    }

    fn temporary(&self, number: u64) -> PathBuf {
        let (stem, extension) = (self.stem(), self.extension);
        let name = format!(".{stem}{number:06}.{extension}.part");
        self.folder.join(name)
    }

    /// The number behind those that are there. Deletes what an earlier process left incomplete.
    fn first_free(&self) -> io::Result<u64> {
        let (mut next, stem) = (0, self.stem());
        let hidden = format!(".{stem}");
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(&hidden) && name.ends_with(".part") {
                fs::remove_file(entry.path())?;
            }
            let number = name.strip_prefix(&stem).and_then(|rest| {
                let (number, extension) = rest.split_once('.')?;
                (extension == self.extension).then(|| number.parse::<u64>().ok())?
            });
            next = next.max(number.map_or(0, |number| number + 1));
        }
        Ok(next)
    }
}

/// What thread and sink share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    done: AtomicU64,
    failed: Mutex<Option<String>>,
    moved: Notify,
}

impl Shared {
    /// A command was carried out, or given up after a failure, which is kept first: whoever sees that it is done sees
    /// the failure.
    pub(super) fn finish(&self, failure: Option<String>) {
        if let Some(cause) = failure {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(cause);
        }
        self.done.fetch_add(1, Ordering::AcqRel);
        self.moved.notify_one();
    }

    /// Commands that were carried out, or given up after a failure.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    pub(super) fn failure(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clone()
    }

    /// Resolves once more than `done` commands are carried out.
    pub(super) async fn until_past(self: Arc<Self>, done: u64) {
        while self.done() <= done {
            self.moved.notified().await;
        }
    }
}

struct Writer {
    naming: Naming,
    number: u64,
    file: Option<File>,
}

/// Starts the thread; it ends when the sender is dropped.
pub(super) fn start(naming: Naming) -> io::Result<(Sender<Command>, Arc<Shared>)> {
    fs::create_dir_all(&naming.folder)?;
    let writer = Writer {
        number: naming.first_free()?,
        naming,
        file: None,
    };
    let (sender, receiver) = bounded(PLACES);
    let shared = Arc::new(Shared::default());
    let told = Arc::clone(&shared);
    threads::try_spawn("file-sink", move || serve(writer, &receiver, &told))?;
    Ok((sender, shared))
}

fn serve(mut writer: Writer, commands: &Receiver<Command>, shared: &Shared) {
    let mut failed = false;
    for command in commands {
        let mut failure = None;
        if !failed && let Err(error) = writer.run(command) {
            failed = true;
            let path = writer.naming.temporary(writer.number);
            failure = Some(format!("{}: {error}", path.display()));
        }
        shared.finish(failure);
    }
    writer.discard();
}

impl Writer {
    fn run(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Write(bytes) => {
                if self.file.is_none() {
                    self.file = Some(File::create(self.naming.temporary(self.number))?);
                }
                self.file
                    .as_mut()
                    .map_or(Ok(()), |file| file.write_all(&bytes))
            }
            Command::Finish => self.finish(),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        file.sync_all()?;
        drop(file);
        let complete = self.naming.complete(self.number);
        fs::rename(self.naming.temporary(self.number), complete)?;
        sync_folder(&self.naming.folder)?;
        self.number += 1;
        Ok(())
    }

    fn discard(&mut self) {
        if self.file.take().is_some() {
            // Deleted at the next start if not now.
            let _ = fs::remove_file(self.naming.temporary(self.number));
        }
    }
}

/// Makes a renaming durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Folders cannot be opened here, and renamings are part of the file system's journal.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
