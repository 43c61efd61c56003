//! The promise of the state: rows and the progress that explains them never disagree, whatever happens to the
//! process or the disk.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use millstream_engine::event::{Offset, PartitionId, Position, StreamId};
use millstream_engine::log::frame::FrameHash;
use millstream_engine::state::{
    Progress, RegisteredProjection, Snapshot, StateBatch, StateError, StateOptions, StateStore,
    StateWrite, StateWriter, TableId, start,
};
use millstream_engine::store::StoreError;
use support::{SmallDisk, Victim};

mod support;

/// Rows that each batch rewrites, spread over many pages.
const ROWS: u64 = 40;
const PARTITION: PartitionId = PartitionId(2);

fn options() -> StateOptions {
    StateOptions {
        map_bytes_max: 256 << 20,
        preallocate_step_bytes: 1 << 20,
        ..StateOptions::default()
    }
}

fn open(folder: &Path) -> (StateStore, StateWriter, RegisteredProjection) {
    let (store, mut writer) = StateStore::open(folder, options()).unwrap();
    assert_eq!(writer.set_aside(), None, "a kill must not damage the file");
    let projection = writer.register_projection("p", 1, &["t"]).unwrap();
    (store, writer, projection)
}

fn stream() -> StreamId {
    "account-42".parse().unwrap()
}

/// A state of 100 KiB in which every round changes a little, so that it is stored as changes.
fn state_at(round: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..100_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    bytes[..8].copy_from_slice(&round.to_be_bytes());
    bytes
}

/// One batch: rows, progress and a snapshot that all say `round`.
fn batch(projection: &RegisteredProjection, round: u64) -> StateBatch {
    let mut writes: Vec<StateWrite> = (0..ROWS)
        .map(|row| StateWrite::PutRow {
            table: projection.tables[0],
            key: row
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_be_bytes()
                .to_vec(),
            value: [round.to_be_bytes().to_vec(), vec![7; 900]].concat(),
        })
        .collect();
    writes.push(StateWrite::Progress {
        projection: projection.id,
        partition: PARTITION,
        progress: Progress {
            next: Offset(round),
            frame: Some((Offset(round - 1), FrameHash([round as u8; 32]))),
        },
    });
    writes.push(StateWrite::Snapshot {
        stream: stream(),
        snapshot: Snapshot {
            aggregate_version: 1,
            stream_version: round,
            position: Position {
                partition: PARTITION,
                offset: Offset(round - 1),
            },
            frame: FrameHash([round as u8; 32]),
            bytes: state_at(round),
        },
    });
    StateBatch::new(writes)
}

/// The round that progress, each row and the snapshot agree on; 0 when nothing was committed.
fn agreed(store: &StateStore, projection: &RegisteredProjection) -> u64 {
    let table = projection.tables[0];
    let progress = store.progress(projection.id, PARTITION).unwrap();
    let Some(progress) = progress else {
        assert_eq!(store.count(table).unwrap(), 0);
        assert_eq!(store.snapshot(&stream()), None);
        return 0;
    };
    let round = progress.next.0;
    let rows = store
        .scan(table, std::ops::Bound::Unbounded, usize::MAX)
        .unwrap();
    assert_eq!(rows.len() as u64, ROWS);
    for (_, value) in rows {
        assert_eq!(value[..8], round.to_be_bytes(), "row and progress disagree");
    }
    let snapshot = store.snapshot(&stream()).expect("a snapshot of each round");
    assert_eq!(snapshot.stream_version, round);
    assert_eq!(snapshot.bytes, state_at(round));
    round
}

/// Names the folder to the process that is going to be killed.
const VICTIM: &str = "MILLSTREAM_STATE_VICTIM";

/// Submits batches until it is killed and says which were acknowledged. Does nothing by itself.
#[test]
fn state_victim() {
    let Ok(folder) = std::env::var(VICTIM) else {
        return;
    };
    let (store, writer, projection) = open(Path::new(&folder));
    let first = agreed(&store, &projection) + 1;
    let (handle, _thread) = start(writer).unwrap();
    for round in first.. {
        let batch = batch(&projection, round).on_done(move |outcome| {
            outcome.unwrap();
            support::acknowledge(round);
        });
        handle.submit_blocking(batch).unwrap();
    }
}

/// Goal: after kill -9, rows, progress and snapshot are of one batch, and none that was acknowledged is lost.
/// Method: a real process is killed at random moments, over and over on the same folder.
#[test]
fn kill_leaves_state_of_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..support::kills() {
        let victim = Victim::start("state_victim", VICTIM, folder.path());
        let answers = victim.killed_after::<u64>(support::patience(round));
        let acknowledged = answers[answers.len() - 1];
        let (store, _writer, projection) = open(folder.path());
        let found = agreed(&store, &projection);
        assert!(
            found >= acknowledged,
            "round {round}: {acknowledged} acknowledged, {found} there"
        );
    }
}

/// What another process reads beside the writer.
#[test]
fn state_is_read_beside_a_running_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::start("state_victim", VICTIM, folder.path());
    victim.next::<u64>().expect("the victim started");
    let beside = StateStore::open_beside(folder.path()).unwrap();
    let projection = beside.projection("p", 1).unwrap().unwrap();
    // A view is one commit, also while another process writes.
    for _ in 0..50 {
        beside
            .view(|view| {
                let progress = view.progress(projection.id, PARTITION)?.unwrap();
                let rows = view.scan(
                    projection.tables[0],
                    std::ops::Bound::Unbounded,
                    std::ops::Bound::Unbounded,
                    usize::MAX,
                )?;
                for (_, value) in rows {
                    assert_eq!(value[..8], progress.next.0.to_be_bytes());
                }
                Ok(())
            })
            .unwrap();
        victim.next::<u64>();
    }
}

/// A full disk is a typed error, whether the file is grown ahead or by LMDB's own writes; what was acknowledged
/// is there when the state is opened again, and it goes on.
#[test]
fn a_full_disk_stops_the_state_and_loses_nothing() {
    for preallocate_step_bytes in [1 << 20, 0] {
        let Some(disk) = SmallDisk::mount(24 << 20) else {
            return;
        };
        let folder = disk.path().join("state");
        let options = StateOptions {
            preallocate_step_bytes,
            ..options()
        };
        let (store, mut writer) = StateStore::open(&folder, options.clone()).unwrap();
        let table = writer.register_projection("p", 1, &["t"]).unwrap().tables[0];
        let stored = fill(&store, &mut writer, table, preallocate_step_bytes > 0);
        drop((store, writer));
        let (store, mut writer) = StateStore::open(&folder, options).unwrap();
        assert_eq!(store.count(table).unwrap(), stored);
        let delete = StateWrite::DeleteRow {
            table,
            key: 0u64.to_be_bytes().to_vec(),
        };
        writer.step(vec![StateBatch::new(vec![delete])]).unwrap();
        assert_eq!(store.count(table).unwrap(), stored - 1);
    }
}

/// Writes until the disk is full; says how many rows are there.
fn fill(store: &StateStore, writer: &mut StateWriter, table: TableId, is_grown_ahead: bool) -> u64 {
    let put = |n: u64| {
        StateBatch::new(vec![StateWrite::PutRow {
            table,
            key: n.to_be_bytes().to_vec(),
            value: vec![9; 200_000],
        }])
    };
    let mut stored = 0;
    let failed = loop {
        match writer.step(vec![put(stored)]) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000, "the disk never filled");
    };
    assert!(stored > 10);
    let StateError::Stopped { cause } = &failed else {
        panic!("{failed}")
    };
    let StateError::Store(store_error) = &**cause else {
        panic!("{cause}")
    };
    match &**store_error {
        StoreError::DiskFull { .. } => {}
        // LMDB's word for a write of which only a part found room.
        StoreError::Io { .. } if !is_grown_ahead => {}
        other => panic!("{other}"),
    }
    assert!(matches!(
        writer.step(vec![put(0)]),
        Err(StateError::Stopped { .. })
    ));
    assert_eq!(store.count(table).unwrap(), stored);
    stored
}

const READERS_VICTIM: &str = "MILLSTREAM_READERS_VICTIM";

/// Fills the disk of the folder that the environment names, then reads with many readers at once.
#[test]
fn readers_victim() {
    let Ok(folder) = std::env::var(READERS_VICTIM) else {
        return;
    };
    let folder = Path::new(&folder);
    let (store, mut writer, projection) = open(&folder.join("state"));
    fill(&store, &mut writer, projection.tables[0], true);
    let _ = std::fs::write(folder.join("ballast"), vec![1; 32 << 20]);
    nested_reads(&store, 900);
}

/// As many reads at the same moment.
fn nested_reads(store: &StateStore, depth: usize) {
    if depth > 0 {
        store
            .view(|_| {
                nested_reads(store, depth - 1);
                Ok(())
            })
            .unwrap();
    }
}

/// LMDB maps its lock file and leaves it sparse, so a reader whose slot lies in a page of it that was never touched
/// asks a full disk for a block, and gets a SIGBUS.
#[test]
fn readers_go_on_while_the_disk_is_full() {
    let Some(disk) = SmallDisk::mount(24 << 20) else {
        return;
    };
    let output = support::alone("readers_victim")
        .env(READERS_VICTIM, disk.path())
        .output()
        .unwrap();
    support::assert_success(&output);
}
