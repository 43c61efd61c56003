//! Late items as dead letters, for a person to look at.
//!
//! Place: a window's or pattern's late items -> **late letters** -> `state/`, where `dead-letters list|show` finds
//! them. A letter has the stage (by what its state is found by), the item's time and the watermark that it came behind, and the item as JSON; the
//! place of its id is the partition of the stage and its number there. Like the tables of a dataflow they belong to one
//! start: the next one drops them and finds them again. With checkpoints they stay, and their numbers go on: a barrier
//! waits until all letters before it are stored, and a start from the checkpoint deletes those after it, which come
//! again.
//! Bounds: at most `max` letters per partition of a stage, the oldest is given up for a new one; what waits in memory is
//! bounded by the letter store. Threads: one owner. Failure: a failed store fails the stage. An item that has no JSON, or
//! whose `Serialize` panics, has a letter all the same, with why: it would come again at each start.

use std::any::type_name;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use millstream_engine::checkpoint::{
    CheckpointError, CheckpointStorage, Manifest, Restoring, Saving,
};
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::flow::{Emit, Fault, Operator, Turn, Wiring};
use millstream_engine::log::frame::{Encoding, Kind};
use millstream_engine::metrics::DeadLetterMetrics;
use millstream_engine::stage::Blocked;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::letter_store::{LetterNumbers, LetterStore};
use crate::failing::guarded;

/// Its kind of state in checkpoints.
const KIND: &str = "late letters";
/// Category of its letters: none.
const CATEGORY: &str = "";
/// Class of causes of its letters.
const CLASS: &str = "late";
/// Letters kept per partition of a stage.
const MAX: u64 = 10_000;

/// What is saved: how many letters there were, by partition.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    counts: BTreeMap<u16, u64>,
}

struct Open {
    letters: LetterStore,
    numbers: LetterNumbers,
    metrics: DeadLetterMetrics,
    now: Timestamp,
}

/// How many letters of late items a checkpoint knows of, by stage and partition: a start from it finds those and no later ones.
///
/// # Errors
/// [`CheckpointError`]: that cannot be read.
pub fn late_letters_of(
    manifest: &Manifest,
    storage: &dyn CheckpointStorage,
) -> Result<HashMap<(String, PartitionId), u64>, CheckpointError> {
    let mut known = HashMap::new();
    for (stage, saved) in manifest.values::<Saved>(KIND, storage)? {
        for (partition, count) in saved.counts {
            let of = (stage.to_owned(), PartitionId(partition));
            let known = known.entry(of).or_insert(count);
            *known = count.max(*known);
        }
    }
    Ok(known)
}

/// Keeps late items as dead letters.
pub struct LateLetters<T> {
    max: u64,
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
    fn letter(
        &self,
        position: Position,
        cause: Vec<String>,
        kind: Kind,
        payload: Vec<u8>,
    ) -> DeadLetter {
        DeadLetter {
            projection: self.letters.owner(),
            stage: (&**self.letters.stage()).into(),
            version: 1,
            key: "late item".into(),
            status: DeadLetterStatus::Dead,
            cause,
            class: CLASS.into(),
            attempts: 1,
            first_failed: self.now,
            last_failed: self.now,
            position,
            kind,
            dictionary: Vec::new(),
            payload,
            earlier: Vec::new(),
            redrives: 0,
            followers_bytes: 0,
            followers: 0,
            follower_offsets: Vec::new(),
        }
    }
}

/// What a letter holds of an item, and why that is not its JSON: then it is as a checkpoint would have it, if it can be.
fn payload_of<T: Serialize>(item: &T) -> (Encoding, Vec<u8>, Vec<String>) {
    match guarded(|| serde_json::to_vec(item)) {
        Ok(payload) => (Encoding::Json, payload, Vec::new()),
        // Such as a map whose keys are no texts.
        Err(failure) => {
            let saved = guarded(|| rmp_serde::to_vec_named(item));
            let why = ["it has no JSON".to_owned()].into_iter();
            (
                Encoding::Opaque,
                saved.unwrap_or_default(),
                why.chain(failure.causes()).collect(),
            )
        }
    }
}

impl<T: Serialize + Send + 'static> Operator<T> for LateLetters<T> {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: T, _out: &mut E) {
        let Some(open) = &mut self.open else { return };
        let limit = self.limit;
        let late =
            format!("too late: its time is {time}, and it came behind the watermark {limit}");
        let (encoding, payload, why) = payload_of(&item);
        let cause = [late].into_iter().chain(why).collect();
        let kind = Kind {
            category: CATEGORY.into(),
            event_type: type_name::<T>().into(),
            schema_version: 1,
            encoding,
        };
        let position = open.numbers.next();
        let letter = open.letter(position, cause, kind, payload);
        if let Some(oldest) = position.offset.0.checked_sub(self.max) {
            let mut id = letter.id();
            id.offset = Offset(oldest);
            open.letters.delete(id);
            open.metrics.count_discarded(CLASS, 1);
        }
        open.letters.put(letter);
        open.metrics.count_added(CLASS, 1);
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.limit = limit;
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let letters = LetterStore::open(wiring, Arc::clone(&wiring.identity), CATEGORY)?;
        self.open = Some(Open {
            letters,
            numbers: LetterNumbers::of(wiring),
            metrics: DeadLetterMetrics::new(&wiring.stage, wiring.partition_id()),
            now: wiring.clock.now(),
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
        open.letters.flush(idle || self.ending)
    }

    fn is_blocked(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.letters.is_blocked())
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        if let Some(open) = &mut self.open {
            open.letters.blocked(waits);
        }
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.ending = true;
    }

    /// Blocked from here until all of them are stored: an idle flush follows.
    fn before_barrier<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        if let Some(open) = &mut self.open {
            open.letters.before_barrier();
        }
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let counts = self.open.as_ref().map(|open| open.numbers.counts());
        let saved = Saved {
            counts: counts.unwrap_or_default(),
        };
        Ok(saving.whole(KIND, &saved)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let saved = restoring.whole::<Saved>(KIND)?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let counts = saved.into_iter().flat_map(|saved| saved.counts);
        open.numbers.restore(counts, restoring);
        open.letters.restore(&open.numbers, restoring.is_first())
    }
}

impl<T> fmt::Debug for LateLetters<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.open.as_ref().map(|open| open.numbers.count());
        f.debug_struct("LateLetters")
            .field("max", &self.max)
            .field("count", &count)
            .finish_non_exhaustive()
    }
}
