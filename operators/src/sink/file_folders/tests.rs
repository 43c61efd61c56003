//! Story: two sinks of one prefix swapped their folders between two runs. Each deleted what the other one had begun in its new
//! folder, since its own checkpoint did not have it, and the rows were in no file.

use std::path::Path;

use super::*;
use crate::sink::file_naming::HeldFile;
use crate::sink::file_saved::Present;

fn naming(folder: &Path, prefix: &str) -> Naming {
    Naming {
        folder: folder.to_owned(),
        prefix: prefix.to_owned(),
        partition: 0,
        extension: "csv".to_owned(),
    }
}

/// What a sink that wrote by `naming` saved: file 1 complete, and the beginning of file 2.
fn saved(naming: &Naming) -> Saved {
    let held = HeldFile {
        id: naming.file(1),
        bytes: 4,
        scheme: None,
    };
    Saved {
        partition: 0,
        number: 2,
        present: Some(Present {
            rows: 1,
            bytes: 3,
            due: None,
        }),
        held: vec![held],
        gone: None,
        scheme: naming.scheme(),
    }
}

/// Two sinks, of which each has a folder, with the files that its checkpoint has.
struct Swapping {
    _folder: tempfile::TempDir,
    before: [Naming; 2],
    stages: [Arc<str>; 2],
}

impl Swapping {
    fn new(prefixes: [&str; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let before = [("one", prefixes[0]), ("two", prefixes[1])].map(|(name, prefix)| {
            let naming = naming(&folder.path().join(name), prefix);
            fs::create_dir(&naming.folder).unwrap();
            for number in [1, 2] {
                fs::write(naming.temporary(naming.file(number)), "abcd").unwrap();
            }
            naming
        });
        let stages = ["flow/one".into(), "flow/two".into()];
        Self {
            _folder: folder,
            before,
            stages,
        }
    }

    /// Opens and restores both, where they are to write by `after`.
    fn begin(&self, after: [&Naming; 2]) -> Result<(), Fault> {
        let folders = FileFolders::default();
        for (stage, naming) in self.stages.iter().zip(after) {
            folders.note_own(stage, naming)?;
        }
        for ((stage, before), naming) in self.stages.iter().zip(&self.before).zip(after) {
            let place = Place::new(naming.clone(), 1);
            folders.note_left(stage, place.left(&[saved(before)])?)?;
        }
        Ok(())
    }
}

/// By the other one's name, in the other one's folder, with a prefix of one's own.
fn moved(naming: &Naming, to: &Naming) -> Naming {
    Naming {
        folder: to.folder.clone(),
        ..naming.clone()
    }
}

#[test]
fn sinks_that_swap_their_folders_are_refused_while_a_file_has_no_name() {
    let swapping = Swapping::new(["rows", "rows"]);
    let [one, two] = &swapping.before;
    swapping.begin([one, two]).unwrap();
    let fault = swapping.begin([two, one]).unwrap_err();
    for part in ["one/.rows-000-000001.csv.part", "flow/one", "flow/two"] {
        assert!(fault.0.contains(part), "{fault}");
    }
    // One that goes to where another one was, which has no folder that is known.
    let elsewhere = moved(one, &naming(Path::new("/nowhere"), "rows"));
    swapping.begin([&elsewhere, one]).unwrap_err();
    swapping.begin([&elsewhere, two]).unwrap();
    for naming in [one, two] {
        for file in [1, 2].map(|number| naming.file(number)) {
            fs::rename(naming.temporary(file), naming.complete(file)).unwrap();
        }
    }
    swapping.begin([two, one]).unwrap();
}

#[test]
fn sinks_of_different_prefixes_may_swap_their_folders() {
    let swapping = Swapping::new(["rows", "lines"]);
    let [one, two] = &swapping.before;
    let swapped = [moved(one, two), moved(two, one)];
    swapping.begin([&swapped[0], &swapped[1]]).unwrap();
    // But for their prefixes as well.
    swapping.begin([two, one]).unwrap_err();
}

/// Each partition of a stage notes the same.
#[test]
fn partitions_of_one_sink_are_not_in_each_others_way() {
    let swapping = Swapping::new(["rows", "rows"]);
    let [one, two] = &swapping.before;
    let folders = FileFolders::default();
    let place = Place::new(two.clone(), 1);
    for _ in 0..2 {
        folders.note_own(&swapping.stages[0], two).unwrap();
        let left = place.left(&[saved(one)]).unwrap();
        assert_eq!(left.len(), 2);
        folders.note_left(&swapping.stages[0], left).unwrap();
    }
    // A sink that is new has nothing of its own to lose, and would delete all of it.
    folders.note_own(&swapping.stages[1], one).unwrap_err();
}
