//! Checkpoints as files: whole ones are gone on from elsewhere, others change nothing.

use std::ops::Bound;
use std::path::Path;

use millstream_engine::checkpoint::{
    self, ArchiveError, CheckpointStorage, Epoch, InMemory, Rows, Standing,
};

use crate::changes::{fed, run, sums};
use crate::stored::{expected, go_on, until_savepoint};

fn export(folder: &Path) -> std::path::PathBuf {
    let storage = InMemory::default();
    let (epoch, _) = until_savepoint(&storage);
    let path = folder.join("operators.checkpoint");
    let bytes = checkpoint::export(&storage, "operators", epoch, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
    let again = checkpoint::export(&storage, "operators", epoch, &path);
    assert!(
        matches!(again, Err(ArchiveError::Exists { .. })),
        "{again:?}"
    );
    let names = std::fs::read_dir(folder).unwrap();
    assert_eq!(names.count(), 1);
    path
}

/// What is said of these bytes; nothing is stored of them.
fn refused(folder: &Path, bytes: &[u8]) -> ArchiveError {
    let path = folder.join("broken.checkpoint");
    std::fs::write(&path, bytes).unwrap();
    let storage = InMemory::default();
    let error = checkpoint::import(&storage, &path).unwrap_err();
    let rows = storage.keys(Rows::Parts, Bound::Unbounded, 9).unwrap();
    assert!(rows.is_empty(), "{error}");
    assert!(
        Standing::read(&storage).unwrap().all().is_empty(),
        "{error}"
    );
    error
}

#[test]
fn a_file_is_gone_on_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = export(folder.path());
    let looked = checkpoint::look(&path).unwrap();
    assert_eq!(looked.dataflow, "operators");
    assert!(looked.manifest.is_savepoint);
    let expected = expected();
    for partitions in [1, 2, 4] {
        assert_eq!(
            go_on(&path, partitions),
            expected,
            "{partitions} partitions"
        );
    }
}

#[test]
fn it_gets_numbers_behind_those_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = export(folder.path());
    let storage = InMemory::default();
    until_savepoint(&storage);
    let first = checkpoint::import(&storage, &path).unwrap();
    let second = checkpoint::import(&storage, &path).unwrap();
    let last = Standing::read(&storage).unwrap().last();
    assert!(first.0 > 1 && second > first && last == second);
    checkpoint::delete(&storage, first).unwrap();
    let out = folder.path().join("again.checkpoint");
    checkpoint::export(&storage, "operators", second, &out).unwrap();
    assert_eq!(go_on(&out, 2), expected());
}

/// A file of about a kilobyte.
fn small(folder: &Path) -> Vec<u8> {
    let storage = InMemory::default();
    run(&fed(), &storage, &[], sums("a")).unwrap();
    let path = folder.join("small.checkpoint");
    checkpoint::export(&storage, "changed", Epoch(1), &path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert!((500..3_000).contains(&bytes.len()), "{}", bytes.len());
    bytes
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = small(folder.path());
    for length in 0..bytes.len() {
        let error = refused(folder.path(), &bytes[..length]);
        let is_meant =
            matches!(error, ArchiveError::Truncated { bytes, .. } if bytes == length as u64);
        assert!(is_meant, "{length}: {error}");
    }
    let more = [&bytes[..], b"\n"].concat();
    let error = refused(folder.path(), &more);
    assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
}

#[test]
fn a_file_with_a_changed_bit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = small(folder.path());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let error = refused(folder.path(), &changed);
        let is_meant = match &error {
            ArchiveError::NotOne { .. } => at < 21,
            ArchiveError::Version { .. } => at == 21,
            // A length, or the version within the manifest.
            ArchiveError::Truncated { .. } | ArchiveError::Checkpoint(_) => at > 21,
            ArchiveError::Damaged { .. } => at > 21,
            _ => false,
        };
        assert!(is_meant, "byte {at}: {error}");
    }
}
