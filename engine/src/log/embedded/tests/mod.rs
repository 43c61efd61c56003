//! What a store keeps, and its stream indexes.

mod indexes;

use super::*;

fn open(folder: &Path) -> EmbeddedLog {
    let options = EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        ..EnvironmentOptions::default()
    };
    EmbeddedLog::open(folder, 2, options).unwrap()
}

/// A store keeps its identity, has another one than any other, and gets one if an older program made it.
#[test]
fn a_store_has_an_identity() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut log = open(folder.path());
    let id = log.reader.store_id();
    assert!(id.is_some() && id != open(other.path()).reader.store_id());
    // As an older program left it.
    let description = log.reader.environment.table(DESCRIPTION).unwrap();
    let mut txn = log.store.writer.begin().unwrap();
    txn.delete(description, STORE_KEY).unwrap();
    txn.commit().unwrap();
    drop(log);
    let beside = EmbeddedReader::open_beside(folder.path()).unwrap();
    assert_eq!(beside.store_id(), None);
    drop(beside);
    let new = open(folder.path()).reader.store_id();
    assert!(new.is_some() && new != id);
    assert_eq!(open(folder.path()).reader.store_id(), new);
    let beside = EmbeddedReader::open_beside(folder.path()).unwrap();
    assert_eq!(beside.store_id(), new);
}
