//! Values of one key by time.

use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use crate::Key;
use crate::join::between::Timed;
use crate::join::pieces::Pieces;
use crate::join::run::Run;

#[derive(Debug, Deserialize)]
pub(super) struct Version<R> {
    pub(super) time: i64,
    /// Left items before this do not meet it: its time, or the watermark that it was late for.
    pub(super) from: i64,
    pub(super) item: R,
}

impl<R> Timed for Version<R> {
    fn time(&self) -> i64 {
        self.time
    }
}

/// Without names, since there are many; it was written with them once, and both are read.
impl<R: Serialize> Serialize for Version<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.time, self.from, &self.item).serialize(serializer)
    }
}

/// Index of the one of a list in the order of time that is valid at `time`.
#[inline(always)]
fn valid_at<R>(list: &[Version<R>], time: i64) -> Option<usize> {
    let count = list.partition_point(|version| version.time <= time);
    list[..count]
        .iter()
        .rposition(|version| version.from <= time)
}

/// When the first one of a list is valid that is not yet at `reached`; the end of time if there is none.
fn next_in<R>(list: &[Version<R>], reached: i64) -> i64 {
    let later = list.iter().map(|version| version.from);
    later
        .filter(|from| *from > reached)
        .min()
        .unwrap_or(i64::MAX)
}

/// Values of one key by time; equal times in the order of arrival.
#[derive(Serialize, Deserialize)]
#[serde(
    transparent,
    bound(serialize = "R: Serialize", deserialize = "R: Deserialize<'de>")
)]
pub(super) struct Versions<R>(Run<Version<R>>);

impl<R> Default for Versions<R> {
    fn default() -> Self {
        Self(Run::default())
    }
}

impl<R> Versions<R> {
    /// In the order of time, as all of them were stored once.
    pub(super) fn of(list: SmallVec<[Version<R>; 1]>) -> Self {
        Self(Run::of(list))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn put<K: Key>(
        &mut self,
        key: &K,
        pieces: &mut Pieces<K, Version<R>>,
        version: Version<R>,
    ) {
        self.0.insert(key, pieces, version);
    }

    /// The one that is valid at `time`.
    #[inline(always)]
    pub(super) fn at<'a, K: Key>(
        &'a self,
        time: i64,
        key: &K,
        pieces: &'a mut Pieces<K, Version<R>>,
    ) -> Option<&'a Version<R>> {
        let here = self.0.here();
        match valid_at(here, time) {
            Some(at) => here.get(at),
            None if self.0.older.is_none() => None,
            None => {
                let (piece, at) = self.older_at(time, key, pieces)?;
                let known = self.0.older.as_deref()?.pieces.get(piece)?;
                pieces.items(key, known).get(at)
            }
        }
    }

    /// The same of those in pieces: which piece, and where in it.
    #[inline(never)]
    fn older_at<K: Key>(
        &self,
        time: i64,
        key: &K,
        pieces: &mut Pieces<K, Version<R>>,
    ) -> Option<(usize, usize)> {
        let known = self.0.older.as_deref()?.pieces.iter().enumerate().rev();
        let mut reached = known.filter(|(_, known)| known.first <= time);
        reached.find_map(|(piece, known)| {
            let at = valid_at(pieces.items(key, known), time)?;
            Some((piece, at))
        })
    }

    /// Drops those before the one that is valid at `reached`, and that as well if it is a deletion; gives how many, and
    /// when the next one is valid, or somewhat earlier.
    #[inline]
    pub(super) fn drop_over<K: Key>(
        &mut self,
        reached: i64,
        key: &K,
        pieces: &mut Pieces<K, Version<R>>,
        is_deletion: impl Fn(&R) -> bool,
    ) -> (usize, i64) {
        let here = self.0.here();
        let valid = valid_at(here, reached);
        if self.0.older.is_some() && valid.is_none() {
            return self.drop_older(reached, key, pieces, is_deletion);
        }
        let mut dropped = 0;
        if let Some(valid) = valid {
            let count = valid + usize::from(is_deletion(&here[valid].item));
            dropped = self.drop_pieces(usize::MAX, key, pieces) + count;
            self.0.drop_here(count);
            self.0.come_home();
        }
        (dropped, next_in(self.0.here(), reached))
    }

    /// The same where that one is in a piece, if there is one.
    #[inline(never)]
    fn drop_older<K: Key>(
        &mut self,
        reached: i64,
        key: &K,
        pieces: &mut Pieces<K, Version<R>>,
        is_deletion: impl Fn(&R) -> bool,
    ) -> (usize, i64) {
        let Some((piece, valid)) = self.older_at(reached, key, pieces) else {
            return (0, self.next_from(reached, key, pieces));
        };
        let mut dropped = self.drop_pieces(piece, key, pieces);
        if let Some(older) = self.0.older.as_deref_mut()
            && let Some(known) = older.pieces.front()
        {
            let items = pieces.items(key, known);
            let count = valid + usize::from(is_deletion(&items[valid].item));
            let left = items.get(count).map(Version::time);
            pieces.drop_first(key, older, count, left);
            dropped += count;
        }
        self.0.forget_pieces();
        (dropped, self.next_from(reached, key, pieces))
    }

    /// Drops the first `count` pieces, or all that there are; gives how many values they had.
    fn drop_pieces<K: Key>(
        &mut self,
        count: usize,
        key: &K,
        pieces: &mut Pieces<K, Version<R>>,
    ) -> usize {
        let Some(older) = self.0.older.as_deref_mut() else {
            return 0;
        };
        let mut dropped = 0;
        for _ in 0..count.min(older.pieces.len()) {
            let first = older.pieces.front();
            let all = first.map_or(0, |known| known.len - known.dropped);
            pieces.drop_first(key, older, all, None);
            dropped += all;
        }
        self.0.forget_pieces();
        dropped
    }

    /// When the next one is valid after `reached`, or somewhat earlier; the end of time if there is none.
    pub(super) fn next_from<K: Key>(
        &self,
        reached: i64,
        key: &K,
        pieces: &mut Pieces<K, Version<R>>,
    ) -> i64 {
        let mut next = next_in(self.0.here(), reached);
        let older = self.0.older.as_deref();
        for known in older.into_iter().flat_map(|older| &older.pieces) {
            if known.first > reached {
                // None is valid before its time.
                return next.min(known.first);
            }
            next = next.min(next_in(pieces.items(key, known), reached));
        }
        next
    }
}
