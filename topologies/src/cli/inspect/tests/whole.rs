//! `verify`: the log with its stream indexes, and the state beside it.

use millstream_engine::state::{StateBatch, StateOptions, StateStore, StateWrite};
use millstream_engine::store::{Environment, EnvironmentOptions};

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

/// Story: what reads everything did not read the index, and called a log whole that could not be opened again.
#[test]
fn the_stream_index_is_verified_with_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    opaque_log(&log);
    state(&folder.path().join("state"));
    let options = EnvironmentOptions::with_databases(&["index"]);
    let environment = Environment::open(&log, options).unwrap();
    let table = environment.table("index").unwrap();
    let mut writer = environment.writer().unwrap();
    let mut txn = writer.begin().unwrap();
    // Partition 1, run 0, kind 0, chunk 0: the manifest.
    let mut manifest = [0; 15];
    manifest[1] = 1;
    txn.put(table, &manifest, b"nothing that an index wrote")
        .unwrap();
    txn.commit().unwrap();
    drop((writer, environment));

    let (printed, error) = failing(&["verify", "DATA"], folder.path());
    // The rest is verified all the same.
    assert!(printed.starts_with("12 events in 3 frames"), "{printed}");
    assert!(printed.contains("6 entries of the state"), "{printed}");
    assert!(
        error.contains("made anew from the log at the next start"),
        "{error}"
    );
    let (printed, _) = failing(&["verify", "DATA", "--json"], folder.path());
    let said = &json(&printed)[0];
    assert_eq!(
        (&said["ok"], &said["state_entries"]),
        (&false.into(), &6.into())
    );
    assert!(
        said["index_error"]
            .as_str()
            .unwrap()
            .contains("partition 1: index manifest is corrupt"),
        "{said}"
    );
    assert!(log.join("index-1-damaged").is_file());
}
