//! What the coordinator and the stages of one run share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::{CheckpointError, Epoch, Part, Restoring, SavedCheckpoint};
use crate::mailbox::{LaneSender, Mailbox};

/// What a complete checkpoint took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointFigures {
    /// From the request to the sources until it was complete.
    pub duration: Duration,
    /// Bytes that were written for it, those of checkpoints before it that were given up included.
    pub bytes_written: u64,
    /// Bytes of all that it consists of.
    pub bytes: u64,
}

/// Where the checkpoints of a dataflow stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointStatus {
    /// The last complete one, also of an earlier run.
    pub completed: Option<Epoch>,
    /// What that took, if it was taken in this run.
    pub figures: Option<CheckpointFigures>,
    /// How many were asked for by [`Control::ask`] and are answered: by a complete one, or by a failure.
    pub answered: u64,
    /// Checkpoints of this run that were given up.
    pub failed: u64,
    /// Why the last of these was.
    pub failure: Option<String>,
    /// Every stage has ended, and a checkpoint says so.
    pub is_final: bool,
}

/// Says which checkpoint is wanted and which is complete.
pub struct Control {
    requested: AtomicU64,
    completed: AtomicU64,
    asked: AtomicU64,
    is_stale: AtomicBool,
    status: watch::Sender<CheckpointStatus>,
    /// Of the coordinator.
    mailbox: Arc<Mailbox>,
}

impl Control {
    /// For a run that begins after checkpoint `last`, whose coordinator has this mailbox.
    pub fn new(last: Option<Epoch>, mailbox: Arc<Mailbox>) -> Arc<Self> {
        let status = CheckpointStatus {
            completed: last,
            ..CheckpointStatus::default()
        };
        let last = last.unwrap_or_default().0;
        Arc::new(Self {
            requested: AtomicU64::new(last),
            completed: AtomicU64::new(last),
            asked: AtomicU64::new(0),
            is_stale: AtomicBool::new(false),
            status: watch::Sender::new(status),
            mailbox,
        })
    }

    /// Asks for a checkpoint now; gives the number that [`CheckpointStatus::answered`] reaches with it.
    pub fn ask(&self) -> u64 {
        let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.mailbox.wake();
        number
    }

    /// Whether the checkpoint that the run begins from is of no use: it was made of something else than what its sources
    /// hold now, or is damaged.
    pub fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Acquire)
    }

    /// Where they stand, and how that changes.
    pub fn status(&self) -> watch::Receiver<CheckpointStatus> {
        self.status.subscribe()
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    pub(super) fn request(&self, epoch: Epoch) {
        self.requested.store(epoch.0, Ordering::Release);
    }

    pub(super) fn complete(&self, epoch: Epoch, figures: CheckpointFigures) {
        self.completed.store(epoch.0, Ordering::Release);
        self.tell(|status| {
            status.completed = Some(epoch);
            status.figures = Some(figures);
        });
    }

    pub(super) fn tell(&self, change: impl FnOnce(&mut CheckpointStatus)) {
        self.status.send_modify(change);
    }
}

/// What a partition of a stage tells the coordinator.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) stage: usize,
    pub(super) partition: usize,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// It has come to the barrier, with this state.
    Taken {
        epoch: Epoch,
        parts: Vec<Part>,
        /// Between its first and its last barrier.
        aligned: Duration,
    },
    /// It has ended, with this state. `waits`: it stays until a checkpoint says so, for what it holds back.
    Ended { parts: Vec<Part>, waits: bool },
}

/// What one partition of a stage needs for checkpoints.
#[derive(Clone)]
pub struct StageLink {
    control: Arc<Control>,
    stage: usize,
    partition: usize,
    told: LaneSender<Told>,
    restored: Option<(SavedCheckpoint, Arc<str>, usize)>,
}

impl StageLink {
    pub(super) fn new(
        control: Arc<Control>,
        (stage, partition): (usize, usize),
        told: LaneSender<Told>,
        restored: Option<(SavedCheckpoint, Arc<str>, usize)>,
    ) -> Self {
        Self {
            control,
            stage,
            partition,
            told,
            restored,
        }
    }

    /// The checkpoint that sources should begin, if later than the last one.
    pub fn requested(&self) -> Epoch {
        Epoch(self.control.requested.load(Ordering::Acquire))
    }

    /// The last one that is complete.
    pub fn completed(&self) -> Epoch {
        Epoch(self.control.completed.load(Ordering::Acquire))
    }

    /// The state to begin with, if there is a checkpoint to begin from.
    ///
    /// # Errors
    /// As [`SavedCheckpoint::restoring`].
    pub fn restoring(&self) -> Result<Option<Restoring>, CheckpointError> {
        let Some((saved, stage, partitions)) = &self.restored else {
            return Ok(None);
        };
        saved
            .restoring(stage, self.partition, *partitions)
            .map(Some)
            .inspect_err(|error| {
                if matches!(error, CheckpointError::Damaged { .. }) {
                    self.control.is_stale.store(true, Ordering::Release);
                }
            })
    }

    /// Restoring has failed: says so to whoever looks for the reason.
    pub fn tell_restored(&self, restoring: &Restoring) {
        if restoring.is_stale() {
            self.control.is_stale.store(true, Ordering::Release);
        }
    }

    /// Gives the state at the barrier of `epoch`.
    pub fn take(&self, epoch: Epoch, parts: Vec<Part>, aligned: Duration) {
        self.tell(What::Taken {
            epoch,
            parts,
            aligned,
        });
    }

    /// Gives the state at the end. `waits`: something is held back until a checkpoint has it.
    pub fn end(&self, parts: Vec<Part>, waits: bool) {
        self.tell(What::Ended { parts, waits });
    }

    fn tell(&self, what: What) {
        let told = Told {
            stage: self.stage,
            partition: self.partition,
            what,
        };
        // There is room for all that partitions may tell at once. A coordinator that is gone has failed, and its
        // dataflow with it.
        let _ = self.told.try_send(told, 0);
    }
}

impl fmt::Debug for StageLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageLink")
            .field("stage", &self.stage)
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("requested", &self.requested)
            .field("completed", &self.completed)
            .finish_non_exhaustive()
    }
}
