//! Late items as dead letters, for a person to look at.
//!
//! Place: a window's or pattern's late items -> **late letters** -> `state/`, where `dead-letters list|show` finds
//! them. A letter has the stage (by what its state is found by), the item's time and the watermark that it came behind, and the item as JSON; the
//! place of its id is the partition of the stage and its number there. Like the tables of a dataflow they belong to one
//! start: the next one drops them and finds them again. With checkpoints they stay, and their numbers go on: a barrier
//! waits until all letters before it are stored, and a start from the checkpoint deletes those after it, which come
//! again.
//! Bounds: at most `max` letters per partition of a stage, the oldest is given up for a new one; 4,096 letters in
//! memory, then the stage waits. Threads: one owner; outcomes come from the state's thread. Failure: an item that
//! cannot be encoded, or a failed store, fails the stage.

use std::any::type_name;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::flow::{Emit, Fault, Fence, Operator, Turn, Wiring};
use millstream_engine::log::frame::{Encoding, Kind};
use millstream_engine::stage::Blocked;
use millstream_engine::state::{
    DeadLetter, DeadLetterId, DeadLetterStatus, ProjectionId, StateBatch, StateError, StateStore,
    StateWrite, StateWriterHandle,
};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::table::{Storing, a_moment};

/// Its kind of state in checkpoints.
const KIND: &str = "late letters";
/// Letters kept per partition of a stage.
const MAX: u64 = 10_000;
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
}

/// What is saved: how many letters there were, by partition.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    counts: BTreeMap<u16, u64>,
}

struct Open {
    fence: Arc<Fence>,
    store: StateStore,
    writer: StateWriterHandle,
    owner: ProjectionId,
    stage: Arc<str>,
    partition: PartitionId,
    partitions: usize,
    storing: Arc<Storing>,
    in_flight: bool,
    refused: Option<StateBatch>,
    waiting: Vec<StateWrite>,
    must_wait: bool,
    /// Counts of partitions that there were once; the first one keeps them.
    gone: BTreeMap<u16, u64>,
    now: Timestamp,
    fault: Option<Fault>,
}

/// Keeps late items as dead letters.
pub struct LateLetters<T> {
    max: u64,
    count: u64,
    limit: Timestamp,
    ending: bool,
    open: Option<Open>,
    item: PhantomData<fn(T)>,
}

impl<T> LateLetters<T> {
    /// Keeps the last 10,000 of each partition of the stage.
    #[must_use]
    pub const fn new() -> Self {
        Self::at_most(MAX)
    }

    /// Keeps the last `max` (at least one) of each partition of the stage.
    #[must_use]
    pub const fn at_most(max: u64) -> Self {
        Self {
            max: if max == 0 { 1 } else { max },
            count: 0,
            limit: Timestamp::MIN,
            ending: false,
            open: None,
            item: PhantomData,
        }
    }
}

impl<T> Default for LateLetters<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for LateLetters<T> {
    fn clone(&self) -> Self {
        Self::at_most(self.max)
    }
}

impl Open {
    fn letter(&self, number: u64, cause: String, event_type: &str, payload: Vec<u8>) -> DeadLetter {
        DeadLetter {
            projection: self.owner,
            stage: (&*self.stage).into(),
            version: 1,
            key: "late item".into(),
            status: DeadLetterStatus::Dead,
            cause: vec![cause],
            attempts: 1,
            first_failed: self.now,
            last_failed: self.now,
            position: Position {
                partition: self.partition,
                offset: Offset(number),
            },
            kind: Kind {
                category: "".into(),
                event_type: event_type.into(),
                schema_version: 1,
                encoding: Encoding::Json,
            },
            dictionary: Vec::new(),
            payload,
            earlier: Vec::new(),
            redrives: 0,
            followers_bytes: 0,
            followers: 0,
            follower_offsets: Vec::new(),
        }
    }

    /// Deletes letters of this stage that a checkpoint does not have, of `first` and, unless it is the `last`, of the
    /// partitions behind it.
    fn forget(
        &mut self,
        counts: &BTreeMap<u16, u64>,
        first: PartitionId,
        last: PartitionId,
    ) -> Result<(), Fault> {
        let count = |partition: PartitionId| counts.get(&partition.0).copied().unwrap_or(0);
        let mut after = count(first).checked_sub(1).map(|offset| DeadLetterId {
            projection: self.owner,
            partition: first,
            offset: Offset(offset),
            discriminator: u32::MAX,
        });
        if after.is_none() && first.0 > 0 {
            after = Some(DeadLetterId {
                projection: self.owner,
                partition: PartitionId(first.0 - 1),
                offset: Offset(u64::MAX),
                discriminator: u32::MAX,
            });
        }
        loop {
            let page = self.store.dead_letters(Some(self.owner), after, PAGE);
            let page =
                page.map_err(|error| Fault(format!("late items cannot be read: {error}")))?;
            let Some(letter) = page.last() else {
                return Ok(());
            };
            after = Some(letter.id());
            for letter in page {
                let Position { partition, offset } = letter.position;
                if partition > last {
                    return Ok(());
                }
                if *letter.stage == *self.stage && offset.0 >= count(partition) {
                    let write = StateWrite::DeleteDeadLetter(letter.id());
                    self.waiting.push(write);
                }
            }
        }
    }

    fn is_all_stored(&self) -> bool {
        self.waiting.is_empty() && self.refused.is_none() && !self.in_flight
    }

    /// Hands what waits to the state's writer, one batch at a time.
    fn store(&mut self) -> Result<(), Fault> {
        // Before the failure, which is there once its batch is done.
        self.in_flight = self.storing.is_in_flight();
        if let Some(cause) = self.storing.failure() {
            return Err(Fault(format!("late items could not be stored: {cause}")));
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
        match self.writer.try_submit(batch) {
            Ok(()) => self.in_flight = true,
            Err(refused) => {
                // Nobody is told of a batch that was not taken.
                self.storing.give_up();
                if !matches!(refused.reason, StateError::Full { .. }) {
                    return Err(Fault(format!(
                        "the state's writer refused late items: {refused}"
                    )));
                }
                self.refused = Some(*refused.batch);
            }
        }
        Ok(())
    }
}

impl<T: Serialize + Send + 'static> Operator<T> for LateLetters<T> {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: T, _out: &mut E) {
        let Some(open) = &mut self.open else { return };
        let payload = match serde_json::to_vec(&item) {
            Ok(payload) => payload,
            Err(error) => {
                let fault = || Fault(format!("a late item cannot be stored: {error}"));
                open.fault.get_or_insert_with(fault);
                return;
            }
        };
        let limit = self.limit;
        let cause =
            format!("too late: its time is {time}, and it came behind the watermark {limit}");
        let letter = open.letter(self.count, cause, type_name::<T>(), payload);
        if let Some(oldest) = self.count.checked_sub(self.max) {
            let mut id = letter.id();
            id.offset = Offset(oldest);
            open.waiting.push(StateWrite::DeleteDeadLetter(id));
        }
        open.waiting.push(StateWrite::DeadLetter(Box::new(letter)));
        self.count += 1;
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.limit = limit;
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let access = wiring.resources.get::<LetterAccess>().ok_or_else(|| {
            Fault("there are no dead letters: the dataflow runs without an engine".to_owned())
        })?;
        self.open = Some(Open {
            fence: wiring.fence(),
            store: access.store.clone(),
            writer: access.writer.clone(),
            owner: access.owner,
            stage: Arc::clone(&wiring.identity),
            partition: wiring.partition_id(),
            partitions: wiring.partitions,
            storing: Arc::default(),
            in_flight: false,
            refused: None,
            waiting: Vec::new(),
            must_wait: false,
            gone: BTreeMap::new(),
            now: wiring.clock.now(),
            fault: None,
        });
        Ok(())
    }

    fn begin(&mut self, turn: &Turn) {
        if let Some(open) = &mut self.open {
            open.now = turn.now;
        }
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if let Some(fault) = open.fault.take() {
            return Err(fault);
        }
        open.store()?;
        // An idle stage would not look again by itself.
        open.must_wait = idle || self.ending;
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let is_full = open.waiting.len() >= WAITING_MAX;
            (open.must_wait || is_full) && !open.is_all_stored()
        })
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        let Some(open) = &self.open else { return };
        if open.refused.is_some() {
            waits.push(Box::pin(a_moment()));
        } else {
            waits.push(Box::pin(Arc::clone(&open.storing).until_done()));
        }
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.ending = true;
    }

    /// Blocked from here until all of them are stored: an idle flush follows.
    fn before_barrier<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        if let Some(open) = &mut self.open {
            open.must_wait = true;
        }
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let mut saved = Saved::default();
        if let Some(open) = &self.open {
            saved.counts.clone_from(&open.gone);
            saved.counts.insert(open.partition.0, self.count);
        }
        Ok(saving.whole(KIND, &saved)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let saved = restoring.whole::<Saved>(KIND)?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let mut counts = BTreeMap::new();
        for (partition, count) in saved.into_iter().flat_map(|saved| saved.counts) {
            let known = counts.entry(partition).or_insert(count);
            *known = count.max(*known);
        }
        let own = open.partition;
        self.count = counts.get(&own.0).copied().unwrap_or(0);
        open.forget(&counts, own, own)?;
        if restoring.is_first() {
            let partitions = u16::try_from(open.partitions).unwrap_or(u16::MAX);
            open.gone = counts.split_off(&partitions);
            let gone = std::mem::take(&mut open.gone);
            open.forget(&gone, PartitionId(partitions), PartitionId(u16::MAX))?;
            open.gone = gone;
        }
        Ok(())
    }
}

impl fmt::Debug for LetterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterAccess")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for LateLetters<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateLetters")
            .field("max", &self.max)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
