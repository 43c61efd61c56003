//! Danger: bytes of the file change. Whoever opens it finds everything as it was, or an error where it is used, or a state
//! that is made anew; never something else.

use std::io::{Seek, SeekFrom, Write};
use std::ops::Bound;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::dead_letters::{letter, store_letters};
use super::snapshots::snapshot;
use super::*;
use crate::state::store::Databases;
use crate::state::{chain, earlier};
use crate::store::WriteTxn;

/// All that is stored, as it is read.
#[derive(Debug, PartialEq)]
pub(super) struct Content {
    projections: Vec<RegisteredProjection>,
    versions: Option<ProjectionVersions>,
    progress: Vec<Option<Progress>>,
    letters: Vec<DeadLetter>,
    rows: Vec<Option<Vec<u8>>>,
    pub(super) snapshots: Vec<Option<Snapshot>>,
}

const ROWS: u32 = 400;
const STREAMS: u64 = 40;

pub(super) fn stream(n: u64) -> StreamId {
    StreamId::new("account", &n.to_string()).unwrap()
}

fn row_key(n: u32) -> Vec<u8> {
    format!("key-{n:04}").into_bytes()
}

/// Reads all. A row that is refused counts as the one that it was, a snapshot that is not there as well: both are made anew
/// by whoever needs them.
pub(super) fn content(store: &StateStore, was: Option<&Content>) -> Content {
    let projections = store.projections().unwrap();
    let registered = projections.first().expect("a projection is registered");
    let row = |n: u32| match store.get(registered.tables[0], &row_key(n)) {
        Err(StateError::Format { database, .. }) => {
            assert_eq!(database, "rows");
            was.unwrap().rows[n as usize].clone()
        }
        row => row.unwrap(),
    };
    let snapshot = |n: u64| {
        let known = || was.and_then(|was| was.snapshots[n as usize].clone());
        store.snapshot(&stream(n)).or_else(known)
    };
    Content {
        versions: store.versions(&registered.name).unwrap(),
        progress: (0..8)
            .map(|n| store.progress(registered.id, PartitionId(n)).unwrap())
            .collect(),
        letters: store.dead_letters(None, None, 1_000).unwrap(),
        rows: (0..ROWS).map(row).collect(),
        snapshots: (0..STREAMS).map(snapshot).collect(),
        projections,
    }
}

/// A state of everything that it can hold, and its file.
pub(super) fn stored() -> &'static (Content, Vec<u8>) {
    static STORED: OnceLock<(Content, Vec<u8>)> = OnceLock::new();
    STORED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut writer) = open(folder.path());
        let kept = writer.register_projection("kept", 1, &["t", "u"]).unwrap();
        writer.activate_version("kept", 1).unwrap();
        let other = writer.register_projection("other", 2, &["t"]).unwrap();
        commit(&mut writer, vec![put(other.tables[0], b"gone", b"1")]);
        writer.drop_projection("other", 2).unwrap();
        let rows = (0..ROWS).map(|n| put(kept.tables[0], &row_key(n), &[n as u8; 40]));
        commit(&mut writer, rows.collect());
        let progress = (0..8).map(|n| StateWrite::Progress {
            projection: kept.id,
            partition: PartitionId(n),
            progress: progress_at(100 + u64::from(n)),
        });
        commit(&mut writer, progress.collect());
        let letters: Vec<_> = (0..20).map(|n| letter(kept.id.0, 1, n * 10)).collect();
        store_letters(&mut writer, &letters);
        let snapshots = (0..STREAMS).map(|n| StateWrite::Snapshot {
            stream: stream(n),
            snapshot: snapshot(n + 1, vec![n as u8; 60]),
        });
        commit(&mut writer, snapshots.collect());
        let content = content(&store, None);
        assert_eq!((content.letters.len(), content.rows.len()), (20, 400));
        assert!(content.snapshots.iter().all(Option::is_some));
        drop((store, writer));
        let mut file = std::fs::read(folder.path().join("data.mdb")).unwrap();
        let used = file.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        file.truncate(used.next_multiple_of(4096));
        (content, file)
    })
}

/// Opens the file with other bytes at a place.
fn open_damaged(at: usize, damage: &[u8]) {
    let (was, file) = stored();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let path = state.join("data.mdb");
    std::fs::write(&path, file).unwrap();
    let mut damaged = std::fs::File::options().write(true).open(&path).unwrap();
    damaged.seek(SeekFrom::Start(at as u64)).unwrap();
    damaged.write_all(damage).unwrap();
    let opened = StateStore::open(&state, options());
    let (store, writer) = opened.unwrap_or_else(|error| panic!("{damage:?} at {at}: {error}"));
    if writer.set_aside().is_none() {
        let is_same = content(&store, Some(was)) == *was;
        assert!(is_same, "{damage:?} at {at} is not noticed");
    } else {
        assert_eq!(store.projections().unwrap(), []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_may_change(at in any::<prop::sample::Index>(), damage in prop::collection::vec(any::<u8>(), 1..4)) {
        let at = at.index(stored().1.len() - damage.len());
        open_damaged(at, &damage);
    }

    /// What is not found by chance: a bit, which leaves most of an entry as it was.
    #[test]
    fn any_bit_may_change(at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let file = &stored().1;
        let at = at.index(file.len());
        open_damaged(at, &[file[at] ^ (1u8 << bit)]);
    }
}

/// Story: a projection whose key had a wrong first bit was no projection any more, and so its rows were forgotten and its
/// ids given again.
#[test]
fn no_entry_may_lie_under_another_key() {
    let mut moved = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::write(state.join("data.mdb"), &stored().1).unwrap();
        let (store, mut writer) = open(&state);
        let move_one = |databases: &Databases, txn: &mut WriteTxn<'_>| {
            let tables = [
                databases.catalog,
                databases.progress,
                databases.dead_letters,
            ];
            let mut at = 0;
            for table in tables {
                let all = (Bound::Unbounded, Bound::Unbounded);
                let entries = txn.range(table, all.0, all.1)?;
                let entries =
                    entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
                let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
                for (key, value) in entries {
                    for byte in 0..key.len() {
                        if at == moved {
                            let mut other = key.clone();
                            other[byte] ^= 1 << (at % 8);
                            txn.delete(table, &key)?;
                            txn.put(table, &other, &value)?;
                            return Ok(true);
                        }
                        at += 1;
                    }
                }
            }
            Ok(false)
        };
        if !writer.transact(move_one).unwrap() {
            break;
        }
        drop((store, writer));
        let (_store, writer) = open(&state);
        assert!(writer.set_aside().is_some(), "{moved}");
        moved += 1;
    }
    assert!(moved > 400, "{moved}");
}

/// Story: a database whose name had a wrong bit was missing, and made anew, empty.
#[test]
fn no_bit_of_a_databases_name_may_change() {
    let file = &stored().1;
    for name in ["catalog", "dead_letters", "progress", "rows", "snapshots"] {
        let found = file.windows(name.len());
        let found = found
            .enumerate()
            .filter(|(_, bytes)| *bytes == name.as_bytes());
        let places: Vec<usize> = found.map(|(at, _)| at).collect();
        assert!(!places.is_empty());
        for bit in 0..name.len() * 8 {
            for place in &places {
                let at = place + bit / 8;
                open_damaged(at, &[file[at] ^ (1 << (bit % 8))]);
            }
        }
    }
}

/// Story: a page that LMDB cannot read, met by the second look at opening and not by the first, kept the engine from starting.
#[test]
fn a_page_that_only_the_second_look_meets_is_damage_too() {
    const LEAF: [u8; 2] = 2u16.to_ne_bytes();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let options = || StateOptions {
        check_bytes_max: 64 << 10,
        ..options()
    };
    let (store, mut writer) = StateStore::open(&state, options()).unwrap();
    let table = writer.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let rows = (0..ROWS).map(|n| put(table, &row_key(n), &[1; 1_000]));
    commit(&mut writer, rows.collect());
    let first = [&table.0.to_be_bytes()[..], &row_key(0)].concat();
    drop((store, writer));
    let path = state.join("data.mdb");
    let mut file = std::fs::read(&path).unwrap();
    let mut damaged = 0;
    // The page of the first rows: the first look goes from the last ones on.
    for page in file.chunks_exact_mut(4_096) {
        if page[10..12] == LEAF && page.windows(first.len()).any(|bytes| *bytes == first) {
            page[10..12].fill(0);
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    std::fs::write(&path, file).unwrap();
    let (store, writer) = StateStore::open(&state, options()).unwrap();
    assert!(writer.set_aside().is_some());
    assert_eq!(store.projections().unwrap(), []);
}

/// What opening does not read is found by verification.
#[test]
fn rows_that_opening_does_not_read_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let options = || StateOptions {
        check_bytes_max: 1 << 10,
        ..options()
    };
    let (store, mut writer) = StateStore::open(folder.path(), options()).unwrap();
    let table = writer.register_projection("p", 1, &["t"]).unwrap().tables[0];
    commit(
        &mut writer,
        (0..ROWS)
            .map(|n| put(table, &row_key(n), &[1; 40]))
            .collect(),
    );
    let snapshots = (0..3).map(|n| StateWrite::Snapshot {
        stream: stream(0),
        snapshot: snapshot(n + 1, vec![n as u8; 60]),
    });
    commit(&mut writer, snapshots.collect());
    let entries = u64::from(ROWS);
    assert!(store.verify().unwrap() > entries);
    let moved = |databases: &Databases, txn: &mut WriteTxn<'_>| {
        let key = [&table.0.to_be_bytes()[..], &row_key(ROWS - 1)].concat();
        let stored = txn.get(databases.rows, &key)?.unwrap().to_vec();
        txn.delete(databases.rows, &key)?;
        Ok(txn.put(databases.rows, &[&key[..], b"0"].concat(), &stored)?)
    };
    writer.transact(moved).unwrap();
    drop((store, writer));
    let (store, writer) = StateStore::open(folder.path(), options()).unwrap();
    assert_eq!(writer.set_aside(), None);
    assert_eq!(store.get(table, &row_key(ROWS - 1)).unwrap(), None);
    assert!(matches!(
        store.verify(),
        Err(StateError::Format {
            database: "rows",
            ..
        })
    ));
}

/// A part of another stream, or of another moment, is no snapshot, and verification says so.
#[test]
fn parts_of_snapshots_belong_where_they_lie() {
    for is_earlier in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut writer) = open(folder.path());
        for n in 0..2 {
            let snapshot = snapshot(n + 1, vec![n as u8; 60]);
            let write = StateWrite::Snapshot {
                stream: stream(0),
                snapshot,
            };
            commit(&mut writer, vec![write]);
        }
        assert_eq!(store.verify().unwrap(), 3);
        let earliest = |found: &Snapshot| found.stream_version == 1;
        assert!(store.snapshot_fitting(&stream(0), earliest).is_some());
        let (from, to) = if is_earlier {
            (earlier::key(&stream(0), 1), earlier::key(&stream(0), 7))
        } else {
            (
                chain::link_key(&stream(0), 0),
                chain::link_key(&stream(1), 0),
            )
        };
        let moved = |databases: &Databases, txn: &mut WriteTxn<'_>| {
            let stored = txn.get(databases.snapshots, &from)?.unwrap().to_vec();
            txn.delete(databases.snapshots, &from)?;
            Ok(txn.put(databases.snapshots, &to, &stored)?)
        };
        writer.transact(moved).unwrap();
        assert_eq!(store.snapshot(&stream(1)), None);
        if is_earlier {
            assert_eq!(store.snapshot_fitting(&stream(0), earliest), None);
        }
        assert!(matches!(
            store.verify(),
            Err(StateError::Format {
                database: "snapshots",
                ..
            })
        ));
    }
}
