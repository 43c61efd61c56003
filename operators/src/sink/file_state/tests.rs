//! Folders with files in them, and what partitions make of them.

mod schemes;

use super::*;
use std::io::Write as _;
use std::path::Path;

fn place(folder: &Path, partition: usize, partitions: usize) -> Place {
    let naming = Naming {
        folder: folder.to_owned(),
        prefix: "rows".to_owned(),
        partition,
        extension: "csv".to_owned(),
    };
    Place::new(naming, partitions)
}

fn saved(partition: usize, number: u64, bytes: Option<u64>, held: &[(usize, u64)]) -> Saved {
    let held = held.iter().map(|&(partition, number)| HeldFile {
        id: FileId { partition, number },
        bytes: 4,
        scheme: None,
    });
    Saved {
        partition,
        number,
        present: bytes.map(|bytes| Present {
            rows: 1,
            bytes,
            due: None,
        }),
        held: held.collect(),
        gone: None,
        scheme: None,
    }
}

/// A folder with files of these names, whose content is the name's beginning.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::write(folder.path().join(name), "abcd").unwrap();
    }
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The story: sinks of two formats with one prefix deleted each other's files.
#[test]
fn files_of_another_format_are_left_alone() {
    let folder = folder(&[
        ".rows-000-000000.jsonl.part",
        ".rows-000-000001.csv.part",
        ".rows-000-000002.part",
    ]);
    place(folder.path(), 0, 1).begin(&[]).unwrap();
    let expected = [".rows-000-000000.jsonl.part", ".rows-000-000002.part"];
    assert_eq!(names(folder.path()), expected);
}

#[test]
fn what_came_after_the_checkpoint_is_cut_off_and_deleted() {
    let folder = folder(&[
        "rows-001-000000.csv",
        ".rows-001-000001.csv.part",
        ".rows-001-000002.csv.part",
        ".rows-001-000003.csv.part",
        ".rows-000-000003.csv.part",
        "rows-002-000009.csv",
    ]);
    let place = place(folder.path(), 1, 3);
    let begun = place.begin(&[saved(1, 2, Some(3), &[(1, 1)])]).unwrap();
    assert_eq!((begun.number, begun.held.len()), (2, 0));
    let (_, mut file) = begun.present.unwrap();
    file.write_all(b"x").unwrap();
    let present = folder.path().join(".rows-001-000002.csv.part");
    assert_eq!(std::fs::read_to_string(present).unwrap(), "abcx");
    assert_eq!(
        names(folder.path()),
        [
            ".rows-000-000003.csv.part",
            ".rows-001-000002.csv.part",
            "rows-001-000000.csv",
            "rows-001-000001.csv",
            "rows-002-000009.csv",
        ]
    );
    // The next number is behind what is there and behind what was there.
    let begun = place.begin(&[]).unwrap();
    assert_eq!(begun.number, 2);
    let begun = place.begin(&[saved(1, 7, None, &[])]).unwrap();
    assert_eq!((begun.number, begun.present.is_none()), (7, true));
}

#[test]
fn files_that_are_not_what_the_checkpoint_says_are_left_alone() {
    let folder = folder(&[
        ".rows-000-000001.csv.part",
        ".rows-000-000002.csv.part",
        "rows-000-000003.csv",
        ".rows-000-000003.csv.part",
    ]);
    let place = place(folder.path(), 0, 1);
    let before = names(folder.path());
    for saved in [
        saved(0, 2, Some(5), &[]),
        saved(0, 3, Some(4), &[]),
        saved(0, 4, Some(1), &[]),
    ] {
        let fault = place.begin(&[saved]).unwrap_err();
        assert!(fault.0.contains("rows-000-00000"), "{fault}");
    }
    let mut longer = saved(0, 2, Some(4), &[(0, 1)]);
    longer.held[0].bytes = 5;
    place.begin(&[longer]).unwrap_err();
    assert_eq!(names(folder.path()), before);
}

#[test]
fn files_that_were_completed_after_the_checkpoint_are_not_written_once_more() {
    let folder = folder(&[
        "rows-000-000001.csv",
        "rows-000-000002.csv",
        "rows-001-000007.csv",
    ]);
    let place = place(folder.path(), 0, 1);
    for number in [1, 2] {
        let fault = place.begin(&[saved(0, number, None, &[])]).unwrap_err();
        let named = format!("rows-000-00000{number}.csv: it was completed after");
        assert!(fault.0.contains(&named), "{fault}");
    }
    assert_eq!(place.begin(&[saved(0, 3, None, &[])]).unwrap().number, 3);
}

#[test]
fn the_first_partition_takes_what_those_that_are_gone_have_left() {
    let folder = folder(&[
        ".rows-000-000000.csv.part",
        ".rows-001-000000.csv.part",
        ".rows-002-000000.csv.part",
        ".rows-002-000001.csv.part",
        ".rows-002-000002.csv.part",
        ".rows-003-000000.csv.part",
    ]);
    let all = [
        saved(0, 0, Some(1), &[]),
        saved(1, 0, Some(2), &[]),
        saved(2, 1, Some(3), &[(2, 0)]),
    ];
    let begun = place(folder.path(), 0, 2).begin(&all).unwrap();
    let taken = FileId {
        partition: 2,
        number: 1,
    };
    let held = HeldFile {
        id: taken,
        bytes: 3,
        scheme: None,
    };
    assert_eq!(begun.held, std::slice::from_ref(&held));
    assert_eq!(
        names(folder.path()),
        [
            ".rows-000-000000.csv.part",
            ".rows-001-000000.csv.part",
            ".rows-002-000001.csv.part",
            "rows-002-000000.csv",
        ]
    );
    // The same once more, as after a crash before the next checkpoint.
    let begun = place(folder.path(), 0, 2).begin(&all).unwrap();
    assert_eq!(begun.held, std::slice::from_ref(&held));
    let begun = place(folder.path(), 1, 2).begin(&all).unwrap();
    assert_eq!((begun.number, begun.held.len()), (0, 0));
    assert!(begun.present.is_some());
}

#[test]
fn a_file_that_was_completed_can_be_taken_back_by_its_name() {
    let folder = folder(&["rows-000-000001.csv", "rows-000-000002.csv"]);
    let place = place(folder.path(), 0, 1);
    let saved = [saved(0, 1, Some(3), &[])];
    let fault = place.begin(&saved).unwrap_err();
    assert!(fault.0.contains("has its first 3 bytes"), "{fault}");
    assert!(fault.0.contains(".rows-000-000001.csv.part"), "{fault}");
    let path = |name: &str| folder.path().join(name);
    let taken_away = path("elsewhere");
    std::fs::rename(path("rows-000-000001.csv"), &taken_away).unwrap();
    std::fs::remove_file(path("rows-000-000002.csv")).unwrap();
    let fault = place.begin(&saved).unwrap_err();
    assert!(fault.0.contains("move it to this name"), "{fault}");
    std::fs::rename(&taken_away, path(".rows-000-000001.csv.part")).unwrap();
    assert_eq!(place.begin(&saved).unwrap().number, 1);
    let present = std::fs::read_to_string(path(".rows-000-000001.csv.part"));
    assert_eq!(present.unwrap(), "abc");
}

#[test]
fn a_check_touches_nothing() {
    let folder = folder(&[
        ".rows-000-000001.csv.part",
        ".rows-000-000002.csv.part",
        ".rows-000-000003.csv.part",
    ]);
    let place = place(folder.path(), 0, 1);
    let before = names(folder.path());
    place.check(&[saved(0, 2, Some(3), &[(0, 1)])]).unwrap();
    assert_eq!(names(folder.path()), before);
    let present = std::fs::read(folder.path().join(".rows-000-000002.csv.part"));
    assert_eq!(present.unwrap(), b"abcd");
}

/// A start with two partitions, whose third one is gone, one with three, and one from the checkpoint of the first.
#[test]
fn files_of_partitions_that_came_after_the_checkpoint_are_in_its_way() {
    let folder = folder(&["rows-002-000004.csv", ".rows-003-000001.csv.part"]);
    let gone = [saved(0, 0, None, &[]), saved(3, 1, Some(4), &[])];
    let begun = place(folder.path(), 0, 2).begin(&gone).unwrap();
    let mut of_two = [saved(0, 0, None, &[]), saved(1, 0, None, &[])];
    of_two[0].gone = begun.gone;
    assert_eq!(of_two[0].gone, Some([(2, 5), (3, 2)].into()));
    place(folder.path(), 0, 2).begin(&of_two).unwrap();
    let begun = place(folder.path(), 2, 3).begin(&of_two).unwrap();
    assert_eq!((begun.number, begun.gone), (5, None));
    let begun = place(folder.path(), 0, 3).begin(&of_two).unwrap();
    assert_eq!(begun.gone, Some([(3, 2)].into()));

    for later in ["rows-002-000005.csv", "rows-004-000000.csv"] {
        let later = folder.path().join(later);
        std::fs::write(&later, "abcd").unwrap();
        let fault = place(folder.path(), 0, 2).begin(&of_two).unwrap_err();
        assert!(fault.0.contains("completed after"), "{fault}");
        std::fs::remove_file(later).unwrap();
    }
    place(folder.path(), 0, 2).begin(&of_two).unwrap();
}

/// Story: with fewer partitions the first one took over a complete file of one that was gone, and the process died before
/// it had its name. With more partitions again that one began by deleting the file, which it had not begun, before the
/// first one named it: its rows were in no file.
#[test]
fn a_file_that_the_first_partition_took_over_stays_when_its_own_is_back() {
    let folder = folder(&[".rows-001-000006.csv.part", ".rows-001-000007.csv.part"]);
    let mut first = saved(0, 3, None, &[(1, 6)]);
    first.gone = Some(BTreeMap::from([(1, 7)]));
    let begun = place(folder.path(), 1, 2).begin(std::slice::from_ref(&first));
    assert_eq!(begun.unwrap().number, 7);
    assert_eq!(names(folder.path()), [".rows-001-000006.csv.part"]);
    place(folder.path(), 0, 2).begin(&[first]).unwrap();
    assert_eq!(names(folder.path()), ["rows-001-000006.csv"]);
}
