//! Fail points of exported checkpoints: written to a file, and taken in by another data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_engine::checkpoint::{
    ArchiveError, Epoch, InState, Standing, export, import_chosen, look,
};
use millstream_engine::fail_points::{CHECKPOINT_BEFORE_TOLD, Point};
use millstream_engine::state::{StateStore, start};

use super::{Act, End, end_of, order, process};
use crate::engine::{config, data_in};
use crate::plan::Plan;
use crate::processes;
use crate::rounds::Folder;
use crate::victim::{self, STOPPED};

/// The test that is started as a process.
const VICTIM: &str = "points::archives::victim";
const FLOW: &str = "flow";

fn archive_in(folder: &Path) -> PathBuf {
    folder.join("flow.checkpoint")
}

fn target_in(folder: &Path) -> PathBuf {
    folder.join("target")
}

/// Runs with the checkpoints of a dataflow in a data folder that nobody uses.
fn at_rest<T>(data: &Path, run: impl FnOnce(&InState) -> T) -> T {
    std::fs::create_dir_all(data).unwrap();
    let (store, writer) = StateStore::open(&data.join("state"), config(0).state).unwrap();
    let (handle, thread) = start(writer).unwrap();
    let storage = InState::open(FLOW, &store, &handle).unwrap();
    let made = run(&storage);
    drop((storage, handle));
    thread.close().unwrap();
    made
}

/// Exports the last checkpoint of a data folder and takes it in by another, where it is not done yet.
fn carry(folder: &Path) -> Result<(), ArchiveError> {
    let file = archive_in(folder);
    let exported = at_rest(&data_in(folder), |storage| {
        let last = Standing::read(storage)?.last();
        match export(storage, FLOW, last, &file) {
            Err(ArchiveError::Exists { .. }) => Ok(()),
            exported => exported.map(|_| ()),
        }
    });
    exported?;
    at_rest(&target_in(folder), |storage| {
        import_chosen(storage, &file).map(|_| ())
    })
}

/// Does nothing by itself.
#[test]
fn victim() {
    let Some(folder) = process::begin() else {
        return;
    };
    match carry(&folder) {
        Ok(()) => process::finish(),
        Err(error) => processes::acknowledge(format_args!("{STOPPED} {error}")),
    }
}

pub(super) fn dies(seed: u64, point: Point, passing: u64) -> bool {
    run(seed, point, &order(point, Act::Die, passing)) == End::Died
}

pub(super) fn fails(seed: u64, point: Point, passing: u64) -> End {
    run(seed, point, &order(point, Act::Fail, passing))
}

fn run(seed: u64, point: Point, orders: &str) -> End {
    let plan = Arc::new(Plan::of(seed));
    let folder = Folder::new();
    let first = order(CHECKPOINT_BEFORE_TOLD, Act::Die, 3);
    let halves = victim::start_with(&plan, 0, folder.path(), (Some(8), &first));
    assert_eq!(end_of(halves, "the first process"), End::Died);
    let end = process::run(VICTIM, folder.path(), (point, orders), || {
        // A file with its name is whole.
        let file = archive_in(folder.path());
        if file.exists() {
            look(&file).unwrap();
        }
        all_is_whole(folder.path());
    });
    let taken = all_is_whole(folder.path());
    assert!(!taken.is_empty());
    end
}

/// Whatever checkpoint the other folder lists can be exported, which reads all of it. Gives them.
fn all_is_whole(folder: &Path) -> Vec<Epoch> {
    let scratch = tempfile::tempdir().unwrap();
    at_rest(&target_in(folder), |storage| {
        let standing = Standing::read(storage).unwrap();
        assert_eq!(standing.readable().count(), standing.all().len());
        let epochs: Vec<_> = standing.readable().map(|one| one.epoch).collect();
        for epoch in &epochs {
            let file = scratch.path().join(epoch.to_string());
            export(storage, FLOW, *epoch, &file).unwrap();
        }
        if let Some(from) = standing.choice().and_then(|choice| choice.from) {
            assert!(epochs.contains(&from), "{from} is chosen and not there");
        }
        epochs
    })
}
