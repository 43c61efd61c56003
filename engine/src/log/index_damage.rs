//! What is known of damage of a stream index until it is made anew: a file beside the log's says it.
//!
//! A file, since whoever meets damage reads, while only the log's writer may change the log, and it may have nothing to
//! append any more. It is not synced: what a power failure takes of it is met again. That it is there counts; what is in it
//! is for people.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event::PartitionId;
use crate::index::IndexError;
use crate::store::Environment;

/// Damage of one partition's index.
#[derive(Debug)]
pub(super) struct Damage {
    partition: PartitionId,
    /// None on a simulated disk.
    file: Option<PathBuf>,
    is_told: AtomicBool,
    is_written: AtomicBool,
}

impl Damage {
    pub(super) fn of(environment: &Environment, partition: PartitionId) -> Self {
        let file = |folder: &std::path::Path| folder.join(format!("index-{partition}-damaged"));
        Self {
            partition,
            file: environment.folder().map(file),
            is_told: AtomicBool::new(false),
            is_written: AtomicBool::new(false),
        }
    }

    /// Whether somebody met damage since the index was made.
    pub(super) fn is_noted(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.exists())
    }

    /// Keeps in mind that the index is to be made anew, and says so once. Anything but damage is passed over. A file that cannot
    /// be written, as on a full disk, is tried again whenever damage is met.
    pub(super) fn note(&self, cause: &IndexError) {
        if !cause.is_damage() {
            return;
        }
        let (partition, is_first) = (self.partition, !self.is_told.swap(true, Ordering::Relaxed));
        if is_first {
            tracing::error!(
                %partition, %cause,
                "stream index is damaged: it is made anew when the log is opened for writing; until then streams in the damaged part cannot be read"
            );
        }
        let Some(file) = &self.file else { return };
        if self.is_written.load(Ordering::Relaxed) {
            return;
        }
        match fs::write(file, format!("{cause}\n")) {
            Ok(()) => self.is_written.store(true, Ordering::Relaxed),
            Err(error) if is_first => {
                let file = file.display();
                tracing::error!(%file, %error, "the damage could not be noted: it is tried again when damage is met again; or make this file by hand");
            }
            Err(_) => {}
        }
    }

    /// The index was emptied: nothing of what was damaged is there any more.
    pub(super) fn forget(&self) {
        self.is_told.store(false, Ordering::Relaxed);
        self.is_written.store(false, Ordering::Relaxed);
        let Some(file) = self.file.as_ref().filter(|file| file.exists()) else {
            return;
        };
        if let Err(error) = fs::remove_file(file) {
            let file = file.display();
            tracing::error!(%file, %error, "a note of damage that is mended could not be removed: each opening makes the index anew");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Story: where the note could not be written the first time, the next start went on with the damaged index.
    #[test]
    fn a_note_that_could_not_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let damage = Damage {
            partition: PartitionId(0),
            file: Some(log.join("index-0-damaged")),
            is_told: AtomicBool::new(false),
            is_written: AtomicBool::new(false),
        };
        let cause = IndexError::Versions {
            hash: 1,
            expected: 1,
            found: 2,
        };
        damage.note(&cause);
        assert!(!damage.is_noted());
        fs::create_dir(&log).unwrap();
        damage.note(&cause);
        assert!(damage.is_noted());
        damage.forget();
        assert!(!damage.is_noted());
        damage.note(&cause);
        assert!(damage.is_noted());
    }
}
