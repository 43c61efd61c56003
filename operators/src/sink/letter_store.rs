//! Dead letters of one partition of a stage on their way into `state/`.
//!
//! Place: late items, items that failed -> **letter store** -> the state's writer. A letter's id is the partition that
//! made it and its number there, so numbers go on over restarts: they are part of the checkpoint.
//! Invariants: (1) writes are stored in the order in which they were asked for; (2) after a restart from a checkpoint
//! there is no letter with a number that the checkpoint does not know. Bounds: 4,096 writes in memory, then the stage
//! waits, and one batch on its way. Threads: one owner; outcomes come from the state's thread. Failure: a failed store
//! fails the stage.
//! Not here: what a letter says, and what is made of it after a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use millstream_engine::checkpoint::Restoring;
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::flow::{Fault, Fence, Wiring};
use millstream_engine::stage::Blocked;
use millstream_engine::state::{
    DeadLetter, DeadLetterId, ProjectionId, StateBatch, StateError, StateStore, StateWrite,
    StateWriterHandle,
};

use super::storing::Storing;

/// Writes that wait in memory before the stage does.
const WAITING_MAX: usize = 4_096;
/// Letters that are read at a time.
const PAGE: usize = 1_000;

/// Where the letters of one dataflow go: a value of the [`Resources`](millstream_engine::flow::Resources).
#[derive(Clone)]
pub struct LetterAccess {
    /// Stored letters.
    pub store: StateStore,
    /// Stores letters.
    pub writer: StateWriterHandle,
    /// Whose they are.
    pub owner: ProjectionId,
    /// The name that the owner is registered under.
    pub name: Arc<str>,
}

/// Numbers of letters of one partition of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct LetterNumbers {
    partition: PartitionId,
    partitions: usize,
    /// Letters so far: the number of the next.
    count: u64,
    /// Counts of partitions that there were once; the first one keeps them.
    gone: BTreeMap<u16, u64>,
}

impl LetterNumbers {
    pub(crate) fn of(wiring: &Wiring) -> Self {
        Self {
            partition: wiring.partition_id(),
            partitions: wiring.partitions,
            ..Self::default()
        }
    }

    /// Number of the next letter.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The place of a new letter.
    pub(crate) fn next(&mut self) -> Position {
        let offset = Offset(self.count);
        self.count += 1;
        Position {
            partition: self.partition,
            offset,
        }
    }

    /// How many letters there were, by partition: to be saved.
    pub(crate) fn counts(&self) -> BTreeMap<u16, u64> {
        let mut counts = self.gone.clone();
        counts.insert(self.partition.0, self.count);
        counts
    }

    /// Goes on from what was saved.
    pub(crate) fn restore(
        &mut self,
        saved: impl Iterator<Item = (u16, u64)>,
        restoring: &Restoring,
    ) {
        let mut counts = BTreeMap::new();
        for (partition, count) in saved {
            let known = counts.entry(partition).or_insert(count);
            *known = count.max(*known);
        }
        self.count = counts.get(&self.partition.0).copied().unwrap_or(0);
        if restoring.is_first() {
            let partitions = u16::try_from(self.partitions.max(1)).unwrap_or(u16::MAX);
            self.gone = counts.split_off(&partitions);
        }
    }
}

/// Stores the letters of one operator of one partition of a stage.
pub(crate) struct LetterStore {
    fence: Arc<Fence>,
    access: Arc<LetterAccess>,
    stage: Arc<str>,
    /// Category of its letters: those of other operators of the stage are not its own.
    category: &'static str,
    storing: Arc<Storing>,
    in_flight: bool,
    refused: Option<StateBatch>,
    waiting: Vec<StateWrite>,
    must_wait: bool,
}

impl LetterStore {
    /// The store of letters of `stage` and `category` of the partition that `wiring` is of.
    ///
    /// # Errors
    /// [`Fault`]: there is no engine that keeps letters.
    pub(crate) fn open(
        wiring: &Wiring,
        stage: Arc<str>,
        category: &'static str,
    ) -> Result<Self, Fault> {
        let access = wiring.resources.get::<LetterAccess>().ok_or_else(|| {
            Fault("there are no dead letters: the dataflow runs without an engine".to_owned())
        })?;
        Ok(Self {
            fence: wiring.fence(),
            access,
            stage,
            category,
            storing: Arc::default(),
            in_flight: false,
            refused: None,
            waiting: Vec::new(),
            must_wait: false,
        })
    }

    pub(crate) fn owner(&self) -> ProjectionId {
        self.access.owner
    }

    pub(crate) fn owner_name(&self) -> &str {
        &self.access.name
    }

    pub(crate) fn stage(&self) -> &Arc<str> {
        &self.stage
    }

    pub(crate) fn put(&mut self, letter: DeadLetter) {
        self.waiting.push(StateWrite::DeadLetter(Box::new(letter)));
    }

    pub(crate) fn delete(&mut self, letter: DeadLetterId) {
        self.waiting.push(StateWrite::DeleteDeadLetter(letter));
    }

    /// After a restart: deletes letters of which the checkpoint does not know. The first partition sees to those of
    /// partitions that are gone.
    pub(crate) fn restore(&mut self, numbers: &LetterNumbers, is_first: bool) -> Result<(), Fault> {
        let own = numbers.partition;
        let counts = BTreeMap::from([(own.0, numbers.count)]);
        self.forget(&counts, own, own)?;
        if is_first {
            let partitions = u16::try_from(numbers.partitions).unwrap_or(u16::MAX);
            self.forget(
                &numbers.gone,
                PartitionId(partitions),
                PartitionId(u16::MAX),
            )?;
        }
        Ok(())
    }

    /// Deletes letters of this stage that a checkpoint does not have, of `first` and, unless it is the `last`, of the
    /// partitions behind it.
    fn forget(
        &mut self,
        counts: &BTreeMap<u16, u64>,
        first: PartitionId,
        last: PartitionId,
    ) -> Result<(), Fault> {
        let owner = self.access.owner;
        let count = |partition: PartitionId| counts.get(&partition.0).copied().unwrap_or(0);
        let mut after = count(first).checked_sub(1).map(|offset| DeadLetterId {
            projection: owner,
            partition: first,
            offset: Offset(offset),
            discriminator: u32::MAX,
        });
        if after.is_none() && first.0 > 0 {
            after = Some(DeadLetterId {
                projection: owner,
                partition: PartitionId(first.0 - 1),
                offset: Offset(u64::MAX),
                discriminator: u32::MAX,
            });
        }
        loop {
            let page = self.access.store.dead_letters(Some(owner), after, PAGE);
            let page =
                page.map_err(|error| Fault(format!("dead letters cannot be read: {error}")))?;
            let Some(letter) = page.last() else {
                return Ok(());
            };
            after = Some(letter.id());
            for letter in page {
                let Position { partition, offset } = letter.position;
                if partition > last {
                    return Ok(());
                }
                let is_own = *letter.stage == *self.stage && letter.kind.category == self.category;
                if is_own && offset.0 >= count(partition) {
                    self.delete(letter.id());
                }
            }
        }
    }

    fn is_all_stored(&self) -> bool {
        self.waiting.is_empty() && self.refused.is_none() && !self.in_flight
    }

    /// A turn ends: hands what waits to the state's writer. With `must_wait` the stage waits until all of it is stored:
    /// nobody would look again by itself.
    pub(crate) fn flush(&mut self, must_wait: bool) -> Result<(), Fault> {
        self.store()?;
        self.must_wait = must_wait;
        Ok(())
    }

    /// The stage waits from here until all of it is stored: an idle flush follows.
    pub(crate) fn before_barrier(&mut self) {
        self.must_wait = true;
    }

    /// One batch at a time.
    fn store(&mut self) -> Result<(), Fault> {
        // Before the failure, which is there once its batch is done.
        self.in_flight = self.storing.is_in_flight();
        if let Some(cause) = self.storing.failure() {
            return Err(Fault(format!("dead letters could not be stored: {cause}")));
        }
        if self.in_flight {
            return Ok(());
        }
        let batch = match self.refused.take() {
            Some(batch) => batch,
            None if self.waiting.is_empty() => return Ok(()),
            None => {
                let storing = Arc::clone(&self.storing);
                let writes = std::mem::take(&mut self.waiting);
                StateBatch::new(writes).on_done(move |outcome| storing.finish(outcome))
            }
        };
        let _pass = self.fence.pass();
        self.storing.begin();
        let room = self.storing.waker();
        match self.access.writer.try_submit_or_wake(batch, &room) {
            Ok(()) => self.in_flight = true,
            Err(refused) => {
                // Nobody is told of a batch that was not taken.
                self.storing.give_up();
                if !matches!(refused.reason, StateError::Full { .. }) {
                    return Err(Fault(format!(
                        "the state's writer refused dead letters: {refused}"
                    )));
                }
                self.refused = Some(*refused.batch);
            }
        }
        Ok(())
    }

    pub(crate) fn is_blocked(&self) -> bool {
        let is_full = self.waiting.len() >= WAITING_MAX;
        (self.must_wait || is_full) && !self.is_all_stored()
    }

    pub(crate) fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        if self.refused.is_some() {
            waits.push(Box::pin(Arc::clone(&self.storing).until_room()));
        } else {
            waits.push(Box::pin(Arc::clone(&self.storing).until_done()));
        }
    }
}

impl fmt::Debug for LetterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterAccess")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LetterStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterStore")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
