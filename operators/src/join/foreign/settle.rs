//! Where the left table's keys are again: results in order.

use std::fmt;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator};
use millstream_engine::time::Timestamp;

use super::Settling;
use crate::Key;
use crate::join::{Change, Update};
use crate::table::{Table, in_memory};

/// Its kind of state in checkpoints.
const KIND: &str = "foreign results";

/// Puts the results of each left key in order.
pub struct Settle<K> {
    /// Number of the result that was given out last, for keys that have one.
    given: Table<K, u64>,
}

impl<K> Settle<K> {
    /// Nothing given out yet.
    pub fn new() -> Self {
        Self {
            given: Table::default(),
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
    K: Key,
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
            self.given = Table::default(); // The input is complete.
        }
    }

    in_memory!(given);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join results", self.given.len()));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        Ok(self.given.save(KIND, saving)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        Ok(self.given.restore(KIND, restoring)?)
    }
}

impl<K> Clone for Settle<K> {
    /// The same with nothing in it.
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for Settle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle")
            .field("given", &self.given.len())
            .finish()
    }
}
