//! What is to be delivered next, of the effects of one partition that are in memory.
//!
//! A plain state machine: it knows neither the store nor the function that delivers. Which effects are read into it says
//! `reading.rs`.
//! Invariants: (1) of one stream at most one effect is under way, the first of those that are here; (2) an effect is known
//! from when it is taken in until its deletion is stored, or until it leaves for lack of room, so that what is read again from
//! the store is not taken twice.
//! Cost: O(log n) per effect, with n in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::EffectPlace;
use super::reading::Reading;

/// An effect in memory.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) key: CompactString,
    /// As it is stored.
    pub(super) stored: Vec<u8>,
    pub(super) failures: u32,
    /// It is under way, and not for the first time.
    pub(super) is_again: bool,
}

/// Effects of one stream.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) places: BTreeSet<EffectPlace>,
    /// Of those that were read over and are not here, none lies before this place; `None`: there are none.
    pub(super) behind: Option<EffectPlace>,
    /// Number of the last page on which some of them were left in the store.
    pub(super) left_on: Option<u64>,
    pub(super) is_under_way: bool,
}

/// Effects of one partition.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) held: BTreeMap<EffectPlace, Held>,
    pub(super) lines: HashMap<CompactString, Line, foldhash::fast::RandomState>,
    /// Bytes of those here.
    pub(super) bytes: usize,
    /// Those here that have failed, and their bytes.
    pub(super) failed: usize,
    pub(super) failed_bytes: usize,
    /// Those here that wait behind the first of their stream, which has failed, and have not failed themselves: they leave when
    /// others need the room. And their bytes.
    pub(super) spare: BTreeSet<EffectPlace>,
    pub(super) spare_bytes: usize,
    pub(super) reading: Reading,
    calls: usize,
    pub(super) under_way: usize,
    /// First of their streams, to be called now, that have not failed.
    pub(super) ready: BTreeSet<EffectPlace>,
    /// The same that have failed: they take turns with the others, and at most this many calls while others wait.
    pub(super) again: BTreeSet<EffectPlace>,
    again_max: usize,
    again_under_way: usize,
    was_again: bool,
    /// First of their streams, to be called then.
    due: BTreeSet<(Duration, EffectPlace)>,
    /// Dealt with, and perhaps still stored.
    pub(super) settled: BTreeSet<EffectPlace>,
}

impl Queue {
    /// An empty one.
    pub(super) fn new(reading: Reading, calls: usize) -> Self {
        Self {
            again: BTreeSet::new(),
            again_max: (calls / 2).max(1),
            again_under_way: 0,
            was_again: false,
            held: BTreeMap::new(),
            lines: HashMap::default(),
            bytes: 0,
            failed: 0,
            failed_bytes: 0,
            spare: BTreeSet::new(),
            spare_bytes: 0,
            reading,
            calls,
            under_way: 0,
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            settled: BTreeSet::new(),
        }
    }

    /// Effects that are here, those under way included.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// One that is here.
    pub(super) fn held(&self, place: EffectPlace) -> Option<&Held> {
        self.held.get(&place)
    }

    /// Whether it is here and has failed.
    pub(super) fn has_failed(&self, place: EffectPlace) -> bool {
        self.held.get(&place).is_some_and(|held| held.failures > 0)
    }

    /// Whether there are calls that have nothing to do, for all that is here and has not failed.
    pub(super) fn has_idle_calls(&self) -> bool {
        self.ready.is_empty() && self.under_way < self.calls
    }

    /// Takes an effect in that is not known.
    pub(super) fn add(&mut self, place: EffectPlace, key: CompactString, stored: Vec<u8>) {
        let line = self.lines.entry(key.clone()).or_default();
        let first = line.places.first().copied();
        line.places.insert(place);
        if !line.is_under_way && first.is_none_or(|first| place < first) {
            // What was sent again by hand goes before what came behind it.
            if let Some(first) = first {
                self.ready.remove(&first);
                self.again.remove(&first);
                self.due.retain(|(_, due)| *due != first);
            }
            self.ready.insert(place);
        }
        let held = Held {
            key,
            stored,
            failures: 0,
            is_again: false,
        };
        let key = held.key.clone();
        self.bytes += held.stored.len();
        self.held.insert(place, held);
        let Some(first) = first else { return };
        if place < first {
            self.sort_out(&key);
        } else if self.has_failed(first) {
            self.set_spare(place, true);
        }
    }

    /// Has one that is here be spare, or not.
    fn set_spare(&mut self, place: EffectPlace, is_spare: bool) {
        let bytes = self.held.get(&place).map_or(0, |held| held.stored.len());
        if is_spare && self.spare.insert(place) {
            self.spare_bytes += bytes;
        } else if !is_spare && self.spare.remove(&place) {
            self.spare_bytes -= bytes;
        }
    }

    /// The last of those that are spare leaves.
    pub(super) fn pop_spare(&mut self) -> Option<(EffectPlace, Held)> {
        let place = *self.spare.last()?;
        self.set_spare(place, false);
        let held = self.held.remove(&place)?;
        self.bytes -= held.stored.len();
        Some((place, held))
    }

    /// Finds out which effects of a stream are spare, after another one has become its first or the first has failed.
    fn sort_out(&mut self, key: &CompactString) {
        let Some(line) = self.lines.get(key) else {
            return;
        };
        let places: Vec<_> = line.places.iter().copied().collect();
        let Some((&first, behind)) = places.split_first() else {
            return;
        };
        self.set_spare(first, false);
        let is_stuck = self.has_failed(first);
        for &place in behind {
            // One that has failed as well keeps the number of its tries.
            self.set_spare(place, is_stuck && !self.has_failed(place));
        }
    }

    /// It is the first of its stream, and to be called now.
    fn be_ready(&mut self, place: EffectPlace) {
        let held = self.held.get(&place);
        if held.is_some_and(|held| held.failures > 0) {
            self.again.insert(place);
        } else {
            self.ready.insert(place);
        }
    }

    /// Has what is due by now be ready.
    pub(super) fn wake(&mut self, now: Duration) {
        while let Some((due, place)) = self.due.first().copied()
            && due <= now
        {
            self.due.pop_first();
            self.be_ready(place);
        }
    }

    /// The next to be called, if one is ready. It is under way then.
    pub(super) fn start(&mut self) -> Option<(EffectPlace, &Held)> {
        let is_again = match (self.ready.is_empty(), self.again.is_empty()) {
            (_, true) => false,
            (true, false) => true,
            // What hangs must not have all calls, and what fails at once not all turns.
            (false, false) => !self.was_again && self.again_under_way < self.again_max,
        };
        let place = if is_again {
            self.again.pop_first()
        } else {
            self.ready.pop_first()
        }?;
        self.was_again = is_again;
        let held = self.held.get_mut(&place)?;
        held.is_again = is_again;
        self.again_under_way += usize::from(is_again);
        if let Some(line) = self.lines.get_mut(&held.key) {
            line.is_under_way = true;
        }
        self.under_way += 1;
        Some((place, held))
    }

    /// When the next try is due, of those that are waited for.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A call failed; it is made again then. Gives how often it has failed.
    pub(super) fn failed(
        &mut self,
        place: EffectPlace,
        again: impl FnOnce(u32) -> Option<Duration>,
    ) -> u32 {
        let Some(held) = self.held.get_mut(&place) else {
            return 0;
        };
        if held.failures == 0 {
            self.failed += 1;
            self.failed_bytes += held.stored.len();
        }
        held.failures += 1;
        self.again_under_way -= usize::from(std::mem::take(&mut held.is_again));
        let (failures, key) = (held.failures, held.key.clone());
        let Some(due) = again(failures) else {
            return failures;
        };
        self.end(&key);
        if failures == 1 {
            self.sort_out(&key);
        }
        match self.lines.get(&key).and_then(|line| line.places.first()) {
            Some(&first) if first != place => self.be_ready(first),
            _ => {
                self.due.insert((due, place));
            }
        }
        failures
    }

    /// The call that a stream has under way is over, if it has one.
    fn end(&mut self, key: &CompactString) {
        if let Some(line) = self.lines.get_mut(key)
            && std::mem::take(&mut line.is_under_way)
        {
            self.under_way -= 1;
        }
    }

    /// An effect was delivered, or put aside: the next of its stream is ready. Gives it.
    pub(super) fn settle(&mut self, place: EffectPlace) -> Option<Held> {
        let held = self.held.remove(&place)?;
        let has_failed = held.failures > 0;
        self.bytes -= held.stored.len();
        if has_failed {
            self.failed -= 1;
            self.failed_bytes -= held.stored.len();
        }
        self.again_under_way -= usize::from(held.is_again);
        self.settled.insert(place);
        self.end(&held.key);
        if let Some(line) = self.lines.get_mut(&held.key) {
            line.places.remove(&place);
            if let Some(&first) = line.places.first() {
                self.be_ready(first);
                if has_failed || self.has_failed(first) {
                    self.sort_out(&held.key);
                }
            } else if line.behind.is_none() {
                self.lines.remove(&held.key);
            }
        }
        self.want(&held.key);
        Some(held)
    }

    /// These are not in the store any more.
    pub(super) fn forget(&mut self, places: &[EffectPlace]) {
        for place in places {
            self.settled.remove(place);
        }
    }
}
