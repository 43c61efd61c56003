//! Items of one side and key in the order of their times.
//!
//! The newest lie in the key's entry of a table; when they become many, older ones are moved to [pieces](super::pieces), so
//! that one more item does not have all of the key's written again. Of a piece its bounds lie in the entry.
//! Invariants: (1) nothing in a piece is later than what is in the pieces behind it, or in the entry; (2) what most runs
//! need not know, since they are short, lies in a box of its own, which they have not: so more of them fit into the cache.
//! Cost: an item in order is a push; one out of order is moved into place. What is dropped at the front is only
//! counted, and moved out when half of the entry's is dropped: a constant cost per item, and no allocation for a run of one.

use std::cell::Cell;
use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::between::{Timed, between};
use super::pieces::{PIECE, Pieces};
use crate::Key;

/// Items of an entry at which the older half goes to a piece.
const HERE_MAX: usize = 2 * PIECE;

/// Of no more items than this those that are dropped are moved out at once: short runs stay in a cache line or two.
const FEW: usize = if cfg!(test) { 2 } else { 8 };

/// An item that waits for partners.
#[derive(Debug, Deserialize)]
pub(super) struct Held<T> {
    pub(super) time: i64,
    /// The watermark of its source when it came: what was over then is not for it. At most `time` unless it was late.
    pub(super) limit: i64,
    /// Whether it has met a partner.
    pub(super) matched: bool,
    pub(super) item: T,
}

impl<T> Timed for Held<T> {
    fn time(&self) -> i64 {
        self.time
    }
}

/// Without names, since there are many; it was written with them once, and both are read.
impl<T: Serialize> Serialize for Held<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.time, self.limit, self.matched, &self.item).serialize(serializer)
    }
}

/// Whether `time` is before `end`, as all are at the end of time.
#[inline(always)]
pub(super) const fn is_before(time: i64, end: i64) -> bool {
    time < end || end == i64::MAX
}

/// What is known of a piece.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) number: u64,
    /// Times of its first item that is not dropped, and of its last one.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Items, and how many of them are dropped at the front: the piece is not written again for that.
    pub(super) len: usize,
    pub(super) dropped: usize,
    /// Where it was last found in the table of pieces: only where that is no longer so is it looked for. Not stored.
    pub(super) place: Cell<u32>,
    /// Whether all of its items are known to have met a partner. Not stored.
    pub(super) is_matched: Cell<bool>,
}

/// The pieces of a run, and what of its entry is dropped.
#[derive(Debug, Default)]
pub(super) struct Older {
    /// In the order of time.
    pub(super) pieces: VecDeque<Known>,
    /// Number of the next piece.
    next: u64,
    /// The first so many items in the entry are dropped.
    dropped: usize,
}

impl Older {
    /// A number that no piece of the run has.
    pub(super) const fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn len(&self) -> usize {
        let pieces = self.pieces.iter();
        pieces.map(|known| known.len - known.dropped).sum()
    }
}

/// Items by time; equal times in the order of arrival.
#[derive(Debug)]
pub(super) struct Run<H> {
    held: SmallVec<[H; 1]>,
    /// None of a run that never had more than a few items.
    pub(super) older: Option<Box<Older>>,
}

impl<H> Default for Run<H> {
    fn default() -> Self {
        Self {
            held: SmallVec::new(),
            older: None,
        }
    }
}

/// As it is stored: items, the number of the next piece, and of each piece what is known of it.
type Stored<I> = (I, u64, Vec<(u64, i64, i64, usize, usize)>);

impl<H: Serialize> Serialize for Run<H> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = |known: &Known| {
            let Known { first, last, .. } = *known;
            (known.number, first, last, known.len, known.dropped)
        };
        let older = self.older.as_deref();
        let pieces = older.into_iter().flat_map(|older| &older.pieces);
        let next = older.map_or(0, |older| older.next);
        let stored: Stored<&[H]> = (self.here(), next, pieces.map(known).collect());
        stored.serialize(serializer)
    }
}

impl<'de, H: Deserialize<'de>> Deserialize<'de> for Run<H> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (held, next, pieces) = Stored::<SmallVec<[H; 1]>>::deserialize(deserializer)?;
        let pieces = pieces.into_iter();
        let pieces: VecDeque<Known> = pieces
            .map(|(number, first, last, len, dropped)| Known {
                number,
                first,
                last,
                len,
                dropped,
                place: Cell::default(),
                is_matched: Cell::default(),
            })
            .collect();
        let dropped = 0;
        let older = Older {
            pieces,
            next,
            dropped,
        };
        let older = (!older.pieces.is_empty()).then(|| Box::new(older));
        Ok(Self { held, older })
    }
}

impl<H> Run<H> {
    /// What lies in the entry: the newest.
    #[inline(always)]
    pub(super) fn here(&self) -> &[H] {
        &self.held[self.dropped()..]
    }

    #[inline(always)]
    fn dropped(&self) -> usize {
        self.older.as_ref().map_or(0, |older| older.dropped)
    }

    /// Whether it has pieces.
    #[inline(always)]
    pub(super) fn is_divided(&self) -> bool {
        let older = self.older.as_ref();
        older.is_some_and(|older| !older.pieces.is_empty())
    }

    pub(super) fn len(&self) -> usize {
        let older = self.older.as_ref().map_or(0, |older| older.len());
        older + self.here().len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.here().is_empty() && !self.is_divided()
    }
}

impl<H: Timed> Run<H> {
    /// Of items in the order of time, as all of them were stored once.
    pub(super) fn of(items: SmallVec<[H; 1]>) -> Self {
        Self {
            held: items,
            ..Self::default()
        }
    }

    /// Adds an item of `key`.
    #[inline]
    pub(super) fn insert<K: Key>(&mut self, key: &K, pieces: &mut Pieces<K, H>, held: H) {
        // What comes in order goes behind the others wherever they lie.
        let last = self.held.last();
        let is_in_order = last.is_some_and(|last| last.time() <= held.time());
        if self.held.len() >= HERE_MAX || (!is_in_order && self.is_divided()) {
            self.insert_divided(key, pieces, held);
            return;
        }
        self.insert_here(held);
    }

    #[inline]
    fn insert_here(&mut self, held: H) {
        if (self.held.last()).is_none_or(|last| last.time() <= held.time()) {
            self.held.push(held);
            return;
        }
        let here = self.here();
        let at = here.partition_point(|other| other.time() <= held.time());
        let at = self.dropped() + at;
        self.held.insert(at, held);
    }

    #[cold]
    fn insert_divided<K: Key>(&mut self, key: &K, pieces: &mut Pieces<K, H>, held: H) {
        let time = held.time();
        let is_here = self
            .here()
            .first()
            .is_some_and(|first| first.time() <= time);
        if let Some(older) = self.older.as_deref_mut().filter(|_| !is_here)
            && older.pieces.back().is_some_and(|last| time < last.last)
        {
            pieces.insert(key, older, held);
            return;
        }
        self.insert_here(held);
        while self.here().len() > HERE_MAX {
            let older = self.older.get_or_insert_default();
            let dropped = std::mem::take(&mut older.dropped);
            let oldest = self.held.drain(..dropped + PIECE).skip(dropped);
            let oldest = oldest.collect();
            pieces.add(key, older, oldest);
        }
    }

    /// Of what lies in the entry that with times in `from..=to`.
    #[inline]
    pub(super) fn between(&mut self, from: i64, to: i64) -> &mut [H] {
        let dropped = self.dropped();
        let here = &mut self.held[dropped..];
        let range = between(here, from, to);
        &mut here[range]
    }

    /// The same to be looked at.
    #[inline(always)]
    pub(super) fn here_between(&self, from: i64, to: i64) -> &[H] {
        let here = self.here();
        &here[between(here, from, to)]
    }

    #[inline(always)]
    pub(super) fn first_time(&self) -> Option<i64> {
        if let Some(older) = &self.older
            && let Some(known) = older.pieces.front()
        {
            return Some(known.first);
        }
        self.here().first().map(H::time)
    }

    /// Drops items with times before `time`, at the end of time all, each of which `see` is shown first; gives how many.
    #[inline]
    pub(super) fn drop_before<K: Key>(
        &mut self,
        key: &K,
        pieces: &mut Pieces<K, H>,
        time: i64,
        mut see: impl FnMut(&H),
    ) -> usize {
        let older = match &mut self.older {
            Some(older) => pieces.drop_before(key, older, time, &mut see),
            None => 0,
        };
        if older > 0 {
            self.forget_pieces();
        }
        let here = self.here();
        let count = here.iter().take_while(|held| is_before(held.time(), time));
        let count = count.count();
        here[..count].iter().for_each(see);
        self.drop_here(count);
        older + count
    }

    /// There may be no pieces any more.
    pub(super) fn forget_pieces(&mut self) {
        let is_short = self.held.len() <= FEW;
        self.older
            .take_if(|older| is_short && older.dropped == 0 && older.pieces.is_empty());
    }

    /// Where one is left, it lies in the entry itself and not beside it: for runs that are mostly so and often looked at.
    #[inline]
    pub(super) fn come_home(&mut self) {
        if self.held.spilled() && self.held.len() == 1 && self.dropped() == 0 {
            self.held.shrink_to_fit();
        }
    }

    /// Drops the first `count` of those that lie in the entry.
    pub(super) fn drop_here(&mut self, count: usize) {
        let dropped = self.dropped() + count;
        if dropped == 0 {
            return;
        }
        if self.held.len() > FEW && dropped * 2 < self.held.len() {
            self.older.get_or_insert_default().dropped = dropped;
            return;
        }
        self.held.drain(..dropped);
        if let Some(older) = &mut self.older {
            older.dropped = 0;
            self.forget_pieces();
        }
        if self.held.spilled() && self.held.len() * 8 < self.held.capacity() {
            self.held.shrink_to_fit();
        }
    }
}
