//! What the coordinator and the stages of one run share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{CheckpointError, Epoch, Part, Restoring, SavedCheckpoint};
use crate::flow::Fault;
use crate::mailbox::{LaneSender, Mailbox, Overloaded};

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
    /// Savepoints that are kept, in their order.
    pub savepoints: Vec<Epoch>,
    /// What the last complete one took, if it was taken in this run.
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

/// What others want of the coordinator.
#[derive(Debug, Default)]
struct Wanted {
    /// Checkpoints that were asked for.
    asked: u64,
    /// The number of the last of these that is to be a savepoint.
    savepoint: u64,
    /// Savepoints that need not be kept.
    given_up: Vec<Epoch>,
    /// Why partitions of stages could not be restored: by the number of the stage and the partition.
    unrestored: BTreeMap<(usize, usize), CheckpointError>,
}

/// Says which checkpoint is wanted and which is complete.
pub struct Control {
    requested: AtomicU64,
    completed: AtomicU64,
    /// The savepoint that was requested last.
    savepoint: AtomicU64,
    is_stopping: AtomicBool,
    /// Held for a moment.
    wanted: Mutex<Wanted>,
    is_stale: AtomicBool,
    status: watch::Sender<CheckpointStatus>,
    /// Of the coordinator.
    mailbox: Arc<Mailbox>,
}

impl Control {
    /// For a run that begins after checkpoint `last`, whose coordinator has this mailbox.
    pub fn new(last: Option<Epoch>, savepoints: Vec<Epoch>, mailbox: Arc<Mailbox>) -> Arc<Self> {
        let status = CheckpointStatus {
            completed: last,
            savepoints,
            ..CheckpointStatus::default()
        };
        let last = last.unwrap_or_default().0;
        Arc::new(Self {
            requested: AtomicU64::new(last),
            completed: AtomicU64::new(last),
            savepoint: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            wanted: Mutex::default(),
            is_stale: AtomicBool::new(false),
            status: watch::Sender::new(status),
            mailbox,
        })
    }

    /// Asks for a checkpoint now; gives the number that [`CheckpointStatus::answered`] reaches with it.
    pub fn ask(&self) -> u64 {
        self.ask_for(false)
    }

    /// The same for one that is kept until it is [given up](Self::give_up_savepoint).
    pub fn ask_for_savepoint(&self) -> u64 {
        self.ask_for(true)
    }

    fn ask_for(&self, is_savepoint: bool) -> u64 {
        let mut wanted = self.wanted();
        wanted.asked += 1;
        let number = wanted.asked;
        if is_savepoint {
            wanted.savepoint = number;
        }
        drop(wanted);
        self.mailbox.wake();
        number
    }

    /// Says that a savepoint need not be kept. Once it is gone, [`CheckpointStatus::savepoints`] has it no longer.
    pub fn give_up_savepoint(&self, epoch: Epoch) {
        self.wanted().given_up.push(epoch);
        self.mailbox.wake();
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why this partition of stage number `stage` could not be restored, if that is why it was not made.
    pub fn take_unrestored(&self, stage: usize, partition: usize) -> Option<CheckpointError> {
        self.wanted().unrestored.remove(&(stage, partition))
    }

    /// Whether the checkpoint that the run begins from is of no use: it was made of something else than what its sources
    /// hold now, or is damaged.
    pub fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Acquire)
    }

    /// Says that the run is being stopped: its last checkpoint is one that a next run goes on from.
    pub fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Whether it is. Who waits for something only so that it is done before the end need not: that checkpoint has it.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Where they stand, and how that changes.
    pub fn status(&self) -> watch::Receiver<CheckpointStatus> {
        self.status.subscribe()
    }

    pub(super) fn asked(&self) -> u64 {
        self.wanted().asked
    }

    /// How many were asked for, and the number of the last of these that is to be a savepoint.
    pub(super) fn asked_for(&self) -> (u64, u64) {
        let wanted = self.wanted();
        (wanted.asked, wanted.savepoint)
    }

    pub(super) fn take_given_up(&self) -> Vec<Epoch> {
        std::mem::take(&mut self.wanted().given_up)
    }

    pub(super) fn request(&self, epoch: Epoch, is_savepoint: bool) {
        if is_savepoint {
            // Before the request: whoever sees that finds this.
            self.savepoint.store(epoch.0, Ordering::Release);
        }
        self.requested.store(epoch.0, Ordering::Release);
    }

    pub(super) fn complete(
        &self,
        epoch: Epoch,
        figures: CheckpointFigures,
        savepoints: Vec<Epoch>,
    ) {
        self.completed.store(epoch.0, Ordering::Release);
        self.tell(|status| {
            status.completed = Some(epoch);
            status.figures = Some(figures);
            status.savepoints = savepoints;
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

    /// What is wanted of the checkpoints of the run.
    pub const fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The checkpoint that sources should begin, if later than the last one.
    pub fn requested(&self) -> Epoch {
        Epoch(self.control.requested.load(Ordering::Acquire))
    }

    /// Whether that one is a savepoint. Of one that was given up it may say no.
    pub fn is_savepoint(&self, epoch: Epoch) -> bool {
        self.control.savepoint.load(Ordering::Acquire) == epoch.0
    }

    /// The last one that is complete.
    pub fn completed(&self) -> Epoch {
        Epoch(self.control.completed.load(Ordering::Acquire))
    }

    /// The state to begin with, if there is a checkpoint to begin from.
    pub fn restoring(&self) -> Option<Restoring> {
        let (saved, stage, partitions) = self.restored.as_ref()?;
        Some(saved.restoring(stage, self.partition, *partitions))
    }

    /// Says why the stage cannot be restored.
    pub fn tell_unrestored(&self, error: &CheckpointError) {
        if matches!(error, CheckpointError::Damaged { .. }) {
            self.control.is_stale.store(true, Ordering::Release);
        }
        let place = (self.stage, self.partition);
        self.control
            .wanted()
            .unrestored
            .insert(place, error.clone());
    }

    /// Restoring has failed: says so to whoever looks for the reason.
    pub fn tell_restored(&self, restoring: &Restoring) {
        if restoring.is_stale() {
            self.control.is_stale.store(true, Ordering::Release);
        }
        if let Some(error) = restoring.failure() {
            self.tell_unrestored(error);
        }
    }

    /// Gives the state at the barrier of `epoch`.
    ///
    /// # Errors
    /// [`Fault`]: the coordinator cannot take it. What the operators gave counts as stored, so the run must end.
    pub fn take(&self, epoch: Epoch, parts: Vec<Part>, aligned: Duration) -> Result<(), Fault> {
        self.tell(What::Taken {
            epoch,
            parts,
            aligned,
        })
    }

    /// Gives the state at the end. `waits`: something is held back until a checkpoint has it.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn end(&self, parts: Vec<Part>, waits: bool) -> Result<(), Fault> {
        self.tell(What::Ended { parts, waits })
    }

    fn tell(&self, what: What) -> Result<(), Fault> {
        let told = Told {
            stage: self.stage,
            partition: self.partition,
            what,
        };
        match self.told.try_send(told, 0) {
            // A coordinator that is gone has failed, and its dataflow with it.
            Ok(()) | Err(Overloaded::Closed(_)) => Ok(()),
            Err(Overloaded::Full(_)) => {
                let cause = "the checkpoints' coordinator is behind by several barriers";
                Err(Fault(cause.to_owned()))
            }
        }
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
