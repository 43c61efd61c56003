//! Danger: other processes read a file that is being written. One that is killed while it reads does not keep pages from being
//! used again, one that lives does; and the file may grow far beyond what it was when they opened it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use millstream_engine::store::{Environment, EnvironmentOptions, Table, Writer};
use support::{Victim, acknowledge, alone};

mod support;

/// Names the folder to another process.
const FOLDER: &str = "MILLSTREAM_READERS_FOLDER";
/// Tells that process not to read.
const IDLE: &str = "MILLSTREAM_READERS_IDLE";

/// Each changes a page of the row, and those above it.
const COMMITS: u64 = 200;
const PAGE_BYTES: u64 = 4_096;
const MAP_BYTES: u64 = 64 << 20;

fn options(map_bytes_max: u64) -> EnvironmentOptions {
    EnvironmentOptions {
        map_bytes_max,
        preallocate_step_bytes: 0,
        ..EnvironmentOptions::with_databases(&["rows"])
    }
}

fn reading(map_bytes_max: u64) -> EnvironmentOptions {
    EnvironmentOptions {
        read_only: true,
        ..options(map_bytes_max)
    }
}

fn open(folder: &Path) -> (Environment, Table, Writer) {
    let environment = Environment::open(folder, options(MAP_BYTES)).unwrap();
    let rows = environment.table("rows").unwrap();
    let writer = environment.writer().unwrap();
    (environment, rows, writer)
}

/// Writes the same row over and over.
fn rewrite(writer: &mut Writer, rows: Table, commits: u64) {
    for n in 0..commits {
        let mut txn = writer.begin().unwrap();
        txn.put(rows, b"row", &n.to_be_bytes()).unwrap();
        txn.commit().unwrap();
    }
}

/// Bytes by which the file grows by [`COMMITS`].
fn growth(environment: &Environment, rows: Table, writer: &mut Writer) -> u64 {
    let before = environment.used_bytes();
    rewrite(writer, rows, COMMITS);
    environment.used_bytes() - before
}

/// Reads, or has the file open alone, until it is killed. Does nothing by itself.
#[test]
fn reader() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let environment = Environment::open(Path::new(&folder), reading(MAP_BYTES)).unwrap();
    let stay = || {
        acknowledge(true);
        loop {
            std::thread::park();
        }
    };
    if std::env::var_os(IDLE).is_some() {
        stay();
    }
    environment.read(|_| stay()).unwrap();
}

fn started(command: &mut Command, folder: &Path) -> Victim {
    let mut victim = Victim::of(command.env(FOLDER, folder));
    assert_eq!(victim.next(), Some(true), "it does not read");
    victim
}

/// Story: nobody looked, and what was freed later was not used again until every process had closed the file.
#[test]
fn what_a_killed_reader_held_is_used_again_and_what_a_living_one_holds_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (environment, rows, mut writer) = open(folder.path());
    rewrite(&mut writer, rows, COMMITS);
    let living = started(&mut alone("reader"), folder.path());
    let killed = started(&mut alone("reader"), folder.path());
    let held = |writer: &mut Writer, cleared| {
        assert_eq!(environment.clear_stale_readers().unwrap(), cleared);
        let bytes = growth(&environment, rows, writer);
        assert!(
            bytes > COMMITS * PAGE_BYTES,
            "{bytes}: a reader lost its pages"
        );
    };
    held(&mut writer, 0);
    drop(killed);
    held(&mut writer, 1);
    drop(living);
    assert_eq!(environment.clear_stale_readers().unwrap(), 1);
    assert_eq!(environment.clear_stale_readers().unwrap(), 0);
    assert_eq!(growth(&environment, rows, &mut writer), 0);
}

#[test]
fn opening_for_writing_lets_go_what_a_killed_reader_held() {
    let folder = tempfile::tempdir().unwrap();
    let (environment, rows, mut writer) = open(folder.path());
    rewrite(&mut writer, rows, COMMITS);
    // Without it the last one that closes the file would take the list of readers along.
    let _idle = started(alone("reader").env(IDLE, "1"), folder.path());
    drop(started(&mut alone("reader"), folder.path()));
    drop((environment, writer));
    let (environment, rows, mut writer) = open(folder.path());
    rewrite(&mut writer, rows, COMMITS);
    assert_eq!(growth(&environment, rows, &mut writer), 0);
}

/// Makes the file larger than its readers asked for, and ends. Does nothing by itself.
#[test]
fn grower() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let (_environment, rows, mut writer) = open(Path::new(&folder));
    let mut txn = writer.begin().unwrap();
    txn.put(rows, b"large", &vec![7; 8 << 20]).unwrap();
    txn.commit().unwrap();
}

/// Story: a reader that mapped less than the writer could read nothing any more once the file was larger than its map.
#[test]
fn who_reads_beside_sees_what_comes_after_the_file_has_outgrown_the_map_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (environment, rows, mut writer) = open(folder.path());
    rewrite(&mut writer, rows, 1);
    drop((environment, writer));
    let beside = Environment::open(folder.path(), reading(1 << 20)).unwrap();
    let rows = beside.table("rows").unwrap();
    let grown = alone("grower").env(FOLDER, folder.path()).output().unwrap();
    support::assert_success(&grown);
    let length = beside.read(|reader| reader.get(rows, b"large").unwrap().map(<[u8]>::len));
    assert_eq!(length.unwrap(), Some(8 << 20));
}

/// Opens the file for writing, by which killed readers are let go, and ends. Does nothing by itself.
#[test]
fn opener() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    drop(open(Path::new(&folder)));
}

/// Story: who tried to open a folder a second time, by a name that was not its full one, lost the lock that says that this process
/// lives, and with it what it was reading.
#[cfg(unix)]
#[test]
fn a_second_try_by_another_name_leaves_readers_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (real, other) = (folder.path().join("real"), folder.path().join("other"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &other).unwrap();
    let (environment, rows, mut writer) = open(&other);
    rewrite(&mut writer, rows, COMMITS);
    let grown = environment.read(|_| {
        assert!(Environment::open(&other, options(MAP_BYTES)).is_err());
        let opened = alone("opener").env(FOLDER, &real).output().unwrap();
        support::assert_success(&opened);
        growth(&environment, rows, &mut writer)
    });
    let grown = grown.unwrap();
    assert!(grown > COMMITS * PAGE_BYTES, "{grown}: its pages were used");
}
