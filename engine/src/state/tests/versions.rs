use super::*;
use crate::store::SimulatedDisk;

#[test]
fn which_version_answers_is_kept_and_can_be_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    assert_eq!(store.versions("p").unwrap(), None);
    let error = writer.activate_version("p", 1).unwrap_err();
    assert!(
        matches!(error, StateError::UnknownProjection { version: 1, .. }),
        "{error}"
    );
    for version in 1..=3 {
        writer.register_projection("p", version, &["a"]).unwrap();
    }
    let first = writer.activate_version("p", 1).unwrap();
    assert_eq!((first.active, first.previous), (1, None));
    let second = writer.activate_version("p", 2).unwrap();
    assert_eq!((second.active, second.previous), (2, Some(1)));
    assert_eq!(writer.activate_version("p", 2).unwrap(), second, "once");
    drop((store, writer));
    let (store, mut writer) = open(folder.path());
    assert_eq!(store.versions("p").unwrap(), Some(second));
    let back = writer.activate_version("p", 1).unwrap();
    assert_eq!((back.active, back.previous), (1, Some(2)));
    assert_eq!(store.versions("q").unwrap(), None);
}

#[test]
fn the_version_that_answers_cannot_be_dropped_and_others_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let first = writer.register_projection("p", 1, &["a"]).unwrap();
    writer.register_projection("p", 2, &["a"]).unwrap();
    commit(&mut writer, vec![put(first.tables[0], b"k", b"old")]);
    writer.activate_version("p", 1).unwrap();
    writer.activate_version("p", 2).unwrap();
    let error = writer.drop_version("p", 2).unwrap_err();
    assert!(
        matches!(error, StateError::ActiveVersion { version: 2, .. }),
        "{error}"
    );
    writer.drop_version("p", 1).unwrap();
    while writer.step_drops().unwrap() {}
    assert_eq!(store.count(first.tables[0]).unwrap(), 0);
    assert_eq!(store.projection("p", 1).unwrap(), None);
    let versions = store.versions("p").unwrap().unwrap();
    assert_eq!(
        (versions.active, versions.previous, &versions.dropped[..]),
        (2, None, &[1][..])
    );
    // As long as a program declares it.
    writer.forget_dropped("p", &[1, 2]).unwrap();
    assert_eq!(store.versions("p").unwrap().unwrap().dropped, [1]);
    writer.forget_dropped("p", &[2]).unwrap();
    assert!(store.versions("p").unwrap().unwrap().dropped.is_empty());
    // Registered again it begins empty, and counts again.
    writer.register_projection("p", 1, &["a"]).unwrap();
    let versions = writer.activate_version("p", 1).unwrap();
    assert_eq!((versions.active, versions.previous), (1, Some(2)));
}

/// Story: a version that had been dropped was there again after a power failure, and was gone on with.
#[test]
fn what_was_dropped_stays_so_after_a_power_failure() {
    let disk = SimulatedDisk::new();
    let (_store, writer) = StateStore::open_simulated(&disk, options()).unwrap();
    let (handle, stepped) = stepped(writer);
    for version in 1..=2 {
        handle.register_projection("p", version, &["a"]).unwrap();
        handle.activate_version("p", version).unwrap();
    }
    handle.drop_version("p", 1).unwrap();
    disk.crash(disk.unsynced());
    drop((handle, stepped));
    let (store, _writer) = StateStore::open_simulated(&disk, options()).unwrap();
    assert_eq!(store.projection("p", 1).unwrap(), None);
    let versions = store.versions("p").unwrap().unwrap();
    assert_eq!((versions.active, &versions.dropped[..]), (2, &[1][..]));
}
