//! Where the right table's keys are: its rows, and the left rows that name them.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Side};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Reference, Settling};
use crate::join::{Change, JoinResult, Update};
use crate::maybe;
use crate::table::{Table, in_memory};
use crate::{Key, Savable};

/// Its kind of state in checkpoints.
const KIND: &str = "foreign join";

/// A right row and the left rows that name it.
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Hash + Eq + Serialize, L: Serialize, R: Serialize",
    deserialize = "K: Hash + Eq + Deserialize<'de>, L: Deserialize<'de>, R: Deserialize<'de>"
))]
struct Named<K, L, R> {
    #[serde(with = "maybe")]
    right: Option<R>,
    lefts: HashMap<K, (u64, L), FixedState>,
}

/// Joins left rows with the right row that they name.
pub struct ForeignJoin<K, FK, L, R, G> {
    result: G,
    rows: Table<FK, Named<K, L, R>>,
    items: usize,
    keys: PhantomData<fn(K)>,
}

impl<K, FK, L, R, G> ForeignJoin<K, FK, L, R, G> {
    /// Gives what `result` makes of a left row's key, the row and the right row.
    pub fn new(result: G) -> Self {
        Self {
            result,
            rows: Table::default(),
            items: 0,
            keys: PhantomData,
        }
    }
}

impl<K, L, R> Named<K, L, R> {
    fn result<G: JoinResult<K, L, R>>(&self, result: &G, key: &K, left: &L) -> Option<G::Out> {
        match &self.right {
            Some(right) => Some(result.pair(key, left, right)),
            None => result.left_alone(key, left),
        }
    }

    fn len(&self) -> usize {
        self.lefts.len() + usize::from(self.right.is_some())
    }

    /// A left row came, changed or went; gives what is to be told.
    fn refer<G, FK>(
        &mut self,
        result: &G,
        reference: Reference<K, FK, L>,
    ) -> Option<Settling<K, G::Out>>
    where
        K: Hash + Eq + Clone,
        G: JoinResult<K, L, R>,
    {
        let Reference {
            key,
            number,
            change,
            ..
        } = reference;
        let change = match change {
            Change::Upsert(left) => {
                let value = self.result(result, &key, &left);
                self.lefts.insert(key.clone(), (number, left));
                Change::Upsert(value?)
            }
            Change::Delete => {
                self.lefts.remove(&key)?;
                (G::LEFT || self.right.is_some()).then_some(Change::Delete)?
            }
        };
        Some(Settling {
            key,
            number,
            change,
        })
    }

    /// The right row came, changed or went.
    fn change<G: JoinResult<K, L, R>>(
        &mut self,
        result: &G,
        change: Change<R>,
        mut tell: impl FnMut(Settling<K, G::Out>),
    ) where
        K: Clone,
    {
        let had = self.right.is_some();
        self.right = match change {
            Change::Upsert(right) => Some(right),
            Change::Delete if !had => return,
            Change::Delete => None,
        };
        for (key, (number, left)) in &self.lefts {
            let change = match self.result(result, key, left) {
                Some(value) => Change::Upsert(value),
                None => Change::Delete,
            };
            tell(Settling {
                key: key.clone(),
                number: *number,
                change,
            });
        }
    }
}

impl<K, FK, L, R, G> Operator<Side<Reference<K, FK, L>, Update<FK, R>>>
    for ForeignJoin<K, FK, L, R, G>
where
    K: Key,
    FK: Key,
    L: Savable,
    R: Savable,
    G: JoinResult<K, L, R>,
{
    type Out = Settling<K, G::Out>;

    fn item<E: Emit<Self::Out>>(
        &mut self,
        time: Timestamp,
        item: Side<Reference<K, FK, L>, Update<FK, R>>,
        out: &mut E,
    ) {
        let foreign = match &item {
            Side::Left(reference) => reference.foreign.clone(),
            Side::Right(update) => update.key.clone(),
        };
        let nobody = || Named {
            right: None,
            lefts: HashMap::default(),
        };
        let place = self.rows.find_or_insert_with(foreign, nobody);
        let named = self.rows.at_mut(place).1;
        let before = named.len();
        match item {
            Side::Left(reference) => {
                if let Some(told) = named.refer(&self.result, reference) {
                    out.emit(time, told);
                }
            }
            Side::Right(update) => {
                named.change(&self.result, update.change, |told| out.emit(time, told));
            }
        }
        self.items = self.items + named.len() - before;
        if named.len() == 0 {
            self.rows.remove_at(place);
        }
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        if watermark == Timestamp::MAX {
            self.rows = Table::default(); // The input is complete.
            self.items = 0;
        }
    }

    in_memory!(rows);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join rows", self.items));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        Ok(self.rows.save(KIND, saving)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        self.rows.restore(KIND, restoring)?;
        self.rows.for_each(|_, named| self.items += named.len());
        Ok(())
    }
}

impl<K, FK, L, R, G: Clone> Clone for ForeignJoin<K, FK, L, R, G> {
    /// The same with nothing in it.
    fn clone(&self) -> Self {
        Self::new(self.result.clone())
    }
}

impl<K, FK, L, R, G> fmt::Debug for ForeignJoin<K, FK, L, R, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignJoin")
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}
