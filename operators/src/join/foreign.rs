//! Join of two tables where a left row names the right row that it belongs to: three operators, an exchange between each.
//!
//! [`ForeignKeys`], where the left table's keys are, knows which foreign key each left row has and tells it to
//! [`ForeignJoin`], where the right table's keys are; [`Settle`], where the left table's keys are again, puts the
//! answers in order: a row whose foreign key changed is answered from two partitions, and the older answer may come
//! last. References are numbered for that. The last change given out for a key is the same however things are
//! interleaved; in between, an answer that is overtaken by a deletion may show for a moment.
//! State: the foreign key of each left row; each left row and each right row; the number of each result. All until
//! the row is deleted. Cost: per left change three lookups and two exchanges; per right change one visit of each left row
//! that names it.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use millstream_engine::flow::{Emit, Operator, Side};
use millstream_engine::time::Timestamp;

use super::{Change, JoinResult, Update};

/// What a left row tells the partition of its foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference<K, FK, L> {
    /// Of the left row.
    pub key: K,
    /// The foreign key that it has, or had.
    pub foreign: FK,
    /// Grows with each change of the left row.
    pub number: u64,
    /// The row, or that it no longer names this foreign key.
    pub change: Change<L>,
}

/// A result on its way to where results of its key are put in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settling<K, U> {
    /// Of the left row.
    pub key: K,
    /// Of the reference that it answers.
    pub number: u64,
    /// The result, or that there is none any more for this reference.
    pub change: Change<U>,
}

/// Knows the foreign key of each left row.
pub struct ForeignKeys<K, FK, L, F> {
    foreign: F,
    keys: HashMap<K, (FK, u64), FixedState>,
    number: u64,
    rows: PhantomData<fn(L)>,
}

impl<K, FK, L, F> ForeignKeys<K, FK, L, F> {
    /// `foreign` gives the foreign key of a row.
    pub fn new(foreign: F) -> Self {
        Self {
            foreign,
            keys: HashMap::default(),
            number: 0,
            rows: PhantomData,
        }
    }
}

impl<K, FK, L, F> Operator<Update<K, L>> for ForeignKeys<K, FK, L, F>
where
    K: Hash + Eq + Clone + Send + 'static,
    FK: Eq + Clone + Send + 'static,
    L: 'static,
    F: Fn(&L) -> FK + Send + 'static,
{
    type Out = Reference<K, FK, L>;

    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: Update<K, L>, out: &mut E) {
        let Update { key, change } = item;
        let removal = |key, (foreign, number)| Reference {
            key,
            foreign,
            number,
            change: Change::Delete,
        };
        match change {
            Change::Upsert(row) => {
                // One counter for all keys: a key that is deleted and comes again goes on after its old numbers.
                self.number += 1;
                let (foreign, number) = ((self.foreign)(&row), self.number);
                let before = self.keys.insert(key.clone(), (foreign.clone(), number));
                if let Some(before) = before.filter(|(before, _)| *before != foreign) {
                    out.emit(time, removal(key.clone(), before));
                }
                let change = Change::Upsert(row);
                let reference = Reference {
                    key,
                    foreign,
                    number,
                    change,
                };
                out.emit(time, reference);
            }
            Change::Delete => {
                if let Some(before) = self.keys.remove(&key) {
                    out.emit(time, removal(key, before));
                }
            }
        }
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        if watermark == Timestamp::MAX {
            self.keys = HashMap::default(); // The input is complete.
        }
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("foreign keys", self.keys.len()));
    }
}

/// A right row and the left rows that name it.
struct Named<K, L, R> {
    right: Option<R>,
    lefts: HashMap<K, (u64, L), FixedState>,
}

/// Joins left rows with the right row that they name.
pub struct ForeignJoin<K, FK, L, R, G> {
    result: G,
    rows: HashMap<FK, Named<K, L, R>, FixedState>,
    items: usize,
    keys: PhantomData<fn(K)>,
}

impl<K, FK, L, R, G> ForeignJoin<K, FK, L, R, G> {
    /// Gives what `result` makes of a left row's key, the row and the right row.
    pub fn new(result: G) -> Self {
        Self {
            result,
            rows: HashMap::default(),
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
    K: Hash + Eq + Clone + Send + 'static,
    FK: Hash + Eq + Clone + Send + 'static,
    L: Send + 'static,
    R: Send + 'static,
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
        let mut held = match self.rows.entry(foreign) {
            Entry::Occupied(held) => held,
            Entry::Vacant(vacant) => vacant.insert_entry(Named {
                right: None,
                lefts: HashMap::default(),
            }),
        };
        let named = held.get_mut();
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
            held.remove();
        }
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        if watermark == Timestamp::MAX {
            self.rows = HashMap::default(); // The input is complete.
            self.items = 0;
        }
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join rows", self.items));
    }
}

/// Puts the results of each left key in order.
pub struct Settle<K> {
    /// Number of the result that was given out last, for keys that have one.
    given: HashMap<K, u64, FixedState>,
}

impl<K> Settle<K> {
    /// Nothing given out yet.
    pub fn new() -> Self {
        Self {
            given: HashMap::default(),
        }
    }
}

impl<K> Default for Settle<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, U> Operator<Settling<K, U>> for Settle<K>
where
    K: Hash + Eq + Clone + Send + 'static,
    U: 'static,
{
    type Out = Update<K, U>;

    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: Settling<K, U>, out: &mut E) {
        let Settling {
            key,
            number,
            change,
        } = item;
        let given = self.given.get(&key).copied();
        if given.is_some_and(|given| given > number) {
            return; // Another partition has answered a later reference.
        }
        match &change {
            Change::Upsert(_) => {
                self.given.insert(key.clone(), number);
            }
            Change::Delete if given.is_none() => return,
            Change::Delete => {
                self.given.remove(&key);
            }
        }
        out.emit(time, Update { key, change });
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        if watermark == Timestamp::MAX {
            self.given = HashMap::default(); // The input is complete.
        }
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join results", self.given.len()));
    }
}

impl<K, FK, L, F: Clone> Clone for ForeignKeys<K, FK, L, F> {
    /// The same with nothing in it.
    fn clone(&self) -> Self {
        Self::new(self.foreign.clone())
    }
}

impl<K, FK, L, R, G: Clone> Clone for ForeignJoin<K, FK, L, R, G> {
    /// The same with nothing in it.
    fn clone(&self) -> Self {
        Self::new(self.result.clone())
    }
}

impl<K> Clone for Settle<K> {
    /// The same with nothing in it.
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<K, FK, L, F> fmt::Debug for ForeignKeys<K, FK, L, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignKeys")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl<K, FK, L, R, G> fmt::Debug for ForeignJoin<K, FK, L, R, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignJoin")
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for Settle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle")
            .field("given", &self.given.len())
            .finish()
    }
}
