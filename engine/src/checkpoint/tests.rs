//! What is known of stored checkpoints: which one counts as the newest, what stays, what of a file is taken in.

use std::ops::Bound;
use std::sync::Arc;
use std::task::Waker;

use super::storage::{CHUNK_BYTES, manifest_key, part_key};
use super::*;
use crate::time::Timestamp;

const CHOICE: &[u8] = b"begin";

fn put(storage: &InMemory, rows: Rows, key: &[u8], value: Vec<u8>) {
    let write = StorageWrite {
        rows,
        key: key.to_owned(),
        value: Some(value),
    };
    let written = storage.write(vec![write], Arc::new(|_| {}), Waker::noop());
    written.unwrap();
}

/// With one part of each number and length.
fn manifest(epoch: u64, is_savepoint: bool, parts: &[(u64, u64)]) -> Manifest {
    let part = |&(epoch, bytes)| StoredPart {
        epoch: Epoch(epoch),
        bytes,
    };
    Manifest {
        epoch: Epoch(epoch),
        taken_at: Timestamp::EPOCH,
        micros: 0,
        bytes_written: 0,
        hash_probe: Manifest::probe(),
        is_savepoint,
        stages: vec![StageManifest {
            name: "sums".to_owned(),
            number: 0,
            partitions: vec![vec![SlotManifest {
                kind: "sums".to_owned(),
                parts: parts.iter().map(part).collect(),
            }]],
        }],
    }
}

/// Stores it with rows of one byte.
fn add(storage: &InMemory, manifest: &Manifest) {
    for ((epoch, stage, partition, slot), chunks) in manifest.named() {
        for chunk in 0..chunks.min(2) {
            let key = part_key(epoch, stage, partition, slot, chunk);
            put(storage, Rows::Parts, &key, vec![7]);
        }
    }
    let key = manifest_key(manifest.epoch);
    put(storage, Rows::Manifests, &key, manifest.to_bytes().unwrap());
}

/// A savepoint, then ordinary ones.
fn stored(numbers: &[u64]) -> InMemory {
    let storage = InMemory::default();
    for &number in numbers {
        add(&storage, &manifest(number, number == 1, &[(number, 1)]));
    }
    storage
}

fn standing(storage: &InMemory) -> Standing {
    Standing::read(storage).unwrap()
}

fn numbers(storage: &InMemory) -> Vec<u64> {
    let standing = standing(storage);
    standing.all().iter().map(|(epoch, _)| epoch.0).collect()
}

/// Numbers of the parts that there are.
fn parts(storage: &InMemory) -> Vec<u64> {
    let keys = storage.keys(Rows::Parts, Bound::Unbounded, 99).unwrap();
    let epoch = |key: &Vec<u8>| u64::from_be_bytes(*key.first_chunk().unwrap());
    keys.iter().map(epoch).collect()
}

#[test]
fn what_was_before_a_deleted_one_does_not_count_as_the_newest() {
    let storage = stored(&[1, 4, 5]);
    assert!(standing(&storage).is_newest(Epoch(5)));
    delete(&storage, Epoch(5)).unwrap();
    let standing = standing(&storage);
    assert!(!standing.is_newest(Epoch(4)) && standing.last() == Epoch(5));
    assert_eq!(standing.candidates().count(), 0);
    assert_eq!(parts(&storage), [1, 4]);
}

#[test]
fn none_counts_as_the_newest_once_tables_are_left() {
    let storage = stored(&[1, 4, 5]);
    Choice::store(&storage, None).unwrap();
    // Nothing has begun: another choice will do.
    assert!(standing(&storage).is_newest(Epoch(5)));
    for _ in 0..2 {
        Choice::leave_newest(&storage, None).unwrap();
        let standing = standing(&storage);
        assert!(!standing.is_newest(Epoch(5)));
        assert_eq!(standing.last(), Epoch(6));
        assert_eq!(standing.candidates().count(), 0);
    }
    Choice::store(&storage, Some(Epoch(1))).unwrap();
    Choice::leave_newest(&storage, Some(Epoch(1))).unwrap();
    assert!(!standing(&storage).is_newest(Epoch(5)));
    // A later one is the newest again.
    add(&storage, &manifest(8, false, &[]));
    let standing = standing(&storage);
    assert!(standing.is_newest(Epoch(8)) && standing.choice().is_none());
    let nothing = InMemory::default();
    Choice::leave_newest(&nothing, None).unwrap();
    assert_eq!(nothing.get(Rows::Manifests, CHOICE).unwrap(), None);
}

#[test]
fn savepoints_that_are_kept_do_not_count_as_the_newest() {
    let storage = stored(&[1]);
    for _ in 0..2 {
        assert!(keep_savepoints(&storage).unwrap());
        assert_eq!(standing(&storage).last(), Epoch(2));
        assert!(!standing(&storage).is_newest(Epoch(1)));
    }
    storage.fail("the disk is full");
    add(&storage, &manifest(3, false, &[]));
    assert_eq!(numbers(&storage), [1]);
    Choice::store(&storage, None).unwrap_err();
    let storage = stored(&[1, 2]);
    storage.fail("the disk is full");
    let error = keep_savepoints(&storage).unwrap_err();
    assert!(matches!(error, CheckpointError::Storage(_)), "{error}");
    assert_eq!(numbers(&storage), [1, 2]);
}

#[test]
fn what_cannot_be_read_stays_with_all_that_it_may_name() {
    let storage = stored(&[1, 2, 4, 5]);
    let newer = [200, 1, 2, 3].to_vec();
    put(&storage, Rows::Manifests, &manifest_key(Epoch(3)), newer);
    put(
        &storage,
        Rows::Parts,
        &part_key(Epoch(3), 0, 0, 0, 0),
        vec![1],
    );
    assert!(keep_savepoints(&storage).unwrap());
    assert_eq!(numbers(&storage), [1, 3]);
    assert_eq!(parts(&storage), [1, 2, 3]);
    delete(&storage, Epoch(3)).unwrap();
    assert_eq!((numbers(&storage), parts(&storage)), (vec![1], vec![1]));
}

#[test]
fn a_choice_that_cannot_be_read_gives_way_to_another() {
    for from in [None, Some(Epoch(1))] {
        let storage = stored(&[1, 5]);
        put(&storage, Rows::Manifests, CHOICE, vec![0xc1]);
        let unknown = standing(&storage);
        assert!(unknown.choice_failure().is_some() && unknown.choice().is_none());
        assert!(!unknown.is_newest(Epoch(5)));
        assert_eq!(unknown.candidates().count(), 0);
        Choice::store(&storage, from).unwrap();
        let known = standing(&storage);
        assert!(known.choice_failure().is_none());
        assert_eq!(known.choice().unwrap().from, from);
        // It is not known what was chosen before, and made of the tables.
        assert!(!known.is_newest(Epoch(5)));
    }
    let storage = stored(&[1, 5]);
    put(&storage, Rows::Manifests, CHOICE, vec![0xc1]);
    delete(&storage, Epoch(5)).unwrap();
    assert_eq!(numbers(&storage), [1]);
}

/// What is said of a file with this checkpoint, whose hash is right.
fn refused(manifest: &Manifest) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crafted.checkpoint");
    let storage = InMemory::default();
    add(&storage, manifest);
    export(&storage, "sums", manifest.epoch, &path).unwrap();
    let storage = InMemory::default();
    let error = import(&storage, &path).unwrap_err();
    assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
    assert!(numbers(&storage).is_empty() && parts(&storage).is_empty());
    error.to_string()
}

#[test]
fn a_file_whose_numbers_cannot_be_is_refused() {
    let above = refused(&manifest(3, true, &[(u64::MAX, 1)]));
    assert!(above.contains("checkpoint 3 with a part of"), "{above}");
    let far = refused(&manifest(u64::MAX, true, &[(1, 1)]));
    assert!(far.contains("its parts are of"), "{far}");
    let short = refused(&manifest(3, true, &[(2, 9)]));
    assert!(short.contains("another row"), "{short}");
    let of_two = refused(&manifest(3, true, &[(2, CHUNK_BYTES as u64 + 1)]));
    assert!(of_two.contains("another row"), "{of_two}");
}

/// Story: what was begun had the file's name with `.part` behind it, whatever had that name already, and stayed after a failure.
#[test]
fn an_export_leaves_other_files_and_nothing_where_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.checkpoint");
    let others = folder.path().join("one.checkpoint.part");
    std::fs::write(&others, "mine").unwrap();
    let missing = InMemory::default();
    let key = manifest_key(Epoch(1));
    let bytes = manifest(1, true, &[(1, 1)]).to_bytes().unwrap();
    put(&missing, Rows::Manifests, &key, bytes);
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let error = export(&missing, "sums", Epoch(1), &path).unwrap_err();
    assert!(error.to_string().contains("a part is missing"), "{error}");
    assert_eq!(files(), 1);
    export(&stored(&[1]), "sums", Epoch(1), &path).unwrap();
    assert_eq!(
        (files(), std::fs::read(&others).unwrap()),
        (2, b"mine".to_vec())
    );
}

#[test]
fn a_file_that_is_chosen_does_not_count_as_what_tables_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.checkpoint");
    export(&stored(&[1]), "sums", Epoch(1), &path).unwrap();
    let storage = stored(&[1, 5]);
    let epoch = import_chosen(&storage, &path).unwrap();
    let standing = standing(&storage);
    assert_eq!((epoch, standing.last()), (Epoch(6), Epoch(7)));
    assert_eq!(standing.choice().unwrap().from, Some(epoch));
    assert!(!standing.is_newest(epoch));
    let next: Vec<_> = standing.candidates().map(|(epoch, _)| *epoch).collect();
    assert_eq!(next, [epoch]);
}

/// Story: a file that was taken in by mistake made the newest checkpoint of a dataflow with tables unusable, although nothing
/// had begun from the file.
#[test]
fn a_choice_after_that_of_a_file_finds_the_newest_with_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.checkpoint");
    export(&stored(&[1]), "sums", Epoch(1), &path).unwrap();
    let storage = stored(&[1, 5]);
    for _ in 0..2 {
        import_chosen(&storage, &path).unwrap();
        assert!(standing(&storage).is_newest(Epoch(5)));
    }
    Choice::store(&storage, Some(Epoch(5))).unwrap();
    let again = standing(&storage);
    assert!(again.is_newest(Epoch(5)) && !again.is_newest(Epoch(1)));
    let next: Vec<_> = again.candidates().map(|(epoch, _)| *epoch).collect();
    assert_eq!(next, [Epoch(5)]);
    // A start from the file has begun to make them its own.
    let taken_in = import_chosen(&storage, &path).unwrap();
    assert!(standing(&storage).keeps_rows_of_another());
    Choice::leave_newest(&storage, Some(taken_in)).unwrap();
    let left = standing(&storage);
    assert!(!left.is_newest(Epoch(5)) && !left.keeps_rows_of_another());
    Choice::store(&storage, Some(Epoch(5))).unwrap();
    assert!(!standing(&storage).is_newest(Epoch(5)));
    // As earlier programs have stored it.
    let earlier = b"\x82\xa4from\x05\xa5above\x64".to_vec();
    put(&storage, Rows::Manifests, CHOICE, earlier);
    assert_eq!(standing(&storage).choice().unwrap().rows_of, None);
}

#[test]
fn a_length_that_is_not_there_is_not_reserved() {
    let manifest = manifest(1, true, &[(1, 1 << 51)]);
    let storage = InMemory::default();
    add(&storage, &manifest);
    let saved = SavedCheckpoint::new(manifest, Arc::new(storage));
    let mut restoring = saved.restoring("sums", 0, 1);
    let error = restoring.whole::<Vec<u8>>("sums").unwrap_err();
    assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
}
