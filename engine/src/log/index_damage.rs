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
}

impl Damage {
    pub(super) fn of(environment: &Environment, partition: PartitionId) -> Self {
        let file = |folder: &std::path::Path| folder.join(format!("index-{partition}-damaged"));
        Self {
            partition,
            file: environment.folder().map(file),
            is_told: AtomicBool::new(false),
        }
    }

    /// Whether somebody met damage since the index was made.
    pub(super) fn is_noted(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.exists())
    }

    /// Keeps in mind that the index is to be made anew, and says so once. Anything but damage is passed over.
    pub(super) fn note(&self, cause: &IndexError) {
        if !cause.is_damage() || self.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let partition = self.partition;
        tracing::error!(
            %partition, %cause,
            "stream index is damaged: it is made anew when the log is opened for writing; until then streams in the damaged part cannot be read"
        );
        let Some(file) = &self.file else { return };
        if let Err(error) = fs::write(file, format!("{cause}\n")) {
            let file = file.display();
            tracing::error!(%file, %error, "the damage could not be noted: make this file by hand");
        }
    }

    /// The index was emptied: nothing of what was damaged is there any more.
    pub(super) fn forget(&self) {
        self.is_told.store(false, Ordering::Relaxed);
        let Some(file) = self.file.as_ref().filter(|file| file.exists()) else {
            return;
        };
        if let Err(error) = fs::remove_file(file) {
            let file = file.display();
            tracing::error!(%file, %error, "a note of damage that is mended could not be removed: each opening makes the index anew");
        }
    }
}
