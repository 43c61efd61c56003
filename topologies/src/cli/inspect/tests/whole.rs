//! `verify`: the log, and the state beside it.

use millstream_engine::state::{StateBatch, StateOptions, StateStore, StateWrite};

use super::*;

/// A key that is nowhere else in the file.
const KEY: &[u8] = b"a-key-like-no-other";

/// A state of one projection with some rows beside the log.
fn state(folder: &Path) {
    let (store, mut writer) = StateStore::open(folder, StateOptions::default()).unwrap();
    let registered = writer.register_projection("p", 1, &["t"]).unwrap();
    let row = |key: &[u8]| StateWrite::PutRow {
        table: registered.tables[0],
        key: key.to_vec(),
        value: vec![1; 20],
    };
    let rows = vec![row(b"1"), row(b"2"), row(KEY)];
    writer.step(vec![StateBatch::new(rows)]).unwrap();
    drop((store, writer));
}

#[test]
fn the_state_is_verified_beside_the_log() {
    let folder = tempfile::tempdir().unwrap();
    opaque_log(&folder.path().join("log"));
    state(&folder.path().join("state"));
    let run = |words: &[&str]| output(words, folder.path()).unwrap();
    // Layout, next ids and the projection in the catalog, and three rows.
    assert_eq!(
        run(&["verify", "DATA"]),
        "12 events in 3 frames: all checksums, hashes and chains hold\n6 entries of the state: all checksums hold\n"
    );
    let said = json(&run(&["verify", "DATA", "--json"]));
    assert_eq!(
        (&said[0]["state_entries"], &said[0]["ok"]),
        (&6.into(), &true.into())
    );

    // What cannot be read for another reason is not to be deleted.
    let held = StateStore::open(&folder.path().join("state"), StateOptions::default()).unwrap();
    let (_, error) = failing(&["verify", "DATA"], folder.path());
    assert!(error.contains("could not be checked"), "{error}");
    drop(held);

    let path = folder.path().join("state/data.mdb");
    let mut file = std::fs::read(&path).unwrap();
    let found: Vec<usize> = (0..file.len() - KEY.len())
        .filter(|at| file[*at..].starts_with(KEY))
        .collect();
    assert!(!found.is_empty());
    for at in found {
        file[at + KEY.len() - 1] ^= 1;
    }
    std::fs::write(&path, file).unwrap();
    let (printed, error) = failing(&["verify", "DATA"], folder.path());
    assert!(printed.starts_with("12 events in 3 frames"), "{printed}");
    assert!(error.contains("the log is whole, the state in"), "{error}");
    let (printed, _) = failing(&["verify", "DATA", "--json"], folder.path());
    let said = json(&printed);
    assert_eq!(said[0]["ok"], false);
    assert!(
        said[0]["error"]
            .as_str()
            .unwrap()
            .contains("an entry of rows"),
        "{printed}"
    );
}
