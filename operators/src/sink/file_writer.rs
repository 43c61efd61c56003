//! The thread that writes one partition's files: a name appears when its file is complete and durable.
//!
//! Invariants: (1) a file is written under a temporary name, forced to the disk and then renamed, so that whoever
//! sees the name sees all of it; (2) commands are carried out in order. With checkpoints files are renamed on command,
//! and what has no name yet stays; (3) each command is carried out behind the fence of the run, and none once it is closed.
//! Bounds: the queue to the thread.
//! Failure: the first one is kept, and nothing is written after it; what has no name yet is deleted.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use millstream_engine::fail_point;
use millstream_engine::flow::Fence;
use millstream_engine::threads;
use tokio::sync::Notify;

use super::file_naming::{HeldFile, Naming, sync_folder};

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
    Name(Vec<HeldFile>),
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

/// Starts the thread of a sink of so many partitions; it ends when the sender is dropped.
pub(super) fn start(
    naming: Naming,
    partitions: usize,
    fence: Arc<Fence>,
) -> io::Result<(Sender<Command>, Arc<Shared>)> {
    fs::create_dir_all(&naming.folder)?;
    let writer = Writer {
        number: naming.first_free(|file| naming.deals_with(file.partition, partitions))?,
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
