//! Story: folder, prefix or format of a sink were changed, and a file that a checkpoint had complete without its name never
//! got it: the next run looked for it under the names that it had itself. Its rows were in no file for good.

use std::path::PathBuf;

use super::*;

/// What partition 0 saved: one complete file, and three bytes of the next one.
fn saved_of(place: &Place) -> Saved {
    Saved {
        scheme: place.naming.scheme(),
        ..saved(0, 2, Some(3), &[(0, 1)])
    }
}

fn changed(place: &Place, change: impl Fn(&mut Naming)) -> Place {
    let mut naming = place.naming.clone();
    change(&mut naming);
    Place::new(naming, 1)
}

const BEGUN: [&str; 3] = [
    ".rows-000-000001.csv.part",
    ".rows-000-000002.csv.part",
    ".rows-000-000003.csv.part",
];

#[test]
fn what_was_begun_under_other_names_is_completed_under_these() {
    let other = tempfile::tempdir().unwrap();
    let to_other: PathBuf = other.path().join("new");
    let changes: [&dyn Fn(&mut Naming); 3] = [
        &|naming| naming.folder.clone_from(&to_other),
        &|naming| naming.prefix = "lines".to_owned(),
        &|naming| naming.extension = "jsonl".to_owned(),
    ];
    for change in changes {
        let folder = folder(&BEGUN);
        let before = place(folder.path(), 0, 1);
        let of = saved_of(&before);
        let after = changed(&before, change);
        // The second time as after a crash before the next checkpoint.
        for _ in 0..2 {
            after.check(std::slice::from_ref(&of)).unwrap();
            let begun = after.begin(std::slice::from_ref(&of)).unwrap();
            assert_eq!((begun.number, begun.present.is_none()), (3, true));
            let present = HeldFile {
                id: of.file(),
                bytes: 3,
                scheme: before.naming.scheme().map(Box::new),
            };
            assert_eq!(begun.held, [present]);
            assert_eq!(
                names(folder.path()),
                [BEGUN[1], BEGUN[2], "rows-000-000001.csv"]
            );
        }
        // The next checkpoint has it, and the process dies before it has its name.
        let mut next = saved(0, 3, None, &[(0, 2)]);
        next.scheme = after.naming.scheme();
        next.held[0].bytes = 3;
        next.held[0].scheme = before.naming.scheme().map(Box::new);
        let begun = after.begin(&[next]).unwrap();
        assert_eq!((begun.number, begun.held.len()), (3, 0));
        let present = std::fs::read_to_string(folder.path().join("rows-000-000002.csv"));
        assert_eq!(present.unwrap(), "abc");
        // A start from the first checkpoint would write its rows once more.
        let fault = after.begin(std::slice::from_ref(&of)).unwrap_err();
        assert!(
            fault
                .0
                .contains("rows-000-000002.csv: it was completed after"),
            "{fault}"
        );
        assert!(fault.0.contains("has its first 3 bytes"), "{fault}");
    }
}

#[test]
fn a_folder_that_is_gone_is_told_of_and_one_that_was_moved_is_gone_on_with() {
    let folder = folder(&[]);
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let before = place(&old, 0, 1);
    let of = [saved_of(&before)];
    let moved = changed(&before, |naming| naming.folder.clone_from(&new));
    let renamed = changed(&moved, |naming| naming.prefix = "lines".to_owned());
    for place in [&moved, &renamed] {
        let fault = place.check(&of).unwrap_err();
        let begins = format!("{}: the folder is not there", old.display());
        assert!(fault.0.starts_with(&begins), "{fault}");
        assert!(fault.0.contains(".rows-000-000001.csv.part"), "{fault}");
        assert!(fault.0.contains(&new.display().to_string()), "{fault}");
    }
    std::fs::create_dir(&new).unwrap();
    for name in &BEGUN[1..] {
        std::fs::write(new.join(name), "abcd").unwrap();
    }
    // One of the two is missing still.
    let fault = moved.check(&of).unwrap_err();
    assert!(fault.0.contains(".rows-000-000001.csv.part"), "{fault}");
    std::fs::write(new.join(BEGUN[0]), "abcd").unwrap();
    for _ in 0..2 {
        let begun = moved.begin(&of).unwrap();
        assert_eq!((begun.number, begun.held.len()), (2, 0));
        assert!(begun.present.is_some());
        assert_eq!(names(&new), [BEGUN[1], "rows-000-000001.csv"]);
    }
    assert!(!old.exists());
}

/// Story: a sink was stopped, its files were taken away with their folder, and it was to write elsewhere: its start was refused
/// over a file that had long got its name.
#[test]
fn a_folder_that_is_gone_with_complete_files_is_not_missed() {
    let folder = folder(&[]);
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let before = place(&old, 0, 1);
    let complete = |place: &Place| Saved {
        scheme: place.naming.scheme(),
        ..saved(0, 2, None, &[(0, 1)])
    };
    let moved = changed(&before, |naming| naming.folder.clone_from(&new));
    let renamed = changed(&moved, |naming| naming.prefix = "lines".to_owned());
    for place in [&moved, &renamed] {
        let of = [complete(&before)];
        place.check(&of).unwrap();
        let begun = place.begin(&of).unwrap();
        assert_eq!((begun.number, begun.held.len()), (2, 0));
        assert!(names(&new).is_empty() && !old.exists());
        // The same of what was begun before an earlier change, which a later checkpoint has.
        let mut later = complete(place);
        later.held[0].scheme = before.naming.scheme().map(Box::new);
        assert_eq!(place.begin(&[later]).unwrap().held, []);
    }
    // What another partition has begun there is missed, and with it what may have been complete without its name.
    let mut both = [complete(&before), saved(1, 0, Some(3), &[])];
    both[1].scheme = before.naming.scheme();
    let of_two = Place::new(moved.naming.clone(), 2);
    let fault = of_two.check(&both).unwrap_err();
    let stands = format!(
        "an empty file {}",
        moved.naming.complete(both[0].held[0].id).display()
    );
    assert!(fault.0.contains("the folder is not there"), "{fault}");
    assert!(fault.0.contains(&stands), "{fault}");
    std::fs::write(new.join("rows-000-000001.csv"), "").unwrap();
    of_two.check(&both).unwrap();
    // One that was moved with the folder gets its name.
    std::fs::rename(new.join("rows-000-000001.csv"), new.join(BEGUN[0])).unwrap();
    std::fs::write(new.join(BEGUN[0]), "abcd").unwrap();
    moved.begin(&[complete(&before)]).unwrap();
    assert_eq!(names(&new), ["rows-000-000001.csv"]);
}

/// Story: the warning about a complete file whose folder was gone said no more than that it was taken for taken away. It was lost
/// with the folder where the process had died before it got its name.
#[test]
fn a_complete_file_that_is_taken_for_taken_away_may_have_had_no_name() {
    let folder = folder(&[]);
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let before = place(&old, 0, 1);
    let moved = changed(&before, |naming| naming.folder.clone_from(&new));
    let of = saved(0, 2, None, &[(0, 1)]);
    let home = moved.home(before.naming.scheme().as_ref()).unwrap();
    let gone = home.without(of.held[0].id);
    assert_eq!(gone, Some(old.as_path()));
    let told = home.taken_away(&old, &of.held[0]);
    for part in [
        &old.display().to_string(),
        "rows-000-000001.csv of 4 bytes",
        "may have had no name yet: it is .rows-000-000001.csv.part in",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_folder_under_another_name_is_the_same() {
    let folder = folder(&[]);
    let (old, other) = (folder.path().join("old"), folder.path().join("other"));
    for path in [&old, &other] {
        std::fs::create_dir(path).unwrap();
    }
    for name in BEGUN {
        std::fs::write(old.join(name), "abcd").unwrap();
    }
    let before = place(&old, 0, 1);
    let after = changed(&before, |naming| naming.folder = other.join("../old"));
    let begun = after.begin(&[saved_of(&before)]).unwrap();
    assert_eq!((begun.number, begun.present.is_some()), (2, true));
    assert_eq!(names(&old), [BEGUN[1], "rows-000-000001.csv"]);
}

/// A file of this number that was in the new folder before is not what the checkpoint has the beginning of.
#[test]
fn a_file_that_stood_in_the_new_folder_is_not_to_be_cut_off() {
    let (folder, new) = (folder(&BEGUN), folder(&["rows-000-000002.csv"]));
    let before = place(folder.path(), 0, 1);
    let fault = place(new.path(), 0, 1)
        .check(&[saved_of(&before)])
        .unwrap_err();
    assert!(fault.0.contains("move it away"), "{fault}");
}

#[test]
fn what_versions_without_schemes_saved_is_read() {
    let stored = r#"{"partition":0,"number":2,"present":{"rows":1,"bytes":3,"due":null},
        "held":[{"id":{"partition":0,"number":1},"bytes":4}]}"#;
    let of: Saved = serde_json::from_str(stored).unwrap();
    assert_eq!(
        (of.scheme.as_ref(), of.held[0].scheme.as_ref()),
        (None, None)
    );
    let folder = folder(&BEGUN);
    let begun = place(folder.path(), 0, 1).begin(&[of]).unwrap();
    assert!(begun.present.is_some());
    assert_eq!(names(folder.path()), [BEGUN[1], "rows-000-000001.csv"]);
}
