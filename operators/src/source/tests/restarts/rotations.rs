//! What rotations do to a file that is followed, besides renaming it.

use super::*;
#[cfg(unix)]
use crate::source::{
    file_mark::FileMark,
    opening::{self, Start},
};

/// What no line of JSON is.
const COMPRESSED: &[u8] = b"\x1f\x8b\x08\x00\n\x00\x01\n";

#[test]
fn a_copy_that_is_made_before_the_file_is_cut_is_not_read() {
    let (folder, path) = file(&line("tea", 1).repeat(3));
    let mut running = source(&path, json(), follow());
    assert_eq!(good(&mut running).len(), 3);
    let position = saved(&running);
    std::fs::copy(&path, folder.path().join("sales.1")).unwrap();
    std::fs::write(&path, line("milk", 2)).unwrap();
    assert_eq!(looks(&mut running), [sale("milk", 2)]);
    let mut restarted = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut restarted), [sale("milk", 2)]);
}

#[test]
fn files_that_were_compressed_are_not_read() {
    let (folder, path) = file(&line("tea", 1));
    let mut running = source(&path, json(), follow());
    assert_eq!(good(&mut running), [sale("tea", 1)]);
    let position = saved(&running);
    append(&path, &line("rest", 2));
    std::fs::rename(&path, folder.path().join("sales.1")).unwrap();
    // What had the name in between is compressed, and written to last.
    for name in ["sales.0.gz", "sales-20261127.zst"] {
        std::fs::write(folder.path().join(name), COMPRESSED).unwrap();
        written(&folder.path().join(name), 4_000_000_000);
    }
    std::fs::write(&path, line("milk", 3)).unwrap();
    let expected = [sale("rest", 2), sale("milk", 3)];
    assert_eq!(looks(&mut running), expected);
    let mut restarted = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut restarted), expected);
    // The one that was read is compressed itself: what it had more is lost.
    std::fs::remove_file(folder.path().join("sales.1")).unwrap();
    std::fs::write(folder.path().join("sales.1.gz"), COMPRESSED).unwrap();
    let mut restarted = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut restarted), [sale("milk", 3)]);
}

/// Story: of a file that was opened and not read from, a position knows the number alone. The number was that of another
/// file by the next start, one that had been compressed, and its bytes were read as lines.
#[test]
fn a_compressed_file_that_got_the_number_of_an_unread_one_is_not_read() {
    let (folder, path) = file("");
    let mut running = source(&path, json(), follow());
    assert_eq!(good(&mut running), []);
    let position = saved(&running);
    drop(running);
    let compressed = folder.path().join("sales.1.gz");
    std::fs::rename(&path, &compressed).unwrap();
    std::fs::write(&compressed, COMPRESSED).unwrap();
    std::fs::write(&path, line("milk", 1)).unwrap();
    let mut restarted = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut restarted), [sale("milk", 1)]);
    // One that was only renamed is read first, whatever its name is now.
    for name in ["sales.1", "old sales"] {
        let renamed = folder.path().join(name);
        std::fs::rename(&compressed, &renamed).unwrap();
        std::fs::write(&renamed, line("rest", 2)).unwrap();
        let mut restarted = resumed(&path, json(), follow(), &position);
        assert_eq!(looks(&mut restarted), [sale("rest", 2), sale("milk", 1)]);
        std::fs::rename(&renamed, &compressed).unwrap();
    }
}

/// Story: the number of a file of which nothing had been read was that of another log in the same folder by the next start,
/// and all of that was read as records of the first. Method: positions as they are stored, with the other file's number.
#[cfg(unix)]
#[test]
fn another_file_that_got_the_number_of_an_unread_one_is_not_read() {
    use std::os::unix::fs::MetadataExt;

    let (folder, path) = file("");
    let mut running = source(&path, json(), follow());
    assert_eq!(good(&mut running), []);
    let mut position = saved(&running);
    drop(running);
    let other = folder.path().join("errors");
    std::fs::write(&other, line("error", 1)).unwrap();
    let number = std::fs::metadata(&other).unwrap().ino();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, line("milk", 2)).unwrap();
    position[25..33].copy_from_slice(&number.to_be_bytes());
    if position[16] == 2 {
        // Clocks of file systems may stand still between two files of a test.
        position[44] ^= 1;
    }
    let mut restarted = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut restarted), [sale("milk", 2)]);
    // One of before, which does not know when its file was made: by what rotations call it.
    position[16] = 1;
    position[37..45].copy_from_slice(&xxhash_rust::xxh3::xxh3_64(b"").to_be_bytes());
    let mut restarted = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut restarted), [sale("milk", 2)]);
    std::fs::rename(&other, folder.path().join("sales.1")).unwrap();
    let mut restarted = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut restarted), [sale("error", 1), sale("milk", 2)]);
}

/// Whether a start from this position takes what has the name for another file, and warns.
#[cfg(unix)]
fn is_other(path: &Path, position: &[u8]) -> bool {
    let mark = FileMark::decode(&position[16..45]);
    assert!(mark.is_some_and(|mark| !mark.has_bytes()));
    let opened = opening::open(path, true, &Start { offset: 0, mark });
    opened.unwrap().unwrap().place.is_other
}

/// Story: a log was new and empty at a checkpoint, then written to and called by its date before its ending. Where nobody knew when
/// it was made, the next start passed it over, and read the new one as if that was it: its lines were lost without a word.
#[cfg(unix)]
#[test]
fn an_unread_file_is_found_by_a_date_before_its_ending_or_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales.log");
    std::fs::write(&path, "").unwrap();
    let mut running = source(&path, json(), follow());
    assert_eq!(good(&mut running), []);
    let mut position = saved(&running);
    drop(running);
    assert!(!is_other(&path, &position));
    // One of before, which does not know when its file was made.
    position[16] = 1;
    position[37..45].copy_from_slice(&xxhash_rust::xxh3::xxh3_64(b"").to_be_bytes());
    assert!(!is_other(&path, &position));
    append(&path, &line("rest", 1));
    let mut old = folder.path().join("old");
    std::fs::rename(&path, &old).unwrap();
    std::fs::write(&path, line("milk", 2)).unwrap();
    for name in ["sales-2026-11-27.log", "sales.1.log", "sales.log.1"] {
        let renamed = folder.path().join(name);
        std::fs::rename(&old, &renamed).unwrap();
        old = renamed;
        assert!(!is_other(&path, &position), "{name}");
        let mut restarted = resumed(&path, json(), follow(), &position);
        let expected = [sale("rest", 1), sale("milk", 2)];
        assert_eq!(looks(&mut restarted), expected, "{name}");
    }
    for name in ["sales-errors.log", "sales-2026-11-27.txt", "2026-11-27.log"] {
        let renamed = folder.path().join(name);
        std::fs::rename(&old, &renamed).unwrap();
        old = renamed;
        assert!(is_other(&path, &position), "{name}");
        let mut restarted = resumed(&path, json(), follow(), &position);
        assert_eq!(looks(&mut restarted), [sale("milk", 2)], "{name}");
    }
}

#[test]
fn a_touch_is_no_content() {
    let (folder, path) = file(&line("tea", 1));
    std::fs::write(folder.path().join("sales.1"), line("read long ago", 0)).unwrap();
    written(&folder.path().join("sales.1"), 10);
    let mut running = source(&path, json(), follow());
    assert_eq!(good(&mut running), [sale("tea", 1)]);
    let position = saved(&running);
    for name in [path.as_path(), &folder.path().join("sales.1")] {
        written(name, 4_000_000_000);
        assert_eq!(looks(&mut running), []);
        let mut restarted = resumed(&path, json(), follow(), &position);
        assert_eq!(looks(&mut restarted), []);
    }
}
