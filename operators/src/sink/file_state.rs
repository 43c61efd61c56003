//! What checkpoints have of a file sink, and how its folder is made what a checkpoint says.
//!
//! Place: called by the file sink at the start of a run, before its thread writes anything. Invariants: (1) a complete
//! file with its name is not touched; (2) what a checkpoint has is never deleted. Failure: an error of the file system,
//! or files that are not what the checkpoint says, in which case nothing is deleted.
//! With fewer partitions than before the first one takes what those that are gone have left, and remembers how far they
//! came: files of theirs that are later than a checkpoint are in the way of its start like all others. Not so for
//! checkpoints of versions that did not remember it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};

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
    /// Partitions that there were once, with the number behind their last file; the first partition has them.
    #[serde(default)]
    pub(super) gone: Option<BTreeMap<usize, u64>>,
}

impl Saved {
    /// The present file, or the next one.
    pub(super) const fn file(&self) -> FileId {
        FileId {
            partition: self.partition,
            number: self.number,
        }
    }
}

/// Up to where a checkpoint knows the files of each partition.
struct Limits {
    /// The number of the first file that it does not have complete.
    by_partition: BTreeMap<usize, u64>,
    /// Those that are not among these had no files.
    has_all: bool,
}

impl Limits {
    fn of(saved: &[Saved]) -> Self {
        let own = saved.iter().map(|saved| (saved.partition, saved.number));
        let gone = saved.iter().filter_map(|saved| saved.gone.as_ref());
        Self {
            has_all: gone.clone().next().is_some(),
            by_partition: gone
                .flatten()
                .map(|(&of, &to)| (of, to))
                .chain(own)
                .collect(),
        }
    }

    /// Where a partition goes on.
    fn next(&self, partition: usize) -> u64 {
        self.by_partition.get(&partition).copied().unwrap_or(0)
    }

    /// Whether a complete file is later than the checkpoint.
    fn is_later(&self, file: FileId) -> bool {
        let is_known = self.has_all || self.by_partition.contains_key(&file.partition);
        is_known && file.number >= self.next(file.partition)
    }
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
    /// What the first partition saves of those that are gone.
    pub(super) gone: Option<BTreeMap<usize, u64>>,
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

    /// Whether the folder can be made what the partitions in `saved` left. Touches nothing: other stages may refuse to
    /// begin, and then the checkpoint of these files may not be the one that the next start begins from.
    pub(super) fn check(&self, saved: &[Saved]) -> Result<(), Fault> {
        self.check_none_later(saved)?;
        for saved in saved.iter().filter(|of| self.deals_with(of.partition)) {
            for held in &saved.held {
                self.check_held(*held)?;
            }
            if let Some(present) = saved.present {
                self.check_present(saved.file(), present.bytes)?;
            }
        }
        Ok(())
    }

    /// Makes the folder what the partitions in `saved` left, as far as this one deals with them; nothing is of a
    /// partition that is not among them. [Checks](Self::check) it first.
    pub(super) fn begin(&self, saved: &[Saved]) -> Result<Begun, Fault> {
        let folder = fs::create_dir_all(&self.naming.folder);
        folder.map_err(|error| self.fault(&error))?;
        self.check(saved)?;
        let own = self.naming.partition;
        let mut begun = Begun {
            number: Limits::of(saved).next(own),
            present: None,
            held: Vec::new(),
            gone: self.gone(saved)?,
        };
        let mut complete = Vec::new();
        for saved in saved.iter().filter(|of| self.deals_with(of.partition)) {
            complete.extend(saved.held.iter().map(|held| held.id));
            let id = saved.file();
            let file = saved.present.map(|present| self.cut(id, present.bytes));
            let file = file.transpose()?;
            if saved.partition == own {
                begun.present = saved.present.zip(file);
            } else if let Some(present) = saved.present {
                let bytes = present.bytes;
                begun.held.push(HeldFile { id, bytes });
            }
        }
        let named = self.naming.name_all(&complete);
        named.map_err(|error| self.fault(&error))?;
        // Also what another partition is about to name: it took over files of this one when there were fewer.
        let all_held = || saved.iter().flat_map(|saved| &saved.held);
        let is_kept = |file: FileId| {
            let is_present = begun.present.is_some() && file == self.naming.file(begun.number);
            is_present
                || begun
                    .held
                    .iter()
                    .chain(all_held())
                    .any(|held| held.id == file)
        };
        let is_over = |file: FileId| self.deals_with(file.partition) && !is_kept(file);
        let free = self.naming.first_free(is_over);
        let free = free.map_err(|error| self.fault(&error))?;
        if begun.present.is_none() {
            begun.number = begun.number.max(free);
        }
        Ok(begun)
    }

    /// How far partitions came that are gone, if this is the first one.
    fn gone(&self, saved: &[Saved]) -> Result<Option<BTreeMap<usize, u64>>, Fault> {
        if self.naming.partition > 0 {
            return Ok(None);
        }
        let mut gone = Limits::of(saved).by_partition;
        for saved in saved.iter().filter(|saved| saved.present.is_some()) {
            // Complete with the next checkpoint.
            gone.insert(saved.partition, saved.number + 1);
        }
        let scanned = self.naming.each_complete(|file| {
            let behind = gone.entry(file.partition).or_default();
            *behind = (file.number + 1).max(*behind);
        });
        scanned.map_err(|error| self.fault(&error))?;
        Ok(Some(gone.split_off(&self.partitions)))
    }

    /// No file that came after the checkpoint has its name already: its rows would come once more.
    fn check_none_later(&self, saved: &[Saved]) -> Result<(), Fault> {
        let limits = Limits::of(saved);
        let mut first: Option<FileId> = None;
        let scanned = self.naming.each_complete(|file| {
            let is_later = self.deals_with(file.partition) && limits.is_later(file);
            let order = |file: FileId| (file.partition, file.number);
            if is_later && first.is_none_or(|first| order(file) < order(first)) {
                first = Some(file);
            }
        });
        scanned.map_err(|error| self.fault(&error))?;
        let Some(later) = first else {
            return Ok(());
        };
        let complete = self.naming.complete(later);
        let complete = complete.display();
        let mut has_begun = saved.iter().filter(|saved| saved.file() == later);
        let present = has_begun.find_map(|saved| saved.present);
        Err(Fault(match present {
            Some(Present { bytes, .. }) => format!(
                "{complete}: it was completed after the checkpoint, which has its first {bytes} bytes: to begin there \
                 all the same, rename it to {}, where what came later is cut off, and move later files of its \
                 partition away",
                self.naming.temporary(later).display()
            ),
            None => format!(
                "{complete}: it was completed after the checkpoint, whose start would write its rows once more: move \
                 it away, and later ones of its partition, if that is what you want"
            ),
        }))
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

    /// A file that was begun has at least what the checkpoint has of it.
    fn check_present(&self, id: FileId, bytes: u64) -> Result<(), Fault> {
        let path = self.naming.temporary(id);
        let fault = |cause: String| Err(Fault(format!("{}: {cause}", path.display())));
        match fs::metadata(&path) {
            Ok(found) if found.len() >= bytes => Ok(()),
            Ok(found) => fault(format!(
                "it has {} bytes, the checkpoint has {bytes}",
                found.len()
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fault(format!(
                "the checkpoint has {bytes} bytes of this file, which is not there: if it was completed since and \
                 moved away from {}, move it to this name, where what came later is cut off",
                self.naming.complete(id).display()
            )),
            Err(error) => fault(error.to_string()),
        }
    }

    /// The first bytes of the present file, up to 64 KiB.
    pub(super) fn beginning(&self, number: u64) -> Result<Vec<u8>, Fault> {
        let path = self.naming.temporary(self.naming.file(number));
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(64 << 10).read_to_end(&mut bytes));
        read.map_err(|error| self.fault(&error))?;
        Ok(bytes)
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
mod tests;
