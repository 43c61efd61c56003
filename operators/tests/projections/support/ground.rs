//! A log and a state together: in a folder, where a crash leaves what is stored, or in memory, where stores are stepped as well.

use std::ops::ControlFlow;
use std::path::Path;

use millstream_engine::log::EmbeddedLog;
use millstream_engine::state::{
    DeadLetter, Progress, RegisteredProjection, StateOptions, StateStore, StateWriterThread,
    SteppedStateWriter, TableId, start, stepped,
};
use millstream_engine::store::{Durability, EnvironmentOptions, SimulatedDisk};
use millstream_engine::time::Timestamp;

use super::{Log, State};

/// An empty log and an empty state on disks in memory, at 1970-01-01.
pub(crate) fn in_memory(partitions: u16) -> (Log, State, SteppedStateWriter) {
    in_memory_on(partitions, &SimulatedDisk::new())
}

/// The same with the state on this disk.
pub(crate) fn in_memory_on(
    partitions: u16,
    state: &SimulatedDisk,
) -> (Log, State, SteppedStateWriter) {
    let log = EmbeddedLog::open_simulated(&SimulatedDisk::new(), partitions).unwrap();
    let (store, writer) = StateStore::open_simulated(state, StateOptions::default()).unwrap();
    let (writer, steps) = stepped(writer);
    (
        Log::new(log, Timestamp::EPOCH),
        State { store, writer },
        steps,
    )
}

/// All that a state holds of projections.
#[derive(Debug, Default, PartialEq)]
struct Stored {
    projections: Vec<(RegisteredProjection, Vec<Option<Progress>>)>,
    rows: Vec<(TableId, Vec<u8>, Vec<u8>)>,
    letters: Vec<DeadLetter>,
}

/// A log and a state in a folder. A store on its way is waited for after each step, so a run is the same each time.
pub(crate) struct Ground {
    folder: tempfile::TempDir,
    pub(crate) log: Log,
    open: Option<(State, StateWriterThread)>,
    /// What the state that was kept aside holds: nothing before one was.
    kept: Stored,
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
            kept: Stored::default(),
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
        self.kept = self.stored();
        assert_ne!(self.kept, Stored::default(), "nothing to keep");
    }

    /// The state is as it was kept, or made anew where it was not. Gives whether anything was lost by that: nothing is where
    /// nothing was stored since.
    pub(crate) fn lose_state(&mut self) -> bool {
        let before = self.stored();
        self.again(|folder| {
            let (to, kept) = (folder.join("state"), folder.join("kept"));
            std::fs::remove_dir_all(&to).unwrap();
            if kept.exists() {
                copy(&kept, &to);
            }
        });
        let after = self.stored();
        assert_eq!(after, self.kept, "what is left is not what was kept");
        after != before
    }

    /// The state is made anew.
    pub(crate) fn forget_state(&mut self) {
        assert_ne!(self.stored(), Stored::default(), "nothing to forget");
        self.again(|folder| std::fs::remove_dir_all(folder.join("state")).unwrap());
        assert_eq!(self.stored(), Stored::default(), "not forgotten");
    }

    /// What the state holds now.
    fn stored(&self) -> Stored {
        let State { store, writer } = self.state();
        writer.flush().unwrap();
        let mut stored = Stored {
            letters: store.dead_letters(None, None, usize::MAX).unwrap(),
            ..Stored::default()
        };
        for projection in store.projections().unwrap() {
            let progress = |partition| store.progress(projection.id, partition).unwrap();
            let progress = self.log.partitions().map(progress).collect();
            for &table in &projection.tables {
                let each = |key: &[u8], row: &[u8]| {
                    stored.rows.push((table, key.to_vec(), row.to_vec()));
                    ControlFlow::Continue(())
                };
                store.for_each(table, each).unwrap();
            }
            stored.projections.push((projection, progress));
        }
        stored
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
