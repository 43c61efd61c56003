//! Items of keys that have many: those that are older, in pieces of a hundred or two, each an entry of a table.
//!
//! Divided by number of items and not by slices of time, since it is not known how many come in any time: slices that are
//! short enough for a busy key would have all others look at many of them, and those that are long enough would be large.
//! So a key with few items has one entry and needs one lookup, and one with many is written and read piece by piece.
//! Invariant: there is a piece for each that [is known](super::run::Known) of some run, with as many items, and no other.
//! Cost: what comes late for a key with many items is moved into place in its piece, which is divided when it is full.

use std::cell::Cell;
use std::ops::Range;

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use millstream_engine::flow::Fault;
use serde::{Deserialize, Serialize};

use super::between::{Timed, between_ends};
use super::run::{Known, Older, Run, is_before};
use crate::table::{StateMemory, Table};
use crate::{Key, Savable};

/// Items of a piece when it is made; at twice as many it is divided.
///
/// An entry with bounds of pieces is written whenever something comes: with 128 it has at most 256 items and for each piece
/// some 20 bytes, which of a million items is half a percent of what they take. With 64, looking at twice as many pieces
/// took a tenth of the time of an interval join whose items have 150 partners each.
pub(super) const PIECE: usize = if cfg!(test) { 2 } else { 128 };

/// A key, and number of a piece among its own.
#[derive(Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct PieceOf<K>(K, u64);

/// Pieces of all keys of one side.
pub(super) struct Pieces<K, H>(Table<PieceOf<K>, Vec<H>>);

impl<K, H> Default for Pieces<K, H> {
    fn default() -> Self {
        Self(Table::default())
    }
}

/// Pieces that were taken out: their places, their items and which of them are wanted.
pub(super) struct Lent<H>(Vec<(usize, Vec<H>, Range<usize>)>);

impl<H> Lent<H> {
    pub(super) fn slices(&self) -> impl Iterator<Item = &[H]> {
        let pieces = self.0.iter();
        pieces.map(|(_, items, range)| &items[range.clone()])
    }
}

impl<K: Key, H: Timed> Pieces<K, H> {
    #[inline]
    fn place(&mut self, key: &K, known: &Known) -> usize {
        let place = known.place.get() as usize;
        // Pieces come to another place where one is removed.
        let is_it = |PieceOf(of, number): &PieceOf<K>| *number == known.number && of == key;
        if self.0.is_at(place, is_it) {
            return place;
        }
        self.look_for(key, known)
    }

    #[inline(never)]
    fn look_for(&mut self, key: &K, known: &Known) -> usize {
        let place = self.0.find(&PieceOf(key.clone(), known.number));
        let place = place.expect("there is a piece for each that is known");
        known.place.set(place as u32);
        place
    }

    /// The items of a piece that are not dropped.
    #[inline]
    pub(super) fn items(&mut self, key: &K, known: &Known) -> &[H] {
        let place = self.place(key, known);
        &self.0.at(place).1[known.dropped..]
    }

    /// The same, to be changed.
    pub(super) fn items_mut(&mut self, key: &K, known: &Known) -> &mut [H] {
        let place = self.place(key, known);
        &mut self.0.at_mut(place).1[known.dropped..]
    }

    /// Adds a piece behind the others of a run; the items are in the order of time.
    pub(super) fn add(&mut self, key: &K, older: &mut Older, items: Vec<H>) {
        let at = older.pieces.len();
        self.add_at(key, older, at, items);
    }

    fn add_at(&mut self, key: &K, older: &mut Older, at: usize, items: Vec<H>) {
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return;
        };
        let number = older.take_number();
        let known = Known {
            number,
            first: first.time(),
            last: last.time(),
            len: items.len(),
            dropped: 0,
            place: Cell::new(self.0.len() as u32),
            is_matched: Cell::new(false),
        };
        older.pieces.insert(at, known);
        self.0.insert(PieceOf(key.clone(), number), items);
    }

    /// Adds an item that is earlier than the last one of the last piece.
    pub(super) fn insert(&mut self, key: &K, older: &mut Older, held: H) {
        let time = held.time();
        let before = older.pieces.partition_point(|known| known.first <= time);
        let at = before.saturating_sub(1);
        let Some(known) = older.pieces.get_mut(at) else {
            return;
        };
        let place = self.place(key, known);
        let items = self.0.at_mut(place).1;
        items.drain(..known.dropped);
        known.dropped = 0;
        let within = items.partition_point(|other| other.time() <= time);
        items.insert(within, held);
        known.len = items.len();
        known.is_matched.set(false);
        (known.first, known.last) = (known.first.min(time), known.last.max(time));
        if known.len < 2 * PIECE {
            return;
        }
        let later = items.split_off(PIECE);
        known.len = PIECE;
        known.last = items.last().map_or(time, H::time);
        self.add_at(key, older, at + 1, later);
    }

    /// Drops items with times before `time`, at the end of time all, each of which `see` is shown first; gives how many.
    #[inline(never)]
    pub(super) fn drop_before(
        &mut self,
        key: &K,
        older: &mut Older,
        time: i64,
        mut see: impl FnMut(&H),
    ) -> usize {
        let mut dropped = 0;
        let is_over = |known: &&Known| is_before(known.first, time);
        while let Some(known) = older.pieces.front().filter(is_over) {
            let items = self.items(key, known);
            let over = items.iter().take_while(|held| is_before(held.time(), time));
            let count = over.count();
            items[..count].iter().for_each(&mut see);
            let left = items.get(count).map(H::time);
            dropped += count;
            self.drop_first(key, older, count, left);
        }
        dropped
    }

    /// Drops the first `count` items of the first piece; `left` is the time of the next one, if it has any more.
    pub(super) fn drop_first(
        &mut self,
        key: &K,
        older: &mut Older,
        count: usize,
        left: Option<i64>,
    ) {
        match (older.pieces.front_mut(), left) {
            (Some(known), Some(first)) => {
                known.dropped += count;
                known.first = first;
            }
            (Some(known), None) => {
                let place = self.place(key, known);
                self.0.remove_at(place);
                older.pieces.pop_front();
            }
            (None, _) => {}
        }
    }

    /// Takes out those pieces of a run that have times in `from..=to`. They must be given back.
    pub(super) fn lend(&mut self, key: &K, run: &Run<H>, from: i64, to: i64) -> Lent<H> {
        let pieces = run.older.as_deref().into_iter();
        let pieces = pieces.flat_map(|older| overlapping(older, from, to));
        let lent = pieces.map(|known| {
            let place = self.place(key, known);
            let items = self.0.lend(place);
            let range = within(known, &items[known.dropped..], from, to);
            let range = known.dropped + range.start..known.dropped + range.end;
            (place, items, range)
        });
        Lent(lent.collect())
    }

    pub(super) fn give_back(&mut self, lent: Lent<H>) {
        for (place, items, _) in lent.0 {
            self.0.give_back(place, items);
        }
    }
}

/// Those pieces that may have times in `from..=to`, in their order.
pub(super) fn overlapping(older: &Older, from: i64, to: i64) -> impl Iterator<Item = &Known> {
    let is_before = |known: &Known| known.last < from;
    let first = match older.pieces.front() {
        Some(known) if is_before(known) => older.pieces.partition_point(is_before),
        _ => 0,
    };
    let rest = older.pieces.range(first..);
    rest.take_while(move |known| known.first <= to)
}

/// Of the items of a piece those with times in `from..=to`: mostly all of them.
#[inline]
pub(super) fn within<H: Timed>(known: &Known, items: &[H], from: i64, to: i64) -> Range<usize> {
    between_ends(items, (known.first, known.last), from, to)
}

impl<K: Key, H: Savable> Pieces<K, H> {
    pub(super) fn share(&mut self, memory: &StateMemory) {
        self.0.share(&memory.for_tables());
    }

    #[inline]
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        self.0.settle()
    }

    pub(super) fn save(
        &mut self,
        kind: &'static str,
        saving: &mut Saving,
    ) -> Result<(), CheckpointError> {
        self.0.save(kind, saving)
    }

    pub(super) fn restore(
        &mut self,
        kind: &'static str,
        restoring: &mut Restoring,
    ) -> Result<(), CheckpointError> {
        // A piece is whose its key is.
        let owns = |restoring: &Restoring, piece: &PieceOf<K>| restoring.owns(&piece.0);
        self.0.restore_owned(kind, restoring, owns).map(drop)
    }
}
