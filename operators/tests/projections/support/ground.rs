//! A log and a state together: in a folder, where a crash leaves what is stored, or in memory, where stores are stepped as well.

use std::path::Path;

use millstream_engine::log::EmbeddedLog;
use millstream_engine::state::{
    StateOptions, StateStore, StateWriterThread, SteppedStateWriter, start, stepped,
};
use millstream_engine::store::{Durability, EnvironmentOptions, SimulatedDisk};
use millstream_engine::time::Timestamp;

use super::{Log, State};

/// An empty log and an empty state on disks in memory, at 1970-01-01.
pub(crate) fn in_memory(partitions: u16) -> (Log, State, SteppedStateWriter) {
    let (log, state) = (SimulatedDisk::new(), SimulatedDisk::new());
    let log = EmbeddedLog::open_simulated(&log, partitions).unwrap();
    let (store, writer) = StateStore::open_simulated(&state, StateOptions::default()).unwrap();
    let (writer, steps) = stepped(writer);
    (
        Log::new(log, Timestamp::EPOCH),
        State { store, writer },
        steps,
    )
}

/// A log and a state in a folder. A store on its way is waited for after each step, so a run is the same each time.
pub(crate) struct Ground {
    folder: tempfile::TempDir,
    pub(crate) log: Log,
    open: Option<(State, StateWriterThread)>,
}

impl Ground {
    pub(crate) fn new(partitions: u16, begin: Timestamp) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let environment = EnvironmentOptions {
            map_bytes_max: 64 << 20,
            preallocate_step_bytes: 0,
            durability: Durability::NoMetaSync,
            ..EnvironmentOptions::default()
        };
        let log = EmbeddedLog::open(&folder.path().join("log"), partitions, environment).unwrap();
        Self {
            log: Log::new(log, begin),
            open: Some(open_state(folder.path())),
            folder,
        }
    }

    pub(crate) fn state(&self) -> &State {
        let (state, _) = self.open.as_ref().unwrap();
        state
    }

    /// The process is killed and started again. Whoever uses the state has to be gone: so below.
    pub(crate) fn crash(&mut self) {
        self.again(|_| {});
    }

    /// Keeps the stored state aside.
    pub(crate) fn keep_state(&mut self) {
        self.again(|folder| copy(&folder.join("state"), &folder.join("kept")));
    }

    /// The state is as it was kept, or made anew where it was not.
    pub(crate) fn lose_state(&mut self) {
        self.again(|folder| {
            let (to, kept) = (folder.join("state"), folder.join("kept"));
            std::fs::remove_dir_all(&to).unwrap();
            if kept.exists() {
                copy(&kept, &to);
            }
        });
    }

    /// The state is made anew.
    pub(crate) fn forget_state(&mut self) {
        self.again(|folder| std::fs::remove_dir_all(folder.join("state")).unwrap());
    }

    /// Opens the state again, after something was done to its files.
    fn again(&mut self, between: impl FnOnce(&Path)) {
        let (state, thread) = self.open.take().unwrap();
        drop(state);
        thread.close().unwrap();
        between(self.folder.path());
        self.open = Some(open_state(self.folder.path()));
    }

    /// After a step: what was handed over is stored, and a little time passes.
    pub(crate) fn rest(&self) {
        self.state().writer.flush().unwrap();
        self.log
            .clock
            .advance(std::time::Duration::from_micros(300));
    }
}

fn open_state(folder: &Path) -> (State, StateWriterThread) {
    let options = StateOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        ..StateOptions::default()
    };
    let (store, writer) = StateStore::open(&folder.join("state"), options).unwrap();
    let (writer, thread) = start(writer).unwrap();
    (State { store, writer }, thread)
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
