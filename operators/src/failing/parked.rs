//! The work of one operator that waits, by its place and by its key.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use hashbrown::HashMap;
use millstream_engine::checkpoint::Epoch;
use millstream_engine::event::Position;
use millstream_engine::flow::Fault;
use millstream_engine::time::Timestamp;

use super::cause::{Failure, NOT_TRIED};
use super::deciding::Read;
use super::entry::{Entry, Place, Work, bytes_of};
use super::heads::Heads;
use super::outside::{Outside, key_text};
use super::policy::{ItemPolicy, Then, WhenFull};
use super::standing::Standing;
use super::telling::Telling;
use crate::Key;
use crate::sink::LetterNumbers;

/// What waits in one partition of an operator. `K` is the key, `()` for items that have none.
pub(crate) struct Failing<K, W> {
    pub(super) policy: ItemPolicy,
    pub(super) ordinal: usize,
    pub(super) entries: HashMap<Place, Entry<K, W>, foldhash::fast::RandomState>,
    /// Keys behind whose entry later items wait.
    pub(super) heads: Heads<K>,
    /// Those that are tried again, by the time of that.
    pub(super) due: BTreeSet<(Timestamp, Place)>,
    /// All of them, by class of cause and the time of the first failure.
    pub(super) standing: Standing<Place>,
    /// Sums over all of them.
    pub(super) items: usize,
    pub(super) bytes: usize,
    pub(super) numbers: LetterNumbers,
    /// What the clock shows, but that it never goes back and never stands still.
    pub(super) now: Timestamp,
    /// What it shows.
    pub(super) wall: Timestamp,
    pub(super) has_begun: bool,
    /// Before this nothing more that somebody decided is carried out.
    pub(super) hurried_at: Timestamp,
    /// All of the input has come: what is left to be tried is tried without a wait.
    pub(super) is_complete: bool,
    /// Work is taken off and put back: what is empty now may not be in a moment.
    pub(super) is_running: bool,
    pub(super) fault: Option<Fault>,
    /// Since it was saved last.
    pub(super) is_changed: bool,
    pub(super) base: Option<Epoch>,
    pub(super) read: Read,
    pub(super) outside: Option<Outside>,
    pub(super) shown_at: Duration,
    pub(super) monotonic: Duration,
    pub(super) ending: bool,
    pub(super) telling: Telling,
}

impl<K: Key, W: Work> Failing<K, W> {
    /// Nothing waits. `ordinal` is how many operators of the stage come before this one that may fail, too.
    pub(crate) fn new(policy: ItemPolicy, ordinal: usize) -> Self {
        Self {
            policy,
            ordinal,
            entries: HashMap::default(),
            heads: Heads::default(),
            due: BTreeSet::new(),
            standing: Standing::default(),
            items: 0,
            bytes: 0,
            numbers: LetterNumbers::default(),
            now: Timestamp::MIN,
            wall: Timestamp::MIN,
            has_begun: false,
            hurried_at: Timestamp::MIN,
            is_complete: false,
            is_running: false,
            fault: None,
            is_changed: true,
            base: None,
            read: Read::default(),
            outside: None,
            shown_at: Duration::ZERO,
            monotonic: Duration::ZERO,
            ending: false,
            telling: Telling::default(),
        }
    }

    /// The same with nothing waiting.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(self.policy, self.ordinal)
    }

    /// Whether nothing waits: asked for each item.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the stage has failed: what comes now comes again after the restart.
    #[inline(always)]
    pub(crate) fn has_failed(&self) -> bool {
        self.fault.is_some()
    }

    /// Whether items of a key must wait.
    pub(crate) fn holds(&self, key: &K) -> bool {
        self.heads.contains(key)
    }

    /// Behind what items of a key must wait whose hash a table knows, if they must.
    #[inline]
    pub(crate) fn head_hashed(&self, hash: u64, key: &K) -> Option<Place> {
        self.heads.at(hash, key)
    }

    /// Whether what fails is neither tried again nor kept.
    #[inline]
    pub(crate) const fn passes_over_at_once(&self) -> bool {
        self.policy.passes_over_at_once()
    }

    /// What failed is passed over: nothing of it is kept or shown but figures, and the first texts.
    pub(crate) fn pass_over(&mut self, key: Option<&K>, failure: impl FnOnce() -> Failure) {
        self.count_skipped();
        if let Some(unsaid) = self.telling.next(self.monotonic) {
            self.tell(key, failure(), unsaid);
        }
    }

    /// Queues work of a key that is held.
    pub(crate) fn queue(&mut self, key: &K, work: W) {
        if let Some(place) = self.heads.get(key) {
            self.queue_at(place, work);
        }
    }

    /// The same behind what waits at this place.
    pub(crate) fn queue_at(&mut self, place: Place, work: W) {
        let bytes = bytes_of(&work);
        let limits = self.policy.waiting;
        let is_all_full = self.is_full(1, bytes) && work.is_bounded();
        let Some(entry) = self.entries.get_mut(&place) else {
            return;
        };
        let is_key_full = work.is_bounded()
            && (entry.followers.len() >= limits.key_items_max
                || entry.followers_bytes + bytes > limits.key_bytes_max);
        if is_all_full || is_key_full {
            let key = entry.key.clone();
            return self.refuse(key, work, bytes, is_all_full);
        }
        entry.followers.push_back((bytes, work));
        entry.followers_bytes += bytes;
        // Once until its letter is written: a key may have thousands behind it.
        let is_noted = std::mem::replace(&mut entry.is_noted, true);
        self.items += 1;
        self.bytes += bytes;
        self.is_changed = true;
        if let (Some(outside), false) = (&mut self.outside, is_noted) {
            outside.followed(place);
        }
    }

    /// Whether so much more is too much.
    fn is_full(&self, items: usize, bytes: usize) -> bool {
        let limits = self.policy.waiting;
        self.items + items > limits.items_max || self.bytes + bytes > limits.bytes_max
    }

    #[cold]
    fn refuse(&mut self, key: Option<K>, work: W, bytes: usize, is_all_full: bool) {
        match self.policy.when_full {
            WhenFull::Skip => self.count_skipped(),
            WhenFull::DeadLetter if !is_all_full => {
                let cause =
                    "it was not tried: as many items as may wait behind a failed one of its key";
                let mut entry = self.entry(key, work, bytes, cause);
                entry.holds_key = false;
                self.count_added(NOT_TRIED);
                self.insert(entry, true);
            }
            WhenFull::DeadLetter | WhenFull::Halt => {
                let bound = if is_all_full {
                    "`items_max` or `bytes_max`"
                } else {
                    "`key_items_max` or `key_bytes_max`"
                };
                let key = key_text(key.as_ref());
                self.fail_with(format!(
                    "behind the failed item of key {key} wait as many as {bound} allow: redrive or discard it"
                ));
            }
        }
    }

    /// Work that was just tried for the first time failed.
    #[cold]
    pub(crate) fn fail(&mut self, key: Option<K>, work: W, failure: Failure) {
        if self.fault.is_some() {
            return;
        }
        if self.policy.passes_over_at_once() {
            return self.pass_over(key.as_ref(), || failure);
        }
        if self.entries.is_empty() && !self.is_running {
            self.read_from_here();
        }
        let bytes = bytes_of(&work);
        let waits = self.policy.then == Then::DeadLetter || self.policy.retry.attempts_max > 1;
        if waits && self.is_full(1, bytes) {
            match self.policy.when_full {
                WhenFull::Skip => self.count_skipped(),
                WhenFull::DeadLetter | WhenFull::Halt => self.fail_with(format!(
                    "as many items wait as `items_max` or `bytes_max` allow, and one more failed: {}",
                    failure.causes().join(": ")
                )),
            }
            return;
        }
        let mut entry = self.entry(key, work, bytes, "");
        entry.fail(failure, self.now);
        if let Some(unsaid) = self.telling.next(self.monotonic) {
            tracing::warn!(
                stage = self.stage(),
                key = %key_text(entry.key.as_ref()),
                letter = entry.place.number,
                cause = entry.cause.first().map(String::as_str),
                unsaid,
                "an item failed"
            );
        }
        // Nothing waits behind it.
        let _ = self.keep(entry, true);
    }

    fn tell(&self, key: Option<&K>, failure: Failure, unsaid: u64) {
        tracing::warn!(
            stage = self.stage(),
            key = %key_text(key),
            cause = failure.causes().first().map(String::as_str),
            unsaid,
            "an item failed and is passed over"
        );
    }

    /// Work with a place of its own.
    pub(super) fn entry(
        &mut self,
        key: Option<K>,
        work: W,
        bytes: usize,
        cause: &str,
    ) -> Entry<K, W> {
        let place: Position = self.numbers.next();
        Entry::new(place.into(), key, work, bytes, self.now, cause)
    }

    /// Has what failed wait for its next try or for a person; gives it back if it is passed over instead.
    pub(super) fn keep(&mut self, mut entry: Entry<K, W>, is_new: bool) -> Option<Entry<K, W>> {
        let number = entry.place.number;
        entry.due = self.policy.next_try(entry.attempts, number, self.now);
        if entry.due.is_none() {
            match self.policy.then {
                Then::DeadLetter if entry.redrives == 0 => {
                    self.count_added(&entry.class);
                }
                Then::DeadLetter => {}
                Then::Skip => {
                    self.count_skipped();
                    return Some(entry);
                }
                Then::Halt => {
                    let (key, cause) = (key_text(entry.key.as_ref()), entry.cause.join(": "));
                    let attempts = entry.attempts;
                    self.fail_with(format!(
                        "an item of key {key} failed {attempts} times: {cause}"
                    ));
                }
            }
        }
        self.insert(entry, is_new);
        None
    }

    /// Puts more behind what waits of a key.
    pub(super) fn append(&mut self, place: Place, followers: VecDeque<(usize, W)>) {
        if let Some(entry) = self.take(place) {
            self.insert(entry.followed_by(followers), false);
        }
    }

    pub(super) fn insert(&mut self, entry: Entry<K, W>, is_new: bool) {
        let place = entry.place;
        if let Some(due) = entry.due {
            self.due.insert((due, place));
        }
        self.standing.add(entry.stands(), place);
        if let Some(key) = entry.key.as_ref().filter(|_| entry.holds_key) {
            self.heads.insert(key.clone(), place);
        }
        self.items += entry.items();
        self.bytes += entry.all_bytes();
        self.is_changed = true;
        if self.shown_at == Duration::MAX {
            self.shown_at = Duration::ZERO;
        }
        if let Some(outside) = &mut self.outside {
            outside.changed(&entry, is_new);
        }
        self.entries.insert(place, entry);
    }

    pub(super) fn take(&mut self, place: Place) -> Option<Entry<K, W>> {
        let entry = self.entries.remove(&place)?;
        if let Some(due) = entry.due {
            self.due.remove(&(due, place));
        }
        self.standing.remove(entry.stands(), place);
        if let Some(key) = entry.key.as_ref().filter(|_| entry.holds_key) {
            self.heads.remove(key);
        }
        self.items -= entry.items();
        self.bytes -= entry.all_bytes();
        self.is_changed = true;
        Some(entry)
    }

    /// What the stage is called where letters are shown; before it is open nothing.
    fn stage(&self) -> &str {
        self.outside.as_ref().map_or("", |outside| &outside.stage)
    }

    pub(super) fn fail_with(&mut self, cause: String) {
        self.fault.get_or_insert(Fault(cause));
    }

    pub(super) fn count(&mut self, count: impl FnOnce(&mut Outside)) {
        if let Some(outside) = &mut self.outside {
            count(outside);
        }
    }

    /// A letter for this class of causes.
    fn count_added(&mut self, class: &str) {
        self.count(|outside| outside.metrics.count_added(class, 1));
    }

    pub(super) fn count_skipped(&mut self) {
        self.count(|outside| outside.metrics.count_skipped(1));
    }

    pub(crate) fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("failed items and what waits behind them", self.items));
    }
}

impl<K, W> fmt::Debug for Failing<K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failing")
            .field("policy", &self.policy)
            .field("entries", &self.entries.len())
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}
