//! Join of two tables by key: changes in, changes out.
//!
//! The result is a table too: a row for each key that the kind of the join asks for, changed whenever one of its parts
//! changes, with the time of that change. Changes of one key and side must come in order (from one split, or from a
//! stage keyed alike); then the last change given out for a key is the same however the sides are interleaved, while
//! the ones in between may differ. A deletion is given out only for a row that was there.
//! State: one row per key and side, until it is deleted. Cost: per change one lookup.

use std::fmt;
use std::marker::PhantomData;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Side};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Change, JoinResult, Update};
use crate::maybe;
use crate::table::{Table, in_memory};
use crate::{Key, Savable};

/// Its kind of state in checkpoints.
const KIND: &str = "table join";

/// The two parts of a row; never `None` twice between changes.
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "L: Serialize, R: Serialize",
    deserialize = "L: Deserialize<'de>, R: Deserialize<'de>"
))]
struct Row<L, R> {
    #[serde(with = "maybe")]
    left: Option<L>,
    #[serde(with = "maybe")]
    right: Option<R>,
}

/// Joins the rows of one key.
pub struct TableJoin<K, L, R, G> {
    result: G,
    rows: Table<K, Row<L, R>>,
    items: PhantomData<fn(L, R)>,
}

impl<K, L, R, G> TableJoin<K, L, R, G> {
    /// Gives what `result` makes of the rows of each key.
    pub fn new(result: G) -> Self {
        Self {
            result,
            rows: Table::default(),
            items: PhantomData,
        }
    }
}

fn row_of<K, L, R, G: JoinResult<K, L, R>>(result: &G, key: &K, row: &Row<L, R>) -> Option<G::Out> {
    match (&row.left, &row.right) {
        (Some(left), Some(right)) => Some(result.pair(key, left, right)),
        (Some(left), None) => result.left_alone(key, left),
        (None, Some(right)) => result.right_alone(key, right),
        (None, None) => None,
    }
}

impl<K, L, R, G> Operator<Side<Update<K, L>, Update<K, R>>> for TableJoin<K, L, R, G>
where
    K: Key,
    L: Savable,
    R: Savable,
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
        let empty = || Row {
            left: None,
            right: None,
        };
        let place = self.rows.find_or_insert_with(key, empty);
        let (key, row) = self.rows.at_mut(place);
        let had = match (&row.left, &row.right) {
            (Some(_), Some(_)) => true,
            (Some(_), None) => G::LEFT,
            (None, Some(_)) => G::RIGHT,
            (None, None) => false,
        };
        let changed = match change {
            Side::Left(Change::Upsert(left)) => {
                row.left = Some(left);
                true
            }
            Side::Right(Change::Upsert(right)) => {
                row.right = Some(right);
                true
            }
            Side::Left(Change::Delete) => row.left.take().is_some(),
            Side::Right(Change::Delete) => row.right.take().is_some(),
        };
        let is_gone = row.left.is_none() && row.right.is_none();
        if changed {
            match row_of(&self.result, key, row) {
                Some(value) => out.emit(time, Update::upsert(key.clone(), value)),
                None if had => out.emit(time, Update::delete(key.clone())),
                None => {}
            }
        }
        if is_gone {
            self.rows.remove_at(place);
        }
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        if watermark == Timestamp::MAX {
            self.rows = Table::default(); // The input is complete.
        }
    }

    in_memory!(rows);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join rows", self.rows.len()));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        Ok(self.rows.save(KIND, saving)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        Ok(self.rows.restore(KIND, restoring)?)
    }
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
