//! What checkpoints have of a file sink.

use std::collections::BTreeMap;

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::file_naming::{FileId, HeldFile, Scheme};

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
    /// How the files are named; not known of versions that did not save it.
    #[serde(default)]
    pub(super) scheme: Option<Scheme>,
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
pub(super) struct Limits {
    /// The number of the first file that it does not have complete.
    pub(super) by_partition: BTreeMap<usize, u64>,
    /// Those that are not among these had no files.
    has_all: bool,
}

impl Limits {
    pub(super) fn of(saved: &[Saved]) -> Self {
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
    pub(super) fn next(&self, partition: usize) -> u64 {
        self.by_partition.get(&partition).copied().unwrap_or(0)
    }

    /// Whether a complete file is later than the checkpoint.
    pub(super) fn is_later(&self, file: FileId) -> bool {
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
