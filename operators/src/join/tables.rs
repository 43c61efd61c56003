//! Join of two tables by key: changes in, changes out.
//!
//! The result is a table too: a row for each key that the kind of the join asks for, changed whenever one of its parts
//! changes, with the time of that change. Changes of one key and side must come in order (from one split, or from a
//! stage keyed alike); then the last change given out for a key is the same however the sides are interleaved, while
//! the ones in between may differ. A deletion is given out only for a row that was there.
//! State: one row per key and side, until it is deleted. Cost: per change one lookup.

use std::fmt;
use std::marker::PhantomData;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use millstream_engine::flow::{Emit, Operator, Side, unsaved};
use millstream_engine::time::Timestamp;

use super::{Change, JoinResult, Update};
use crate::Key;

/// The two parts of a row; never `None` twice between changes.
type Row<L, R> = (Option<L>, Option<R>);

/// Joins the rows of one key.
pub struct TableJoin<K, L, R, G> {
    result: G,
    rows: HashMap<K, Row<L, R>, FixedState>,
    items: PhantomData<fn(L, R)>,
}

impl<K, L, R, G> TableJoin<K, L, R, G> {
    /// Gives what `result` makes of the rows of each key.
    pub fn new(result: G) -> Self {
        Self {
            result,
            rows: HashMap::default(),
            items: PhantomData,
        }
    }
}

fn row_of<K, L, R, G: JoinResult<K, L, R>>(result: &G, key: &K, row: &Row<L, R>) -> Option<G::Out> {
    match row {
        (Some(left), Some(right)) => Some(result.pair(key, left, right)),
        (Some(left), None) => result.left_alone(key, left),
        (None, Some(right)) => result.right_alone(key, right),
        (None, None) => None,
    }
}

impl<K, L, R, G> Operator<Side<Update<K, L>, Update<K, R>>> for TableJoin<K, L, R, G>
where
    K: Key,
    L: Send + 'static,
    R: Send + 'static,
    G: JoinResult<K, L, R>,
{
    type Out = Update<K, G::Out>;

    fn item<E: Emit<Self::Out>>(
        &mut self,
        time: Timestamp,
        item: Side<Update<K, L>, Update<K, R>>,
        out: &mut E,
    ) {
        let (key, change) = match item {
            Side::Left(Update { key, change }) => (key, Side::Left(change)),
            Side::Right(Update { key, change }) => (key, Side::Right(change)),
        };
        let mut held = match self.rows.entry(key) {
            Entry::Occupied(held) => held,
            Entry::Vacant(vacant) => vacant.insert_entry((None, None)),
        };
        let row = held.get_mut();
        let had = match row {
            (Some(_), Some(_)) => true,
            (Some(_), None) => G::LEFT,
            (None, Some(_)) => G::RIGHT,
            (None, None) => false,
        };
        let changed = match change {
            Side::Left(Change::Upsert(left)) => {
                row.0 = Some(left);
                true
            }
            Side::Right(Change::Upsert(right)) => {
                row.1 = Some(right);
                true
            }
            Side::Left(Change::Delete) => row.0.take().is_some(),
            Side::Right(Change::Delete) => row.1.take().is_some(),
        };
        let is_gone = row.0.is_none() && row.1.is_none();
        if changed {
            let (key, row) = (held.key(), held.get());
            match row_of(&self.result, key, row) {
                Some(value) => out.emit(time, Update::upsert(key.clone(), value)),
                None if had => out.emit(time, Update::delete(key.clone())),
                None => {}
            }
        }
        if is_gone {
            held.remove();
        }
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        if watermark == Timestamp::MAX {
            self.rows = HashMap::default(); // The input is complete.
        }
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join rows", self.rows.len()));
    }

    unsaved!("table join");
}

impl<K, L, R, G: Clone> Clone for TableJoin<K, L, R, G> {
    /// The same join with nothing in it.
    fn clone(&self) -> Self {
        Self::new(self.result.clone())
    }
}

impl<K, L, R, G> fmt::Debug for TableJoin<K, L, R, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableJoin")
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}
