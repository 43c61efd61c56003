//! What becomes of a checkpoint that is complete, and which older ones are let go.

use std::time::Duration;

use super::Coordinator;
use super::progress::Progress;
use crate::checkpoint::control::CheckpointFigures;
use crate::checkpoint::standing::sweep;
use crate::checkpoint::{CheckpointError, Epoch, Manifest, StageManifest};
use crate::fail_point;

impl Coordinator {
    /// Deletes what the run has no use for, once its stages are made: checkpoints behind the one that it begins from, or
    /// all if it begins from none, but not savepoints or what cannot be read; and parts of those that were not completed.
    /// Blocks on the storage.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`].
    pub fn forget_others(&self) -> Result<(), CheckpointError> {
        sweep(&*self.storage, &self.retained)
    }

    /// What is complete once everybody has given its part.
    pub(super) fn manifest(&self, now: Duration) -> Manifest {
        let stages = self.stages.iter().zip(&self.numbers).zip(&self.progress);
        let stages = stages.map(|((stage, &number), progress)| StageManifest {
            name: stage.name.to_string(),
            number,
            partitions: progress.iter().map(Progress::slots).collect(),
        });
        Manifest {
            epoch: self.epoch,
            taken_at: self.clock.now(),
            micros: micros(now.saturating_sub(self.began)),
            bytes_written: self.bytes,
            hash_probe: Manifest::probe(),
            is_savepoint: self.is_savepoint,
            stages: stages.collect(),
        }
    }

    pub(super) fn complete(&mut self, manifest: Manifest, now: Duration) {
        let figures = CheckpointFigures {
            duration: now.saturating_sub(self.began),
            bytes_written: self.bytes,
            bytes: manifest.bytes(),
        };
        self.metrics.observe_completed(&figures);
        self.bytes = 0;
        self.failures = 0;
        self.rested_since = now;
        self.answered = self.asked;
        let is_final = self.is_all_ended();
        self.retained.push(manifest);
        self.retain();
        self.writes.delete_unnamed(&self.retained, self.epoch);
        for progress in self.progress.iter_mut().flatten() {
            progress.completed();
        }
        self.control
            .complete(self.epoch, figures, savepoints(&self.retained));
        let answered = self.answered;
        self.control.tell(|status| {
            status.answered = answered;
            status.is_final = is_final;
        });
        let all = self.stages.iter().flat_map(|stage| &stage.mailboxes);
        all.for_each(|mailbox| mailbox.wake());
    }

    /// Lets the oldest go that are no savepoints.
    fn retain(&mut self) {
        let ordinary = |manifest: &Manifest| !manifest.is_savepoint;
        let count = self.retained.iter().filter(|one| ordinary(one)).count();
        for _ in self.options.retained.max(1)..count {
            if let Some(oldest) = self.retained.iter().position(ordinary) {
                fail_point!(CHECKPOINT_FORGETTING);
                let gone = self.retained.remove(oldest);
                self.writes.delete_manifest(gone.epoch);
            }
        }
    }

    /// Deletes savepoints that somebody gave up.
    pub(super) fn let_go(&mut self) {
        let given_up = self.control.take_given_up();
        if given_up.is_empty() {
            return;
        }
        let last = self.control.status().borrow().completed;
        // Parts that came later may be part of the next one, which names nothing yet.
        let newest = self.retained.iter().map(|one| one.epoch).max();
        let (gone, retained): (Vec<_>, _) = std::mem::take(&mut self.retained)
            .into_iter()
            .partition(|one| {
                one.is_savepoint && given_up.contains(&one.epoch) && Some(one.epoch) != last
            });
        self.retained = retained;
        for gone in gone {
            fail_point!(CHECKPOINT_FORGETTING);
            self.writes.delete_manifest(gone.epoch);
        }
        self.writes
            .delete_unnamed(&self.retained, newest.unwrap_or_default());
        let savepoints = savepoints(&self.retained);
        self.control.tell(|status| status.savepoints = savepoints);
    }
}

/// Numbers of the savepoints among these.
pub(super) fn savepoints(manifests: &[Manifest]) -> Vec<Epoch> {
    let savepoints = manifests.iter().filter(|one| one.is_savepoint);
    savepoints.map(|one| one.epoch).collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
