//! Decides when a checkpoint is taken, stores what the stages give and says when it is complete.
//!
//! Actor of one dataflow, as a step core. In: what partitions tell, outcomes of writes, the clock. Out: the request
//! that sources read, rows, wake-ups. At most one checkpoint is under way; one that takes too long is given up, and
//! what was given for it belongs to the next.

mod completing;
mod giving_up;
mod opening;
mod options;
mod progress;
#[cfg(test)]
mod tests;
mod writes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use opening::{CoordinatorParts, StageShape};
pub use options::CheckpointOptions;
use progress::{Progress, UnderWay};
use writes::Writes;

use super::control::{Control, StageLink, Told, What};
use super::{CheckpointStorage, Epoch, Manifest, SavedCheckpoint};
use crate::fail_point;
use crate::mailbox::{LaneReceiver, LaneSender, Mailbox};
use crate::metrics::CheckpointMetrics;
use crate::stage::{StageCore, Step};
use crate::time::Clock;

/// Longest between two looks while something is stored, or waits for room in the storage: both wake it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is under way.
enum Phase {
    Resting,
    /// Barriers are on their way.
    Taking {
        deadline: Duration,
    },
    /// The manifest is being written.
    Storing(Box<Manifest>),
    /// It is written and being forced to the disk.
    Syncing(Box<Manifest>),
}

/// The coordinator of one run of a dataflow.
pub struct Coordinator {
    options: CheckpointOptions,
    clock: Arc<dyn Clock>,
    storage: Arc<dyn CheckpointStorage>,
    must_sync: bool,
    stages: Vec<StageShape>,
    numbers: Vec<u32>,
    progress: Vec<Vec<Progress>>,
    retained: Vec<Manifest>,
    control: Arc<Control>,
    told: LaneReceiver<Told>,
    teller: LaneSender<Told>,
    taken: Vec<Told>,
    mailbox: Arc<Mailbox>,
    restored: Option<SavedCheckpoint>,
    writes: Writes,
    phase: Phase,
    /// The last one that was begun, or whose number was taken.
    epoch: Epoch,
    is_savepoint: bool,
    began: Duration,
    rested_since: Duration,
    /// Asked for before the one under way began.
    asked: u64,
    answered: u64,
    failures: u32,
    bytes: u64,
    stopping: bool,
    metrics: CheckpointMetrics,
}

impl Coordinator {
    /// What it shares with the stages.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Its mailbox.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Whether partitions of a stage begin with state of several that were saved, of which each reads all.
    pub fn spreads_anew(&self) -> bool {
        let spreads = |saved: &SavedCheckpoint| {
            let mut stages = self.stages.iter();
            stages.any(|stage| saved.is_spread_anew(&stage.name, stage.mailboxes.len()))
        };
        self.restored.as_ref().is_some_and(spreads)
    }

    /// What a partition of stage number `stage` needs.
    pub fn link(&self, stage: usize, partition: usize) -> StageLink {
        let shape = &self.stages[stage];
        let restored = self.restored.as_ref().map(|saved| {
            let partitions = shape.mailboxes.len();
            (saved.clone(), Arc::clone(&shape.name), partitions)
        });
        StageLink::new(
            Arc::clone(&self.control),
            (stage, partition),
            self.teller.clone(),
            restored,
        )
    }

    fn partitions(&mut self) -> impl Iterator<Item = &mut Progress> {
        self.progress.iter_mut().flatten()
    }

    fn is_all_ended(&self) -> bool {
        let mut all = self.progress.iter().flatten();
        all.all(Progress::has_ended)
    }

    fn drain(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        self.told.drain(usize::MAX, &mut taken);
        for Told {
            stage,
            partition,
            what,
        } in taken.drain(..)
        {
            let under_way = match self.phase {
                Phase::Resting => UnderWay::Nothing,
                Phase::Taking { .. } => UnderWay::Taking(self.epoch),
                Phase::Storing(_) | Phase::Syncing(_) => UnderWay::Taken,
            };
            let place = (self.numbers[stage], partition);
            let progress = &mut self.progress[stage][partition];
            match what {
                What::Taken {
                    epoch,
                    parts,
                    aligned,
                } => {
                    self.metrics.observe_alignment(aligned);
                    self.bytes += self.writes.add(place, epoch, &parts);
                    progress.taken(epoch, &parts);
                }
                What::Ended { parts, waits } => {
                    let under = progress.ended(&parts, waits, self.epoch, under_way);
                    self.bytes += self.writes.add(place, under, &parts);
                }
            }
        }
        self.taken = taken;
    }

    /// Whether the next one should begin now; otherwise how long until it should.
    fn due(&self, now: Duration) -> Result<(), Duration> {
        if self.is_all_ended() {
            return Ok(());
        }
        let rested = now.saturating_sub(self.rested_since);
        let mut all = self.progress.iter().flatten();
        let is_wanted = self.control.asked() > self.answered || all.any(Progress::waits);
        let wait = if is_wanted {
            self.options.pause()
        } else {
            self.options.interval()
        };
        match wait.saturating_sub(rested) {
            Duration::ZERO => Ok(()),
            // One that was asked for at the beginning need not wait for a pause after nothing.
            _ if is_wanted && self.began == self.rested_since => Ok(()),
            left => Err(left),
        }
    }

    fn begin(&mut self, now: Duration) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.began = now;
        let (asked, savepoint) = self.control.asked_for();
        self.is_savepoint = savepoint > self.answered;
        self.asked = asked;
        self.phase = Phase::Taking {
            deadline: now.saturating_add(self.options.timeout()),
        };
        fail_point!(CHECKPOINT_REQUESTED);
        self.control.request(self.epoch, self.is_savepoint);
        for stage in self.stages.iter().filter(|stage| stage.is_source) {
            stage.mailboxes.iter().for_each(|mailbox| mailbox.wake());
        }
    }

    /// One move of what is under way; `false`: nothing can be done before something comes.
    fn advance(&mut self, now: Duration) -> Result<bool, String> {
        let epoch = self.epoch;
        match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Resting => {
                if self.due(now).is_err() {
                    return Ok(false);
                }
                self.begin(now);
                Ok(true)
            }
            Phase::Taking { deadline } => {
                let is_given = self.partitions().all(|progress| progress.has_given(epoch));
                if is_given && self.writes.is_done() {
                    fail_point!(CHECKPOINT_BEFORE_MANIFEST, said);
                    if self.is_savepoint {
                        fail_point!(SAVEPOINT_BEFORE_MANIFEST, said);
                    }
                    let manifest = Box::new(self.manifest(now));
                    let bytes = manifest.to_bytes().map_err(|error| error.to_string())?;
                    self.writes.put_manifest(epoch, bytes);
                    self.phase = Phase::Storing(manifest);
                    return Ok(true);
                }
                if now >= deadline {
                    self.give_up(now)?;
                    return Ok(true);
                }
                self.phase = Phase::Taking { deadline };
                Ok(false)
            }
            Phase::Storing(manifest) if self.writes.is_done() => {
                fail_point!(CHECKPOINT_MANIFEST_STORED, said);
                if self.must_sync {
                    self.writes.want_sync();
                }
                self.phase = Phase::Syncing(manifest);
                Ok(true)
            }
            Phase::Syncing(manifest) if self.writes.is_done() => {
                fail_point!(CHECKPOINT_BEFORE_TOLD, said);
                self.complete(*manifest, now);
                fail_point!(CHECKPOINT_TOLD, said);
                Ok(true)
            }
            waiting @ (Phase::Storing(_) | Phase::Syncing(_)) => {
                self.phase = waiting;
                Ok(false)
            }
        }
    }

    fn wait(&self, now: Duration) -> Duration {
        let wait = match &self.phase {
            Phase::Resting => self.due(now).err().unwrap_or(Duration::ZERO),
            Phase::Taking { deadline } => deadline.saturating_sub(now),
            Phase::Storing(_) | Phase::Syncing(_) => LOOK_EVERY,
        };
        if self.writes.is_done() {
            wait
        } else {
            wait.min(LOOK_EVERY)
        }
    }
}

impl StageCore for Coordinator {
    fn step(&mut self) -> Step {
        if self.stopping {
            return Step::Done;
        }
        self.drain();
        loop {
            // Also between two of them: until the next one is due it may rest for long.
            if matches!(self.phase, Phase::Resting) {
                self.let_go();
            }
            self.writes.offer(&*self.storage);
            if let Some(cause) = self.writes.failure() {
                return Step::Failed(format!("a checkpoint could not be stored: {cause}"));
            }
            if self.control.status().borrow().is_final {
                // What is no longer needed may be deleted by the next run.
                return Step::Done;
            }
            let now = self.clock.monotonic();
            match self.advance(now) {
                Ok(true) => {}
                Ok(false) => return Step::IdleUntil(self.wait(now)),
                Err(cause) => return Step::Failed(cause),
            }
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }
}

/// Why a step failed, as the coordinator tells it.
#[cfg(feature = "failpoints")]
fn said(cause: std::io::Error) -> String {
    cause.to_string()
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
