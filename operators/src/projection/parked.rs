//! Keys whose event failed: parked at once, tried again, and what comes later waits behind it.
//!
//! Only the failed event is kept here. What waits behind it are the later events of its stream up to the
//! projection's position, which the log gives in order when the key is freed: memory does not grow with
//! them. A key is freed when all of them are applied.
//! Invariants: `due` holds exactly the keys that are tried again, `standing` all of them; `waiting` and `listed` are sums over `keys`.
//! Only [`Parked::insert`], [`Parked::take`] and [`Parked::queue`] change them.
//! Cost: O(log n) per failure and per try, with n keys that are tried again; all keys are looked through for the filter, once as many
//! have gone as are left.
//! Not here: how many keys there may be, see [`ProjectionConfig`](super::ProjectionConfig).

mod filter;
mod key;
mod settling;
mod storing;
mod trying;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use hashbrown::HashMap;
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::log::frame::Record;
use millstream_engine::metrics::ParkedCause;
use millstream_engine::state::{
    DeadLetter, DeadLetterId, DeadLetterStatus, FOLLOWERS_MAX, ProjectionId,
};
use millstream_engine::time::Timestamp;

use self::filter::IdFilter;
use self::key::ParkedKey;
pub(super) use self::key::ParkedLimits;
use super::{FailurePolicy, ParkedStream, ProgressBoard};
use crate::failing::{ERROR, Standing, Telling};

/// Followers listed by their offsets over all keys: 8 MiB. Beyond that they are counted only.
const LISTED_MAX: usize = 1 << 20;
/// Time by which a next try is later than the one before at least: none is made twice in one turn.
const LATER: Duration = Duration::from_nanos(1);

/// What all letters of a projection share.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) projection: ProjectionId,
    pub(super) stage: &'static str,
    pub(super) version: u32,
    pub(super) category: &'static str,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    pub(super) monotonic: Duration,
}

/// The parked keys of one projection actor, by stream id without the category.
#[derive(Debug)]
pub(super) struct Parked {
    sender: Sender,
    policy: FailurePolicy,
    limits: ParkedLimits,
    /// Where queries see which keys are parked.
    board: Arc<ProgressBoard>,
    keys: HashMap<CompactString, ParkedKey, foldhash::fast::RandomState>,
    /// Of `keys`: each event is looked for among them, and most are none of them.
    filter: IdFilter,
    /// Keys that are tried again, by the monotonic time of that.
    due: BTreeSet<(Duration, CompactString)>,
    /// All keys, by class of cause and the time of the first failure.
    standing: Standing<CompactString>,
    /// Events that wait, the failed ones included.
    waiting: u64,
    /// Followers whose offsets are in memory.
    listed: usize,
    /// Bytes of the letters without their followers.
    bytes: usize,
    /// Keys behind which more waits than may.
    overfull: BTreeSet<CompactString>,
    /// Keys whose letters show edits that are larger than their events.
    grown: BTreeSet<CompactString>,
    /// Letters to be stored, by key, and removed, with the rows of the same position.
    changed: Vec<CompactString>,
    /// Of what changed or went, something that somebody has decided about.
    is_awaited: bool,
    /// Keys were parked whose letters were never handed over.
    has_new: bool,
    /// Letters of which only the followers changed: stored when rows are, never sooner.
    followed: Vec<CompactString>,
    removed: Vec<DeadLetterId>,
    /// Keys that were freed, or went on to a later event, and that readers take for parked where they were, until they see the rows.
    moved: BTreeSet<CompactString>,
    /// Monotonic time before which nothing more that somebody decided is carried out.
    hurried_at: Duration,
    telling: Telling,
}

impl Parked {
    pub(super) fn new(
        sender: Sender,
        policy: FailurePolicy,
        limits: ParkedLimits,
        board: Arc<ProgressBoard>,
    ) -> Self {
        Self {
            sender,
            policy,
            limits,
            board,
            keys: HashMap::default(),
            filter: IdFilter::default(),
            due: BTreeSet::new(),
            standing: Standing::default(),
            waiting: 0,
            listed: 0,
            bytes: 0,
            overfull: BTreeSet::new(),
            grown: BTreeSet::new(),
            changed: Vec::new(),
            is_awaited: false,
            has_new: false,
            followed: Vec::new(),
            removed: Vec::new(),
            moved: BTreeSet::new(),
            hurried_at: Duration::ZERO,
            telling: Telling::default(),
        }
    }

    /// Takes in a letter that was stored; `record` is its event. It is tried at `latest`, whatever the clock and the policy were
    /// when it was stored; gives whether it would have been later.
    pub(super) fn restore(
        &mut self,
        letter: DeadLetter,
        record: &Record<'_>,
        now: Moment,
        latest: Duration,
    ) -> bool {
        let due = match letter.status {
            DeadLetterStatus::Retrying { at } => Some(now.monotonic + at.since(now.wall)),
            DeadLetterStatus::Dead => None,
        };
        let is_late = due.is_some_and(|due| due > latest);
        let due = due.map(|due| due.min(latest));
        let key = self.id_of(&letter);
        let mut parked = ParkedKey {
            letter,
            first: record.version,
            version: record.version,
            due,
            followed: false,
            passed: (0, 0),
            held_bytes: 0,
            event_bytes: record.payload.len(),
            // What comes of a decision may be waited for over a start.
            is_decided: due.is_some(),
            died_of: None,
        };
        if parked.due.is_none() || parked.letter.redrives > 0 {
            parked.died_of = Some(parked.stands().class.into());
        }
        self.insert(key, parked);
        is_late
    }

    fn insert(&mut self, id: CompactString, mut parked: ParkedKey) {
        self.take(&id);
        if let Some(due) = parked.due {
            self.due.insert((due, id.clone()));
        }
        self.standing.add(parked.stands(), id.clone());
        self.waiting += parked.letter.followers + 1;
        self.listed += parked.letter.follower_offsets.len();
        parked.held_bytes = parked.letter.bytes() - 8 * parked.letter.follower_offsets.len();
        self.bytes += parked.held_bytes;
        if self.limits.are_exceeded(&parked.letter) {
            self.overfull.insert(id.clone());
        }
        if parked.letter.payload.len() > parked.event_bytes {
            self.grown.insert(id.clone());
        }
        // Readers who know of an earlier event are not told of this one yet: they would take that one's row for shown.
        let told = ParkedStream::of(&parked.letter);
        if self.board.is_parked_before(&id, told.letter) {
            self.moved.insert(id.clone());
        } else {
            self.board.park(&id, told);
        }
        self.is_awaited |= parked.is_decided;
        self.filter.add(&id);
        self.keys.insert(id, parked);
    }

    fn take(&mut self, id: &str) -> Option<ParkedKey> {
        let (id, parked) = self.keys.remove_entry(id)?;
        self.filter.lose(self.keys.keys());
        self.is_awaited |= parked.is_decided;
        self.standing.remove(parked.stands(), id.clone());
        self.overfull.remove(&id);
        self.grown.remove(&id);
        if let Some(due) = parked.due {
            self.due.remove(&(due, id));
        }
        self.waiting -= parked.letter.followers + 1;
        self.listed -= parked.letter.follower_offsets.len();
        self.bytes -= parked.held_bytes;
        Some(parked)
    }

    fn id_of(&self, letter: &DeadLetter) -> CompactString {
        let prefix = self.sender.category.len() + 1;
        letter.key.get(prefix..).unwrap_or(&letter.key).into()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of the letters without the lists of their followers.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the letters of all other keys leave room for that of one.
    fn has_room_beside(&self, id: &str) -> bool {
        let own = self.keys.get(id).map_or(0, |parked| parked.held_bytes);
        self.bytes - own < self.limits.bytes
    }

    /// The letter of a key whose edit is larger than its event and for which there is no room. Looks through those that are,
    /// but only while letters take all they may.
    pub(super) fn overgrown(&self) -> Option<&DeadLetter> {
        if self.bytes < self.limits.bytes {
            return None;
        }
        let id = self.grown.iter().find(|id| !self.has_room_beside(id))?;
        self.keys.get(id).map(|parked| &parked.letter)
    }

    /// A key behind which more waits than may.
    pub(super) fn overfull(&self) -> Option<&str> {
        self.overfull.first().map(CompactString::as_str)
    }

    /// Queues an event behind the failed one of its stream; `false` when the stream is not parked.
    #[inline]
    pub(super) fn queue_behind(&mut self, record: &Record<'_>) -> bool {
        self.filter.may_have(record.stream) && self.queue(record)
    }

    /// As [`queue_behind`](Self::queue_behind), of an event that may be of one of the keys.
    fn queue(&mut self, record: &Record<'_>) -> bool {
        let (id, offset) = (record.stream, record.offset);
        let Some(parked) = self.keys.get_mut(id) else {
            return false;
        };
        let offsets = &mut parked.letter.follower_offsets;
        // None is left out before one that is listed.
        let is_complete = offsets.len() as u64 == parked.letter.followers;
        if is_complete && offsets.len() < FOLLOWERS_MAX && self.listed < LISTED_MAX {
            offsets.push(offset);
            self.listed += 1;
        }
        parked.letter.followers += 1;
        parked.letter.followers_bytes += record.payload.len() as u64;
        if self.limits.are_exceeded(&parked.letter) {
            self.overfull.insert(id.into());
        }
        self.waiting += 1;
        if !std::mem::replace(&mut parked.followed, true) {
            self.followed.push(id.into());
        }
        true
    }

    /// Whether a key waits.
    pub(super) fn is_parked(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// The key to be tried first at `now`, with the place to go on from. It stays due until it is freed or
    /// has failed.
    pub(super) fn due(&self, now: Duration) -> Option<(CompactString, PartitionId, Offset, u64)> {
        let (_, id) = self.due.first().filter(|(due, _)| *due <= now)?;
        let parked = self.keys.get(id)?;
        let Position { partition, offset } = parked.letter.position;
        Some((id.clone(), partition, offset, parked.version))
    }

    /// When the next key is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// What waits, by class of cause.
    pub(super) fn standing(&self, now: Timestamp) -> Vec<ParkedCause<'_>> {
        self.standing.now(now)
    }

    /// Class that a key's event is counted in: as it was when it became a dead letter, else of its failure.
    pub(super) fn class(&self, id: &str) -> &str {
        let parked = self.keys.get(id);
        parked.map_or(ERROR, |parked| match &parked.died_of {
            Some(class) => class,
            None => parked.stands().class,
        })
    }

    /// The class of a key's event that has become a dead letter, the first time that this is asked.
    pub(super) fn died(&mut self, id: &str) -> Option<&str> {
        let parked = self.keys.get_mut(id)?;
        if parked.due.is_some() || parked.died_of.is_some() {
            return None;
        }
        let class = CompactString::from(parked.stands().class);
        Some(parked.died_of.insert(class))
    }

    /// Whether a key's event had become a dead letter: only somebody's decision has it tried again.
    pub(super) fn had_died(&self, id: &str) -> bool {
        let parked = self.keys.get(id);
        parked.is_some_and(|parked| parked.died_of.is_some())
    }

    /// Events that wait, the failed ones included.
    pub(super) fn events(&self) -> u64 {
        self.waiting
    }
}
