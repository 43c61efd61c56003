//! Which effects of a partition are read into memory, from where on, and which leave it again.
//!
//! Effects of all streams lie in the store in the order of the log, and are read in that order, a page at a time. What a stream
//! has beyond its part of the room is passed over, and of that only the place is kept from which on it is so. Once the stream
//! has nothing left here, reading goes back to there, for it and for all that have room and something passed over on the way.
//! What waits behind an effect that has failed stays here while there is room, and gives that up to effects that can be
//! called: the last in the log first, which is passed over then.
//! Invariants: (1) what is stored before [`Reading::read`] is known, or lies behind the place of its stream, or was stored late
//! and lies in [`Reading::again`]; (2) of one stream nothing is taken in while something that lies before it was passed
//! over; (3) never more are here than there may be, in number and in bytes, but for one that exceeds the bytes where all others
//! here have failed, so that each has its turn however large it is.
//! Cost: each row is read once, and going back reads what was passed over once more, with what other streams have in between.
//! Streams that keep together share that, those that have come further apart than their parts of the room go back each by
//! itself. So with one call in ten that fails a row is read some three times, whatever is stored. It is more only where the
//! streams that fail are so many that their parts are a few effects.

use std::collections::BTreeSet;

use compact_str::CompactString;

use super::EffectPlace;
use super::format::Span;
use super::queue::{Line, Queue};

/// Rows that are read at a time.
const PAGE: usize = 256;

/// What may be here at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Effects, at least 1.
    pub(super) effects: usize,
    /// Their bytes, at least 1.
    pub(super) bytes: usize,
}

/// How far the effects of a partition were read.
#[derive(Debug)]
pub(super) struct Reading {
    /// What may be here at once.
    held_max: Room,
    /// Bytes of the next one, for which there was no room.
    lacking: Option<usize>,
    /// Those of one stream.
    line_max: usize,
    /// All before it was read.
    read: EffectPlace,
    /// There may be some from there on.
    has_more: bool,
    /// There may be some before it that were stored after it was read, in this span.
    again: Option<Span>,
    /// Streams that have room for what was passed over, by where that lies.
    roomy: BTreeSet<(EffectPlace, CompactString)>,
    /// Those of them that are gone back for, since nothing that comes next is here.
    wanting: BTreeSet<(EffectPlace, CompactString)>,
    /// Number of the page that was taken in last.
    page: u64,
}

/// An effect as it lies in the store: its place, its stream, and what is stored.
pub(super) type Found = (EffectPlace, CompactString, Vec<u8>);

/// What is to be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// From here on, inclusive.
    pub(super) from: EffectPlace,
    /// At most so many rows, at least 1.
    pub(super) rows: usize,
}

impl Reading {
    /// Begins at the first place there may be. At most `held_max` is to be here at once; as many streams as there may
    /// be `calls` have room among them, however much each of them has.
    pub(super) fn from(first: EffectPlace, held_max: Room, calls: usize) -> Self {
        Self {
            held_max,
            lacking: None,
            line_max: (held_max.effects / calls).max(1),
            read: first,
            has_more: true,
            again: None,
            roomy: BTreeSet::new(),
            wanting: BTreeSet::new(),
            page: 0,
        }
    }
}

impl Queue {
    /// Effects were stored, all of them in this span.
    pub(super) fn stored(&mut self, span: Span) {
        let reading = &mut self.reading;
        reading.has_more |= span.last >= reading.read;
        if span.first < reading.read {
            reading.again = Some(span.with(reading.again));
        }
    }

    /// What is to be read; `None` while there is no room, or nothing to be read.
    pub(super) fn next_read(&self) -> Option<Wanted> {
        let reading = &self.reading;
        let again = reading.again.map(|again| again.first);
        let behind = reading.wanting.first().map(|(behind, _)| *behind);
        let ahead = reading.has_more.then_some(reading.read);
        let from = [again, behind, ahead].into_iter().flatten().min()?;
        // What has failed keeps its room, and what waits behind that gives it up.
        let room = reading.held_max.effects.saturating_sub(self.failed);
        let flowing = self.held.len() - self.failed - self.spare.len();
        let free = room.saturating_sub(flowing);
        let bytes = reading.held_max.bytes.saturating_sub(self.failed_bytes);
        let flowing_bytes = self.bytes - self.failed_bytes - self.spare_bytes;
        let free_bytes = bytes.saturating_sub(flowing_bytes);
        // A page whose first effect finds no room says what it takes.
        if !self.has_room_for(reading.lacking.unwrap_or(1)) {
            return None;
        }
        // About what the next one takes, if that is not known.
        let each = reading.lacking.unwrap_or(flowing_bytes / flowing.max(1));
        // Not for each effect that leaves a place.
        let is_low = flowing <= room / 2 && flowing_bytes <= bytes / 2;
        let is_due = is_low || again.is_some() || self.has_idle_calls();
        // A page that is gone back for is no longer than what its stream has room for.
        let page = if Some(from) == ahead {
            PAGE
        } else {
            reading.line_max
        };
        let page = page.min(free_bytes / each.max(1)).max(1);
        (free > 0 && is_due).then_some(Wanted {
            from,
            rows: free.min(page),
        })
    }

    /// Whether one of so many bytes has room, once those that give way have left.
    fn has_room_for(&self, bytes: usize) -> bool {
        let max = self.reading.held_max.bytes;
        let is_alone = self.held.len() == self.failed + self.spare.len();
        (is_alone && self.failed_bytes < max) || self.bytes - self.spare_bytes + bytes <= max
    }

    /// Takes in what a page has of what was to be read: its effects in order, and the last of them where there may be
    /// more behind it.
    pub(super) fn take_in(
        &mut self,
        wanted: Wanted,
        page: impl IntoIterator<Item = Found>,
        end: Option<EffectPlace>,
    ) {
        self.reading.page += 1;
        self.reading.lacking = None;
        let mut last = None;
        for (place, key, stored) in page {
            if !self.take(wanted, place, key, stored) {
                return self.looked(wanted.from, Some(place));
            }
            last = Some(place);
        }
        if let Some(last) = last {
            self.reading.read = self.reading.read.max(last.next());
        }
        self.looked(wanted.from, end.map(EffectPlace::next));
    }

    /// Takes one in, or passes it over; `false` if there is no room for it, which its stream would have.
    fn take(
        &mut self,
        wanted: Wanted,
        place: EffectPlace,
        key: CompactString,
        stored: Vec<u8>,
    ) -> bool {
        if self.held.contains_key(&place) || self.settled.contains(&place) {
            return true;
        }
        let mut is_stuck = false;
        if let Some(line) = self.lines.get(&key) {
            // Something before it was left in the store, on this page or before.
            let is_left = |behind| behind < wanted.from || line.left_on == Some(self.reading.page);
            if line
                .behind
                .is_some_and(|behind| behind <= place && is_left(behind))
            {
                return true;
            }
            if let Some(first) = line.places.first().filter(|first| **first < place) {
                is_stuck = self.has_failed(*first);
                if line.places.len() >= self.reading.line_max {
                    self.leave(&key, place);
                    return true;
                }
            }
        }
        let Room { effects, bytes } = self.reading.held_max;
        let has_room = |queue: &Self| {
            queue.held.len() < effects && queue.bytes.saturating_add(stored.len()) <= bytes
        };
        if !has_room(self) {
            if is_stuck {
                self.leave(&key, place);
                return true;
            }
            if !self.has_room_for(stored.len()) {
                self.reading.lacking = Some(stored.len());
                return false;
            }
            while !has_room(self) && self.give_way() {}
            if self.held.len() >= effects {
                return false;
            }
        }
        self.add(place, key.clone(), stored);
        self.want(&key);
        true
    }

    /// Has the last of those that wait behind a failed one leave; `false` if there is none.
    fn give_way(&mut self) -> bool {
        let Some((place, held)) = self.pop_spare() else {
            return false;
        };
        let Some(line) = self.lines.get_mut(&held.key) else {
            return false;
        };
        line.places.remove(&place);
        let behind = line.behind.map_or(place, |behind| behind.min(place));
        self.leave(&held.key, behind);
        true
    }

    /// Leaves in the store what a stream has from there on.
    fn leave(&mut self, key: &CompactString, behind: EffectPlace) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        line.left_on = Some(self.reading.page);
        self.reading.set_behind(line, key, Some(behind));
        self.want(key);
    }

    /// Has what a stream has stored be read, if some was passed over and it has room, or nothing to be called next.
    pub(super) fn want(&mut self, key: &CompactString) {
        let Some(line) = self.lines.get(key) else {
            return;
        };
        let Some(behind) = line.behind else { return };
        let reading = &mut self.reading;
        let first = line.places.first();
        let is_wanting = first.is_none_or(|first| behind < *first);
        let is_roomy = is_wanting || line.places.len() < reading.line_max;
        let sets = [
            (&mut reading.roomy, is_roomy),
            (&mut reading.wanting, is_wanting),
        ];
        for (set, is_in) in sets {
            if is_in {
                set.insert((behind, key.clone()));
            } else {
                set.remove(&(behind, key.clone()));
            }
        }
    }

    /// All before `upto` was looked at, or all there is, from where it was to be read.
    fn looked(&mut self, from: EffectPlace, upto: Option<EffectPlace>) {
        let reading = &mut self.reading;
        let is_behind = |place: EffectPlace| upto.is_none_or(|upto| place < upto);
        // What lies there was read before, and is looked at next.
        let left = upto.filter(|upto| *upto < reading.read);
        let looked = reading.roomy.range((from, CompactString::default())..);
        let looked = looked.take_while(|(behind, _)| is_behind(*behind));
        for (_, key) in looked.cloned().collect::<Vec<_>>() {
            let Some(line) = self.lines.get_mut(&key) else {
                continue;
            };
            if line.left_on == Some(self.reading.page) {
                continue;
            }
            self.reading.set_behind(line, &key, left);
            if left.is_none() && line.places.is_empty() {
                self.lines.remove(&key);
            }
            self.want(&key);
        }
        let reading = &mut self.reading;
        if let Some(again) = &mut reading.again
            && is_behind(again.first)
        {
            again.first = left.unwrap_or(again.last.next());
        }
        reading.again = reading.again.filter(|again| again.first <= again.last);
        match upto {
            Some(upto) => reading.read = reading.read.max(upto),
            None => reading.has_more = false,
        }
    }
}

impl Reading {
    /// Remembers from where on a stream has something that was passed over.
    fn set_behind(&mut self, line: &mut Line, key: &CompactString, behind: Option<EffectPlace>) {
        if let Some(before) = line.behind {
            let known = (before, key.clone());
            self.roomy.remove(&known);
            self.wanting.remove(&known);
        }
        line.behind = behind;
    }
}
