//! Which sink of a run writes where, and what others have there still.
//!
//! Place: file sinks note here what they write to when they are opened, and when they are restored what their checkpoint has
//! under names that are not theirs any more. Invariant: no sink writes, names or deletes files where another one has files that
//! are to get their names: with one prefix and format they could not tell them apart. All are opened and restored before one has
//! its first turn, and nothing is touched before that. Threads: several. Failure: whoever comes second is refused. Not here: sinks of
//! other dataflows.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::flow::Fault;

use super::file_naming::{FileId, Naming, Scheme};
use super::file_saved::Saved;
use super::file_state::{Place, fault_of};

/// A file that is there under its temporary name, which is made by another scheme than that of its sink.
#[derive(Debug)]
pub(super) struct LeftFile {
    scheme: Scheme,
    path: PathBuf,
}

/// What all file sinks of a run know of each other; they are told apart by their stages.
#[derive(Default)]
pub struct FileFolders {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What each writes to.
    own: Vec<(Arc<str>, Naming)>,
    left: Vec<(Arc<str>, LeftFile)>,
}

impl FileFolders {
    /// The sink of `stage` writes by `naming`.
    ///
    /// # Errors
    /// [`Fault`]: another one has files there.
    pub(super) fn note_own(&self, stage: &Arc<str>, naming: &Naming) -> Result<(), Fault> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.own.push((Arc::clone(stage), naming.clone()));
        known.check()
    }

    /// A checkpoint has these files of the sink of `stage`.
    ///
    /// # Errors
    /// [`Fault`]: another one writes there.
    pub(super) fn note_left(&self, stage: &Arc<str>, left: Vec<LeftFile>) -> Result<(), Fault> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let left = left.into_iter().map(|file| (Arc::clone(stage), file));
        known.left.extend(left);
        known.check()
    }
}

impl Known {
    fn check(&self) -> Result<(), Fault> {
        for (stage, LeftFile { scheme, path }) in &self.left {
            let mut own = self.own.iter();
            let found = own.find(|(other, naming)| {
                other != stage && naming.has_names_of(scheme) && naming.is_in(scheme)
            });
            if let Some((other, _)) = found {
                return Err(Fault(format!(
                    "{}: the checkpoint has it of the sink of {stage}, which wrote here before, as that of {other} is to do now: \
                     give that of {other} another folder or prefix until a run has taken a checkpoint, with which the \
                     file gets its name",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FileFolders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileFolders").finish_non_exhaustive()
    }
}

impl Place {
    /// Files in `saved` that are there and have no name yet, which is by another scheme than that of the sink.
    ///
    /// # Errors
    /// [`Fault`]: an error of the file system.
    pub(super) fn left(&self, saved: &[Saved]) -> Result<Vec<LeftFile>, Fault> {
        let mut left = Vec::new();
        for of in saved.iter().filter(|of| self.deals_with(of.partition)) {
            for held in &of.held {
                let scheme = held.scheme.as_deref().or(of.scheme.as_ref());
                left.extend(self.left_file(scheme, held.id)?);
            }
            if of.present.is_some() {
                left.extend(self.left_file(of.scheme.as_ref(), of.file())?);
            }
        }
        Ok(left)
    }

    fn left_file(&self, scheme: Option<&Scheme>, id: FileId) -> Result<Option<LeftFile>, Fault> {
        let home = self.home(scheme)?;
        let Some(scheme) = home.scheme else {
            return Ok(None);
        };
        let path = home.naming.temporary(id);
        match fs::metadata(&path) {
            Ok(_) => Ok(Some(LeftFile { scheme, path })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault_of(&path, &error)),
        }
    }
}

#[cfg(test)]
mod tests;
