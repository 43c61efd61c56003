//! Where the left table's keys are: which foreign key each row has.

use std::fmt;
use std::marker::PhantomData;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator};
use millstream_engine::time::Timestamp;

use super::Reference;
use crate::Key;
use crate::join::{Change, Update};
use crate::table::{Table, in_memory};

/// Its kinds of state in checkpoints.
const KIND: &str = "foreign keys";
const NUMBER: &str = "number of the last foreign key";

/// Knows the foreign key of each left row.
pub struct ForeignKeys<K, FK, L, F> {
    foreign: F,
    keys: Table<K, (FK, u64)>,
    number: u64,
    rows: PhantomData<fn(L)>,
}

impl<K, FK, L, F> ForeignKeys<K, FK, L, F> {
    /// `foreign` gives the foreign key of a row.
    pub fn new(foreign: F) -> Self {
        Self {
            foreign,
            keys: Table::default(),
            number: 0,
            rows: PhantomData,
        }
    }
}

impl<K, FK, L, F> Operator<Update<K, L>> for ForeignKeys<K, FK, L, F>
where
    K: Key,
    FK: Key,
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
            self.keys = Table::default(); // The input is complete.
        }
    }

    in_memory!(keys);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("foreign keys", self.keys.len()));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        self.keys.save(KIND, saving)?;
        Ok(saving.whole(NUMBER, &self.number)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        self.keys.restore(KIND, restoring)?;
        // A key goes on after its old numbers, whoever gave them.
        let numbers = restoring.whole::<u64>(NUMBER)?;
        self.number = numbers.into_iter().max().unwrap_or(0);
        Ok(())
    }
}

impl<K, FK, L, F: Clone> Clone for ForeignKeys<K, FK, L, F> {
    /// The same with nothing in it.
    fn clone(&self) -> Self {
        Self::new(self.foreign.clone())
    }
}

impl<K, FK, L, F> fmt::Debug for ForeignKeys<K, FK, L, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignKeys")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}
