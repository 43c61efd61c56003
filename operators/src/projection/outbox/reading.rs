//! Which effects of a partition are read into memory, and from where on.
//!
//! Effects of all streams lie in the store in the order of the log. They are read through once, a page at a time; what a stream
//! has there beyond its part of the room is passed over, and of that only the place is kept from which on it is so. Once the
//! stream has room, reading goes back to there. A stream whose first effect has failed has a part of one: however much it has
//! stored behind that, the others find room.
//! Invariants: (1) what is stored before [`Reading::read`] is known, or lies behind the place of its stream, or was stored late
//! and lies in [`Reading::again`]; (2) of one stream nothing is taken in while something that lies before it was passed
//! over.
//! Cost: going back reads what other streams have in between once more.

use std::collections::BTreeSet;

use compact_str::CompactString;

use super::EffectPlace;
use super::format::Span;
use super::queue::Queue;

/// How far the effects of a partition were read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Effects that are here at once.
    held_max: usize,
    /// Those of one stream.
    line_max: usize,
    /// All before it was read.
    read: EffectPlace,
    /// There may be some from there on.
    has_more: bool,
    /// There may be some before it that were stored after it was read, in this span.
    again: Option<Span>,
    /// Streams that have room for what was passed over, by where that lies.
    wanting: BTreeSet<(EffectPlace, CompactString)>,
    /// Some were stored since a page was read.
    is_new: bool,
}

/// An effect as it lies in the store: its place, its stream, and what is stored.
pub(super) type Found = (EffectPlace, CompactString, Vec<u8>);

impl Reading {
    /// Begins at the first place there may be. At most `held_max` effects are to be here at once; as many streams as there may
    /// be `calls` have room among them, however much each of them has.
    pub(super) fn from(first: EffectPlace, held_max: usize, calls: usize) -> Self {
        Self {
            held_max,
            line_max: (held_max / calls).max(1),
            read: first,
            has_more: true,
            again: None,
            wanting: BTreeSet::new(),
            is_new: false,
        }
    }
}

impl Queue {
    /// Effects were stored, all of them in this span.
    pub(super) fn stored(&mut self, span: Span) {
        let reading = &mut self.reading;
        reading.is_new = true;
        reading.has_more |= span.last >= reading.read;
        if span.first < reading.read {
            reading.again = Some(span.with(reading.again));
        }
    }

    /// Where a page is to be read from; `None` while there is no room, or nothing to be read.
    pub(super) fn next_read(&self) -> Option<EffectPlace> {
        let reading = &self.reading;
        let wanting = reading.wanting.first().map(|(behind, _)| *behind);
        let from = [
            reading.again.map(|again| again.first),
            wanting,
            reading.has_more.then_some(reading.read),
        ];
        let from = from.into_iter().flatten().min()?;
        let room = reading.held_max.saturating_sub(self.failed);
        let flowing = self.held.len() - self.failed;
        // Not for each effect that leaves a place, unless something has come or the calls have nothing to do.
        let is_due = flowing <= room / 2 || reading.is_new || self.ready.is_empty();
        (flowing < room && is_due).then_some(from)
    }

    /// Takes in what a page has from where it was to be read: its effects in order, and the last of them where there may be
    /// more behind it.
    pub(super) fn take_in(
        &mut self,
        page: impl IntoIterator<Item = Found>,
        end: Option<EffectPlace>,
    ) {
        self.reading.is_new = false;
        let mut last = None;
        for (place, key, stored) in page {
            if !self.take(place, key, stored) {
                return self.looked(Some(place));
            }
            last = Some(place);
        }
        if let Some(last) = last {
            self.reading.read = self.reading.read.max(last.next());
        }
        self.looked(end.map(EffectPlace::next));
    }

    /// Takes one in, or passes it over; `false` if there is no room for it, which its stream would have.
    fn take(&mut self, place: EffectPlace, key: CompactString, stored: Vec<u8>) -> bool {
        if self.held.contains_key(&place) || self.settled.contains(&place) {
            return true;
        }
        if let Some(line) = self.lines.get(&key)
            && let Some(first) = line.places.first().filter(|first| **first < place)
        {
            let is_passed = line.behind.is_some_and(|behind| {
                behind <= place && !self.reading.wanting.contains(&(behind, key.clone()))
            });
            let has_failed = self.held.get(first).is_some_and(|held| held.failures > 0);
            if !is_passed && (has_failed || line.places.len() >= self.reading.line_max) {
                self.pass_over(place, &key);
                return true;
            }
            if is_passed {
                return true;
            }
        }
        if self.held.len() >= self.reading.held_max {
            return false;
        }
        self.add(place, key.clone(), stored);
        self.want(&key);
        true
    }

    /// Leaves an effect in the store, and with it what its stream has behind it.
    fn pass_over(&mut self, place: EffectPlace, key: &CompactString) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let behind = line.behind.unwrap_or(place);
        let was_wanting = self.reading.wanting.remove(&(behind, key.clone()));
        // Of one that was wanting, what lies between was taken in on the way here.
        line.behind = Some(if was_wanting {
            place
        } else {
            behind.min(place)
        });
        self.want(key);
    }

    /// A stream whose first effect has failed keeps that one, and of those behind it the place.
    pub(super) fn keep_place(&mut self, failed: EffectPlace, key: &CompactString) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let behind = line.places.range(failed.next()..).copied();
        // One that has failed as well keeps the number of its tries.
        let is_new =
            |place: &EffectPlace| self.held.get(place).is_some_and(|one| one.failures == 0);
        let left: Vec<_> = behind.filter(is_new).collect();
        let Some(first) = left.first() else {
            return;
        };
        for place in &left {
            line.places.remove(place);
            self.held.remove(place);
        }
        if let Some(behind) = line.behind {
            self.reading.wanting.remove(&(behind, key.clone()));
        }
        line.behind = Some(line.behind.map_or(*first, |behind| behind.min(*first)));
        self.want(key);
    }

    /// Has what a stream has stored be read, if some was passed over and it has room.
    pub(super) fn want(&mut self, key: &CompactString) {
        let Some(line) = self.lines.get(key) else {
            return;
        };
        let Some(behind) = line.behind else { return };
        let has_room = line.places.first().is_none_or(|first| {
            let has_failed = self.held.get(first).is_some_and(|held| held.failures > 0);
            behind < *first || (!has_failed && line.places.len() <= self.reading.line_max / 2)
        });
        if has_room {
            self.reading.wanting.insert((behind, key.clone()));
        }
    }

    /// All before `upto` was looked at, or all there is, from the first place on that something was wanted from.
    fn looked(&mut self, upto: Option<EffectPlace>) {
        let reading = &mut self.reading;
        let is_behind = |place: EffectPlace| upto.is_none_or(|upto| place < upto);
        // What lies there was read before, and is looked at next.
        let left = upto.filter(|upto| *upto < reading.read);
        while let Some((behind, _)) = reading.wanting.first()
            && is_behind(*behind)
        {
            let Some((_, key)) = reading.wanting.pop_first() else {
                break;
            };
            let Some(line) = self.lines.get_mut(&key) else {
                continue;
            };
            line.behind = left;
            if let Some(left) = left {
                reading.wanting.insert((left, key));
            } else if line.places.is_empty() {
                self.lines.remove(&key);
            }
        }
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
