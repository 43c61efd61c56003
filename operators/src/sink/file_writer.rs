//! The thread that writes one partition's files: a name appears when its file is complete and durable.
//!
//! Invariants: (1) a file is written under a temporary name, forced to the disk and then renamed, so that whoever
//! sees the name sees all of it; (2) commands are carried out in order. With checkpoints files are renamed on command,
//! and what has no name yet stays; (3) each command is carried out behind the fence of the run, and none once it is closed.
//! Bounds: the queue to the thread.
//! Failure: the first one is kept, and nothing is written after it; what has no name yet is deleted.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use millstream_engine::fail_point;
use millstream_engine::flow::Fence;
use millstream_engine::threads;
use serde::{Deserialize, Serialize};
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
    /// Forces the present file to the disk.
    Sync,
    /// Gives complete files their names, as far as they do not have them.
    Name(Vec<FileId>),
}

/// A file of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    /// Of the sink.
    pub(super) partition: usize,
    pub(super) number: u64,
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
    pub(super) const fn file(&self, number: u64) -> FileId {
        FileId {
            partition: self.partition,
            number,
        }
    }

    fn name(&self, file: FileId) -> String {
        let FileId { partition, number } = file;
        let (prefix, extension) = (&self.prefix, self.extension);
        format!("{prefix}-{partition:03}-{number:06}.{extension}")
    }

    pub(super) fn complete(&self, file: FileId) -> PathBuf {
        self.folder.join(self.name(file))
    }

    pub(super) fn temporary(&self, file: FileId) -> PathBuf {
        self.folder.join(format!(".{}.part", self.name(file)))
    }

    /// The file that has this name, whatever its extension, which is given as well.
    fn file_of<'a>(&self, name: &'a str) -> Option<(FileId, &'a str)> {
        let rest = name.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        let (partition, rest) = rest.split_once('-')?;
        let (number, extension) = rest.split_once('.')?;
        let file = FileId {
            partition: partition.parse().ok()?,
            number: number.parse().ok()?,
        };
        Some((file, extension))
    }

    /// The number behind those that are there. Deletes incomplete files for which `is_over` holds.
    pub(super) fn first_free(&self, is_over: impl Fn(FileId) -> bool) -> io::Result<u64> {
        let mut next = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let hidden = name.strip_prefix('.').and_then(|name| {
                let name = name.strip_suffix(".part")?;
                self.file_of(name)
            });
            // Of another format it is another sink's, which may be writing to it.
            if hidden.is_some_and(|(file, extension)| extension == self.extension && is_over(file))
            {
                fs::remove_file(entry.path())?;
            }
            if let Some((file, extension)) = self.file_of(name)
                && file.partition == self.partition
                && extension == self.extension
            {
                next = next.max(file.number + 1);
            }
        }
        Ok(next)
    }

    /// Gives each complete file; none if there is no folder yet.
    pub(super) fn each_complete(&self, mut take: impl FnMut(FileId)) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let file = name.to_str().and_then(|name| self.file_of(name));
            if let Some((file, extension)) = file
                && extension == self.extension
            {
                take(file);
            }
        }
        Ok(())
    }

    /// Gives complete files their names, as far as they do not have them.
    pub(super) fn name_all(&self, files: &[FileId]) -> io::Result<()> {
        for &file in files {
            fail_point!(FILE_SINK_BEFORE_NAME, std::convert::identity);
            match fs::rename(self.temporary(file), self.complete(file)) {
                // It has its name, and whoever waited for it may have taken it away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            fail_point!(FILE_SINK_NAMED, std::convert::identity);
        }
        sync_folder(&self.folder)
    }
}

/// What thread and sink share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    done: AtomicU64,
    failed: Mutex<Option<String>>,
    /// Nobody wants what is not carried out yet.
    is_abandoned: AtomicBool,
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
    /// Files are named on command, and stay as they are at the end.
    holds: bool,
}

/// The thread of a sink with checkpoints. Dropped, it gives up what is not carried out and waits for its end: the next
/// run, which may begin at once, must be alone with its files. That takes as long as one write or one sync; a sink that
/// came to its end has nothing left to do. Of a run that was given up it waits for nobody: whoever closed the fence did.
#[derive(Debug)]
pub(super) struct Thread {
    fence: Arc<Fence>,
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.is_abandoned.store(true, Ordering::Release);
        if let Some(handle) = self.handle.take()
            && !self.fence.is_closed()
        {
            // A panic was its failure, which the sink has seen as a thread that is gone.
            let _ = handle.join();
        }
    }
}

/// Starts the thread; it ends when the sender is dropped.
pub(super) fn start(
    naming: Naming,
    fence: Arc<Fence>,
) -> io::Result<(Sender<Command>, Arc<Shared>)> {
    fs::create_dir_all(&naming.folder)?;
    let partition = naming.partition;
    let writer = Writer {
        number: naming.first_free(|file| file.partition == partition)?,
        naming,
        file: None,
        holds: false,
    };
    let (sender, shared, _) = spawn(writer, fence)?;
    Ok((sender, shared))
}

/// The same with checkpoints, in a folder that is there: goes on with `file`, which has that number, or begins with it.
pub(super) fn start_holding(
    naming: Naming,
    number: u64,
    file: Option<File>,
    fence: Arc<Fence>,
) -> io::Result<(Sender<Command>, Arc<Shared>, Thread)> {
    let writer = Writer {
        naming,
        number,
        file,
        holds: true,
    };
    let (sender, shared, handle) = spawn(writer, Arc::clone(&fence))?;
    let thread = Thread {
        fence,
        shared: Arc::clone(&shared),
        handle: Some(handle),
    };
    Ok((sender, shared, thread))
}

fn spawn(
    writer: Writer,
    fence: Arc<Fence>,
) -> io::Result<(Sender<Command>, Arc<Shared>, JoinHandle<()>)> {
    let (sender, receiver) = bounded(PLACES);
    let shared = Arc::new(Shared::default());
    let told = Arc::clone(&shared);
    let handle = threads::try_spawn("file-sink", move || {
        serve(writer, &receiver, &told, &fence);
    })?;
    Ok((sender, shared, handle))
}

fn serve(mut writer: Writer, commands: &Receiver<Command>, shared: &Shared, fence: &Fence) {
    let mut failed = false;
    for command in commands {
        // Held while it is carried out: the run that follows one that was given up must be alone with its files.
        let Some(pass) = fence.try_pass() else {
            break;
        };
        if shared.is_abandoned.load(Ordering::Acquire) {
            break;
        }
        let mut failure = None;
        if !failed && let Err(error) = writer.run(command) {
            failed = true;
            let path = writer.temporary();
            failure = Some(format!("{}: {error}", path.display()));
        }
        drop(pass);
        shared.finish(failure);
    }
    if !writer.holds && !fence.is_closed() {
        writer.discard();
    }
}

impl Writer {
    fn temporary(&self) -> PathBuf {
        self.naming.temporary(self.naming.file(self.number))
    }

    fn run(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Write(bytes) => {
                fail_point!(FILE_SINK_BEFORE_WRITE, std::convert::identity);
                if self.file.is_none() {
                    self.file = Some(File::create(self.temporary())?);
                }
                self.file
                    .as_mut()
                    .map_or(Ok(()), |file| file.write_all(&bytes))
            }
            Command::Finish => self.finish(),
            Command::Sync => self.sync(),
            Command::Name(files) => self.naming.name_all(&files),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        fail_point!(FILE_SINK_BEFORE_SYNC, std::convert::identity);
        file.sync_all()?;
        drop(file);
        if !self.holds {
            let complete = self.naming.complete(self.naming.file(self.number));
            fs::rename(self.temporary(), complete)?;
        }
        sync_folder(&self.naming.folder)?;
        self.number += 1;
        Ok(())
    }

    /// Also that it is there.
    fn sync(&self) -> io::Result<()> {
        if let Some(file) = &self.file {
            fail_point!(FILE_SINK_BEFORE_SYNC, std::convert::identity);
            file.sync_all()?;
            sync_folder(&self.naming.folder)?;
        }
        Ok(())
    }

    fn discard(&mut self) {
        if self.file.take().is_some() {
            // Deleted at the next start if not now.
            let _ = fs::remove_file(self.temporary());
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
