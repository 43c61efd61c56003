//! How the folder of a file sink is made what a checkpoint says.
//!
//! Place: called by the file sink at the start of a run, before its thread writes anything. Invariants: (1) a complete
//! file with its name is not touched; (2) what a checkpoint has is never deleted. Failure: an error of the file system,
//! or files that are not what the checkpoint says, in which case nothing is deleted.
//! With fewer partitions than before the first one takes what those that are gone have left, and remembers how far they
//! came: files of theirs that are later than a checkpoint are in the way of its start like all others. Not so for
//! checkpoints of versions that did not remember it.
//! Once folder, prefix or format are changed, what was begun before is completed under the names of before, the file that
//! was being written with the next checkpoint; what was begun later than the checkpoint stays there under its temporary name.
//! If their folder is gone, a file that was begun in it is missed. Complete ones count as taken away, with a warning: a checkpoint
//! does not know whether they have their names yet, and those of a process that died before that are lost with the folder.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::file_naming::{FileId, HeldFile, Naming, Scheme};
use super::file_saved::{Limits, Present, Saved};
use millstream_engine::flow::Fault;

/// Where a run begins.
#[derive(Debug)]
pub(super) struct Begun {
    /// Of the present file, or the next one.
    pub(super) number: u64,
    /// The present file, at its end.
    pub(super) present: Option<(Present, File)>,
    /// Files of partitions that are gone, and of another scheme, complete with the next checkpoint.
    pub(super) held: Vec<HeldFile>,
    /// What the first partition saves of those that are gone.
    pub(super) gone: Option<BTreeMap<usize, u64>>,
}

/// Where files are that a checkpoint has.
pub(super) struct Home {
    pub(super) naming: Naming,
    /// If it is another one than that of the sink.
    pub(super) scheme: Option<Scheme>,
    /// Where they were, if that is not there any more.
    gone: Option<PathBuf>,
}

impl Home {
    /// The folder, if it is not there and the file is not where it would have been moved to either, with its name or without.
    fn without(&self, id: FileId) -> Option<&Path> {
        let folder = self.gone.as_deref()?;
        let is_there = self.naming.temporary(id).exists() || self.naming.complete(id).exists();
        (!is_there).then_some(folder)
    }

    /// What is said of a complete file that is taken for taken away with its folder, which is not there.
    fn taken_away(&self, folder: &Path, held: &HeldFile) -> String {
        let temporary = self.naming.temporary(held.id);
        let temporary = temporary.file_name().unwrap_or_default().display();
        let complete = self.naming.complete(held.id);
        let complete = complete.file_name().unwrap_or_default().display();
        format!(
            "{}: the folder is not there: its file {complete} of {} bytes, which was complete, is taken for taken away; if \
             the process was killed before, it may have had no name yet: it is {temporary} in that folder then, all there, \
             and has only to be renamed",
            folder.display(),
            held.bytes
        )
    }
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
        fault_of(&self.naming.folder, error)
    }

    /// Whether nobody but this partition deals with files of `partition`.
    pub(super) const fn deals_with(&self, partition: usize) -> bool {
        self.naming.deals_with(partition, self.partitions)
    }

    /// Where files of a scheme are. A folder that was moved, and is named anew in the program, is where that says.
    pub(super) fn home(&self, scheme: Option<&Scheme>) -> Result<Home, Fault> {
        let own = |gone| Home {
            naming: self.naming.clone(),
            scheme: None,
            gone,
        };
        let Some(scheme) = scheme else {
            return Ok(own(None));
        };
        let has_names = self.naming.has_names_of(scheme);
        if has_names && self.naming.is_in(scheme) {
            return Ok(own(None));
        }
        let naming = self.naming.by(scheme);
        let is_there = naming.folder.try_exists();
        let is_there = is_there.map_err(|error| fault_of(&naming.folder, &error))?;
        let gone = (!is_there).then(|| naming.folder.clone());
        if has_names && gone.is_some() {
            return Ok(own(gone));
        }
        let scheme = Some(scheme.clone());
        Ok(Home {
            naming,
            scheme,
            gone,
        })
    }

    /// Where a complete file is that `saved` has.
    fn home_of(&self, held: &HeldFile, saved: &Saved) -> Result<Home, Fault> {
        self.home(held.scheme.as_deref().or(saved.scheme.as_ref()))
    }

    /// Whether the folder can be made what the partitions in `saved` left. Touches nothing: other stages may refuse to
    /// begin, and then the checkpoint of these files may not be the one that the next start begins from.
    pub(super) fn check(&self, saved: &[Saved]) -> Result<(), Fault> {
        self.check_none_later(&self.naming, saved)?;
        for of in saved.iter().filter(|of| self.deals_with(of.partition)) {
            let home = self.home(of.scheme.as_ref())?;
            if home.scheme.is_some() {
                self.check_none_later(&home.naming, saved)?;
            }
            for held in &of.held {
                self.check_held(&self.home_of(held, of)?, held, saved)?;
            }
            if let Some(present) = of.present {
                self.check_present(&home, of.file(), present.bytes)?;
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
        for of in saved.iter().filter(|of| self.deals_with(of.partition)) {
            for held in &of.held {
                let home = self.home_of(held, of)?;
                if let Some(folder) = home.without(held.id) {
                    tracing::warn!("{}", home.taken_away(folder, held));
                    continue;
                }
                let scheme = home.scheme.map(Box::new);
                let held = held.clone();
                complete.push(HeldFile { scheme, ..held });
            }
            let Some(present) = of.present else {
                continue;
            };
            let Home { naming, scheme, .. } = self.home(of.scheme.as_ref())?;
            let (id, bytes) = (of.file(), present.bytes);
            let file = cut(&naming.temporary(id), bytes)?;
            if of.partition == own && scheme.is_none() {
                begun.present = Some((present, file));
                continue;
            }
            if of.partition == own {
                // Its number is taken, should the next start be with the names of before.
                begun.number += 1;
            }
            let scheme = scheme.map(Box::new);
            begun.held.push(HeldFile { id, bytes, scheme });
        }
        let named = self.naming.name_all(&complete);
        named.map_err(|error| self.fault(&error))?;
        let free = self.delete_what_is_over(saved, &begun)?;
        if begun.present.is_none() {
            begun.number = begun.number.max(free);
        }
        Ok(begun)
    }

    /// Deletes what was begun and no checkpoint has; gives the number behind the files that are there.
    fn delete_what_is_over(&self, saved: &[Saved], begun: &Begun) -> Result<u64, Fault> {
        let mut kept: Vec<_> = begun.held.iter().map(|held| held.id).collect();
        kept.extend(begun.present.iter().map(|_| self.naming.file(begun.number)));
        // Also what another partition is about to name: it took over files of this one when there were fewer.
        let all_held = saved.iter().flat_map(|saved| &saved.held);
        kept.extend(all_held.map(|held| held.id));
        let is_over = |file: FileId| self.deals_with(file.partition) && !kept.contains(&file);
        let free = self.naming.first_free(is_over);
        free.map_err(|error| self.fault(&error))
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
    fn check_none_later(&self, naming: &Naming, saved: &[Saved]) -> Result<(), Fault> {
        let limits = Limits::of(saved);
        let mut first: Option<FileId> = None;
        let scanned = naming.each_complete(|file| {
            let is_later = self.deals_with(file.partition) && limits.is_later(file);
            let order = |file: FileId| (file.partition, file.number);
            if is_later && first.is_none_or(|first| order(file) < order(first)) {
                first = Some(file);
            }
        });
        scanned.map_err(|error| fault_of(&naming.folder, &error))?;
        let Some(later) = first else {
            return Ok(());
        };
        let complete = naming.complete(later);
        let complete = complete.display();
        let mut present = None;
        for of in saved.iter().filter(|of| of.file() == later) {
            // Otherwise it is in another folder that the checkpoint has the beginning of a file of this number.
            if self.home(of.scheme.as_ref())?.naming == *naming {
                present = present.or(of.present);
            }
        }
        Err(Fault(match present {
            Some(Present { bytes, .. }) => format!(
                "{complete}: it was completed after the checkpoint, which has its first {bytes} bytes: to begin there \
                 all the same, rename it to {}, where what came later is cut off, and move later files of its \
                 partition away",
                naming.temporary(later).display()
            ),
            None => format!(
                "{complete}: it was completed after the checkpoint, whose start would write its rows once more: move \
                 it away, and later ones of its partition, if that is what you want"
            ),
        }))
    }

    /// A complete file is all there, unless it has its name and whoever waited for it took it away. They may have taken the
    /// folder away with it, but not while a file was begun there: then the folder was moved, or is lost.
    fn check_held(&self, home: &Home, held: &HeldFile, saved: &[Saved]) -> Result<(), Fault> {
        let path = home.naming.temporary(held.id);
        match fs::metadata(&path) {
            Ok(found) if found.len() == held.bytes => Ok(()),
            Ok(found) => Err(Fault(format!(
                "{}: it has {} bytes, the checkpoint has {}",
                path.display(),
                found.len(),
                held.bytes
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match home.without(held.id) {
                Some(folder) if self.has_begun_in(folder, saved)? => {
                    let Fault(cause) = self.gone_with(folder, home, held.id);
                    let complete = home.naming.complete(held.id);
                    let complete = complete.display();
                    Err(Fault(format!(
                        "{cause}; if it had its name and was taken away, an empty file {complete} stands for it"
                    )))
                }
                _ => Ok(()),
            },
            Err(error) => Err(fault_of(&path, &error)),
        }
    }

    /// Whether the checkpoint has the beginning of a file that was in this folder, which is not there any more.
    fn has_begun_in(&self, folder: &Path, saved: &[Saved]) -> Result<bool, Fault> {
        for of in saved.iter().filter(|of| of.present.is_some()) {
            if self.home(of.scheme.as_ref())?.gone.as_deref() == Some(folder) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A file that was begun has at least what the checkpoint has of it.
    fn check_present(&self, home: &Home, id: FileId, bytes: u64) -> Result<(), Fault> {
        let path = home.naming.temporary(id);
        let fault = |cause: String| Err(Fault(format!("{}: {cause}", path.display())));
        match fs::metadata(&path) {
            Ok(found) if found.len() >= bytes => Ok(()),
            Ok(found) => fault(format!(
                "it has {} bytes, the checkpoint has {bytes}",
                found.len()
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match &home.gone {
                Some(folder) => Err(self.gone_with(folder, home, id)),
                None => fault(format!(
                    "the checkpoint has {bytes} bytes of this file, which is not there: if it was completed since and \
                     moved away from {}, move it to this name, where what came later is cut off",
                    home.naming.complete(id).display()
                )),
            },
            Err(error) => fault(error.to_string()),
        }
    }

    /// A file of the checkpoint is neither in the folder that the sink had nor in that which it has.
    fn gone_with(&self, folder: &Path, home: &Home, id: FileId) -> Fault {
        let path = home.naming.temporary(id);
        let name = path.file_name().unwrap_or_default().display();
        let folder = folder.display();
        let own = self.naming.folder.display();
        Fault(format!(
            "{folder}: the folder is not there, and the checkpoint has rows of the file {name} that was in it: give it \
             back with all that was in it, also hidden files, for one start; if only the folder of the sink was changed, \
             these may be moved to {own} instead"
        ))
    }

    /// The first bytes of the present file, up to 64 KiB.
    pub(super) fn beginning(&self, number: u64) -> Result<Vec<u8>, Fault> {
        let path = self.naming.temporary(self.naming.file(number));
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(64 << 10).read_to_end(&mut bytes));
        read.map_err(|error| self.fault(&error))?;
        Ok(bytes)
    }
}

pub(super) fn fault_of(path: &Path, error: &io::Error) -> Fault {
    Fault(format!("{}: {error}", path.display()))
}

/// Opens the file as it was when it had so many bytes.
fn cut(path: &Path, bytes: u64) -> Result<File, Fault> {
    let opened = OpenOptions::new().write(true).open(path);
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
        Ok((_, found)) => Err(Fault(format!(
            "{}: it has {found} bytes, the checkpoint has {bytes}",
            path.display()
        ))),
        Err(error) => Err(fault_of(path, &error)),
    }
}

#[cfg(test)]
mod tests;
