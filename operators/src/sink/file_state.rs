//! What checkpoints have of a file sink, and how its folder is made what a checkpoint says.
//!
//! Place: called by the file sink at the start of a run, before its thread writes anything. Invariants: (1) a complete
//! file with its name is not touched; (2) what a checkpoint has is never deleted. Failure: an error of the file system,
//! or files that are not what the checkpoint says, in which case nothing is deleted.
//! With fewer partitions than before the first one takes what those that are gone have left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};

use millstream_engine::flow::Fault;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::file_writer::{FileId, Naming};

/// What one partition of a sink saves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) partition: usize,
    /// Of the present file, or the next one.
    pub(super) number: u64,
    pub(super) present: Option<Present>,
    /// Complete files that get their names with this checkpoint, the oldest first.
    pub(super) held: Vec<HeldFile>,
}

/// A file that rows are written to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Present {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// When it is too old.
    pub(super) due: Option<Timestamp>,
}

/// A complete file without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldFile {
    pub(super) id: FileId,
    pub(super) bytes: u64,
}

/// Where a run begins.
#[derive(Debug)]
pub(super) struct Begun {
    /// Of the present file, or the next one.
    pub(super) number: u64,
    /// The present file, at its end.
    pub(super) present: Option<(Present, File)>,
    /// Files of partitions that are gone, complete with the next checkpoint.
    pub(super) held: Vec<HeldFile>,
}

/// Where one partition of a sink writes.
#[derive(Debug)]
pub(super) struct Place {
    naming: Naming,
    partitions: usize,
}

impl Place {
    pub(super) const fn new(naming: Naming, partitions: usize) -> Self {
        Self { naming, partitions }
    }

    pub(super) const fn naming(&self) -> &Naming {
        &self.naming
    }

    pub(super) const fn partition(&self) -> usize {
        self.naming.partition
    }

    pub(super) fn fault(&self, error: &io::Error) -> Fault {
        Fault(format!("{}: {error}", self.naming.folder.display()))
    }

    /// Whether nobody but this partition deals with files of `partition`.
    const fn deals_with(&self, partition: usize) -> bool {
        let own = self.naming.partition;
        partition == own || (own == 0 && partition >= self.partitions)
    }

    /// Makes the folder what the partitions in `saved` left, as far as this one deals with them; nothing is of a
    /// partition that is not among them.
    pub(super) fn begin(&self, saved: &[Saved]) -> Result<Begun, Fault> {
        let folder = fs::create_dir_all(&self.naming.folder);
        folder.map_err(|error| self.fault(&error))?;
        let own = self.naming.partition;
        let mut begun = Begun {
            number: 0,
            present: None,
            held: Vec::new(),
        };
        let mut complete = Vec::new();
        for saved in saved {
            if !self.deals_with(saved.partition) {
                continue;
            }
            self.check_none_later(saved)?;
            for held in &saved.held {
                self.check_held(*held)?;
                complete.push(held.id);
            }
            let id = FileId {
                partition: saved.partition,
                number: saved.number,
            };
            let file = saved.present.map(|present| self.cut(id, present.bytes));
            let file = file.transpose()?;
            if saved.partition == own {
                begun.number = saved.number;
                begun.present = saved.present.zip(file);
            } else if let Some(present) = saved.present {
                let bytes = present.bytes;
                begun.held.push(HeldFile { id, bytes });
            }
        }
        let named = self.naming.name_all(&complete);
        named.map_err(|error| self.fault(&error))?;
        let is_kept = |file: FileId| {
            let is_present = begun.present.is_some() && file == self.naming.file(begun.number);
            is_present || begun.held.iter().any(|held| held.id == file)
        };
        let is_over = |file: FileId| self.deals_with(file.partition) && !is_kept(file);
        let free = self.naming.first_free(is_over);
        let free = free.map_err(|error| self.fault(&error))?;
        if begun.present.is_none() {
            begun.number = begun.number.max(free);
        }
        Ok(begun)
    }

    /// No file that came after the checkpoint has its name already: its rows would come once more.
    fn check_none_later(&self, saved: &Saved) -> Result<(), Fault> {
        let later = |file: FileId| file.partition == saved.partition && file.number >= saved.number;
        let found = self.naming.first_complete(later);
        let Some(later) = found.map_err(|error| self.fault(&error))? else {
            return Ok(());
        };
        Err(Fault(format!(
            "{}: it was completed after the checkpoint, whose start would write its rows once more: move it away, and \
             those behind it, if that is what you want",
            self.naming.complete(later).display()
        )))
    }

    /// A complete file is all there, unless it has its name and whoever waited for it took it away.
    fn check_held(&self, held: HeldFile) -> Result<(), Fault> {
        let path = self.naming.temporary(held.id);
        match fs::metadata(&path) {
            Ok(found) if found.len() == held.bytes => Ok(()),
            Ok(found) => Err(Fault(format!(
                "{}: it has {} bytes, the checkpoint has {}",
                path.display(),
                found.len(),
                held.bytes
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Fault(format!("{}: {error}", path.display()))),
        }
    }

    /// Opens the file as it was when it had so many bytes.
    fn cut(&self, id: FileId, bytes: u64) -> Result<File, Fault> {
        let path = self.naming.temporary(id);
        let fault = |cause: String| Fault(format!("{}: {cause}", path.display()));
        let opened = OpenOptions::new().write(true).open(&path);
        let cut = opened.and_then(|mut file| {
            let found = file.metadata()?.len();
            if found > bytes {
                file.set_len(bytes)?;
                // The rest must not come back, since nothing may be written to it any more.
                file.sync_all()?;
            }
            file.seek(SeekFrom::Start(bytes))?;
            Ok((file, found))
        });
        match cut {
            Ok((file, found)) if found >= bytes => Ok(file),
            Ok((_, found)) => Err(fault(format!(
                "it has {found} bytes, the checkpoint has {bytes}"
            ))),
            Err(error) => Err(fault(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::path::Path;

    fn place(folder: &Path, partition: usize, partitions: usize) -> Place {
        let naming = Naming {
            folder: folder.to_owned(),
            prefix: "rows".to_owned(),
            partition,
            extension: "csv",
        };
        Place::new(naming, partitions)
    }

    fn saved(partition: usize, number: u64, bytes: Option<u64>, held: &[(usize, u64)]) -> Saved {
        let held = held.iter().map(|&(partition, number)| HeldFile {
            id: FileId { partition, number },
            bytes: 4,
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
        let (id, bytes) = (taken, 3);
        assert_eq!(begun.held, [HeldFile { id, bytes }]);
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
        assert_eq!(begun.held, [HeldFile { id, bytes }]);
        let begun = place(folder.path(), 1, 2).begin(&all).unwrap();
        assert_eq!((begun.number, begun.held.len()), (0, 0));
        assert!(begun.present.is_some());
    }
}
