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
        if self.naming.complete(id).exists() {
            return Err(fault(
                "the checkpoint has only a part of it, but it is complete".to_owned(),
            ));
        }
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
