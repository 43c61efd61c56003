//! Stores of other layouts: the one before is converted, whenever that is interrupted; others are refused.

use std::ops::Bound;

use super::damage::{content, stored, stream};
use super::dead_letters::{letter, store_letters};
use super::snapshots::snapshot;
use super::*;
use crate::state::catalog::{DROP_KEYS, NEXT_KEY};
use crate::state::layout::LAYOUT_KEY;
use crate::state::store::Databases;
use crate::state::{seal, wire};
use crate::store::{Table, WriteTxn};

/// A state that was written before entries had checksums opens as it was.
#[test]
fn a_state_of_the_layout_before_is_converted() {
    let packed = include_bytes!("stored/layout_2.mdb.zst");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let path = state.join("data.mdb");
    std::fs::write(&path, zstd::decode_all(&packed[..]).unwrap()).unwrap();
    assert!(matches!(
        StateStore::open_beside(&state),
        Err(StateError::Layout { found: 2, known: 3 })
    ));
    for _ in 0..2 {
        let (store, mut writer) = open(&state);
        assert_eq!(writer.set_aside(), None);
        let mut found = content(&store, None);
        // Snapshots of before are not certain of their stream, and made anew.
        assert!(found.snapshots.iter().all(Option::is_none));
        found.snapshots.clone_from(&stored().0.snapshots);
        assert!(found == stored().0);
        store.verify().unwrap();
        // The projection that was being dropped still is, or is gone.
        while writer.step_drops().unwrap() {}
        assert_eq!(store.get(TableId(3), b"gone").unwrap(), None);
    }
    StateStore::open_beside(&state).unwrap();
}

/// The bytes of this layout stay what they are.
#[test]
fn a_state_of_this_layout_opens_as_it_was() {
    let packed = include_bytes!("stored/layout_3.mdb.zst");
    let folder = tempfile::tempdir().unwrap();
    let file = zstd::decode_all(&packed[..]).unwrap();
    std::fs::write(folder.path().join("data.mdb"), file).unwrap();
    let (store, writer) = open(folder.path());
    assert_eq!(writer.set_aside(), None);
    assert!(content(&store, None) == stored().0);
    store.verify().unwrap();
}

/// All entries of a table.
fn entries(txn: &WriteTxn<'_>, table: Table) -> Result<Vec<Row>, StateError> {
    let entries = txn.range(table, Bound::Unbounded, Bound::Unbounded)?;
    let entries = entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
    Ok(entries.collect::<Result<_, _>>()?)
}

/// Makes what the layout before has of these entries.
fn unseal(txn: &mut WriteTxn<'_>, table: Table, except: usize) -> Result<(), StateError> {
    for (key, sealed) in entries(txn, table)?.into_iter().skip(except) {
        let value = seal::unsealed(&key, &sealed).unwrap();
        txn.put(table, &key, value)?;
    }
    Ok(())
}

/// Goal: letters of any size are converted, and whoever dies meanwhile goes on. Method: a store is made one of the layout
/// before, but for the first few of its entries, as if these had been converted.
#[test]
fn a_conversion_that_was_ended_goes_on() {
    for converted in [0, 1, 3, 12] {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut writer) = open(folder.path());
        let kept = writer.register_projection("kept", 1, &["t"]).unwrap();
        writer.activate_version("kept", 1).unwrap();
        writer.register_projection("gone", 1, &["t"]).unwrap();
        writer.drop_projection("gone", 1).unwrap();
        let mut letters: Vec<_> = (0..12).map(|n| letter(kept.id.0, 1, n * 10)).collect();
        for letter in &mut letters {
            letter.payload = vec![7; 2 << 20];
        }
        store_letters(&mut writer, &letters);
        let progress = (0..3).map(|n| StateWrite::Progress {
            projection: kept.id,
            partition: PartitionId(n),
            progress: progress_at(100),
        });
        commit(&mut writer, progress.collect());
        let before = |databases: &Databases, txn: &mut WriteTxn<'_>| {
            unseal(txn, databases.progress, converted)?;
            unseal(txn, databases.dead_letters, converted)?;
            for (key, sealed) in entries(txn, databases.catalog)? {
                let value = seal::unsealed(&key, &sealed).unwrap();
                let value = match key[0] {
                    _ if key == LAYOUT_KEY => vec![2],
                    DROP_KEYS => value.to_vec(),
                    _ => wire::sealed(value.to_vec()),
                };
                txn.put(databases.catalog, &key, &value)?;
            }
            assert!(txn.get(databases.catalog, NEXT_KEY)?.is_some());
            Ok(())
        };
        writer.transact(before).unwrap();
        drop((store, writer));
        let (store, writer) = open(folder.path());
        assert_eq!(writer.set_aside(), None, "{converted}");
        let mut found = Vec::<DeadLetter>::new();
        while found.len() < letters.len() {
            let after = found.last().map(DeadLetter::id);
            let page = store.dead_letters(None, after, 5).unwrap();
            assert!(!page.is_empty());
            found.extend(page);
        }
        assert!(found == letters, "{converted}");
        assert_eq!(store.projection("kept", 1).unwrap(), Some(kept));
        store.verify().unwrap();
    }
}

/// Earlier snapshots of the layout before would take the places of those that can be read.
#[test]
fn snapshots_of_before_go_with_the_first_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let take = |writer: &mut StateWriter, version: u64| {
        let snapshot = snapshot(version, vec![version as u8; 60]);
        let write = StateWrite::Snapshot {
            stream: stream(0),
            snapshot,
        };
        commit(writer, vec![write]);
    };
    for version in 1..=3 {
        take(&mut writer, version);
    }
    let before = |databases: &Databases, txn: &mut WriteTxn<'_>| {
        for (key, mut part) in entries(txn, databases.snapshots)? {
            part[0] = 1;
            txn.put(databases.snapshots, &key, &part)?;
        }
        Ok(())
    };
    writer.transact(before).unwrap();
    assert_eq!(store.snapshot(&stream(0)), None);
    for version in 4..=5 {
        take(&mut writer, version);
    }
    // The newest, an earlier one, and the layout.
    assert_eq!(store.verify().unwrap(), 3);
    let fits = |version| move |found: &Snapshot| found.stream_version == version;
    assert_eq!(store.snapshot_fitting(&stream(0), fits(2)), None);
    assert!(store.snapshot_fitting(&stream(0), fits(4)).is_some());
}

/// Nothing that the layout before could not have is given a seal.
#[test]
fn what_is_damaged_is_not_converted() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (store, mut writer) = open(&state);
    let kept = writer.register_projection("kept", 1, &["t"]).unwrap();
    let progress = StateWrite::Progress {
        projection: kept.id,
        partition: PartitionId(0),
        progress: progress_at(100),
    };
    let snapshot = snapshot(1, vec![1]);
    let write = StateWrite::Snapshot {
        stream: stream(0),
        snapshot,
    };
    commit(&mut writer, vec![progress, write]);
    let damage = |databases: &Databases, txn: &mut WriteTxn<'_>| {
        for (key, mut stored) in entries(txn, databases.progress)? {
            stored[3] ^= 1;
            txn.put(databases.progress, &key, &stored)?;
        }
        Ok(txn.put(databases.catalog, LAYOUT_KEY, &[2])?)
    };
    writer.transact(damage).unwrap();
    drop((store, writer));
    let (_store, writer) = open(&state);
    let aside = writer.set_aside().unwrap();
    assert!(matches!(
        StateStore::open_beside(aside),
        Err(StateError::Layout { found: 2, known: 3 })
    ));
}

#[test]
fn a_state_of_another_layout_is_refused_and_an_empty_folder_is_no_state() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    assert!(matches!(
        StateStore::open_beside(&state),
        Err(StateError::Missing { .. })
    ));
    let (_store, mut writer) = open(&state);
    writer
        .transact(|databases, txn| {
            let key = LAYOUT_KEY;
            Ok(seal::put(txn, databases.catalog, key, &[9])?)
        })
        .unwrap();
    drop((_store, writer));
    for error in [
        StateStore::open(&state, options()).map(|_| ()),
        StateStore::open_beside(&state).map(|_| ()),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, StateError::Layout { found: 9, known: 3 }));
        assert!(
            error
                .to_string()
                .contains("run the version of the program that wrote it")
        );
    }
}
