//! Join with a side that has one item per key, held for ever.
//!
//! The right side is declared unique, so a left item is done when it has met its partner: it is held only until that
//! comes. A second right item of a key breaks the declaration; it meets what comes after it, as a replacement would.
//! Pairs are stamped with the later of the two times. State: one right item per key, and left items without a partner so
//! far, with no bound but the input's end.
//! Cost: per item one lookup; a left item whose partner is there is neither moved nor held.

use std::fmt;
use std::marker::PhantomData;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Side};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::JoinResult;
use crate::table::{Table, in_memory};
use crate::{Key, Savable};

/// Its kind of state in checkpoints.
const KIND: &str = "unique join";

#[derive(Serialize, Deserialize)]
enum Met<L, R> {
    /// The right item, which all left ones so far have met.
    Right(Timestamp, R),
    /// Left items that wait for it.
    Waiting(SmallVec<[(Timestamp, L); 1]>),
}

/// Joins left items with the one right item of their key.
pub struct UniqueJoin<K, L, R, FL, FR, G> {
    left_key: FL,
    right_key: FR,
    result: G,
    keys: Table<K, Met<L, R>>,
    waiting: usize,
    rights: usize,
    taken: PhantomData<fn(L, R)>,
}

impl<K, L, R, FL, FR, G> UniqueJoin<K, L, R, FL, FR, G> {
    /// Joins by the keys that `left_key` and `right_key` give.
    pub fn new(left_key: FL, right_key: FR, result: G) -> Self {
        Self {
            left_key,
            right_key,
            result,
            keys: Table::default(),
            waiting: 0,
            rights: 0,
            taken: PhantomData,
        }
    }
}

impl<K, L, R, FL, FR, G> Operator<Side<L, R>> for UniqueJoin<K, L, R, FL, FR, G>
where
    K: Key,
    L: Savable,
    R: Savable,
    FL: Fn(&L) -> K + Send + 'static,
    FR: Fn(&R) -> K + Send + 'static,
    G: JoinResult<K, L, R>,
{
    type Out = G::Out;

    #[inline]
    fn item<E: Emit<G::Out>>(&mut self, time: Timestamp, item: Side<L, R>, out: &mut E) {
        match item {
            Side::Left(left) => {
                let key = (self.left_key)(&left);
                let nobody = || Met::Waiting(SmallVec::new());
                let place = self.keys.find_or_insert_with(key, nobody);
                if let (key, Met::Right(at, right)) = self.keys.at(place) {
                    out.emit(time.max(*at), self.result.pair(key, &left, right));
                } else if let (_, Met::Waiting(waiting)) = self.keys.at_mut(place) {
                    self.waiting += 1;
                    waiting.push((time, left));
                }
            }
            Side::Right(right) => {
                let key = (self.right_key)(&right);
                let nobody = || Met::Waiting(SmallVec::new());
                let place = self.keys.find_or_insert_with(key, nobody);
                let (key, met) = self.keys.at_mut(place);
                if let Met::Waiting(waiting) = met {
                    for (at, left) in &*waiting {
                        out.emit(time.max(*at), self.result.pair(key, left, &right));
                    }
                    self.waiting -= waiting.len();
                    self.rights += 1;
                }
                *met = Met::Right(time, right);
            }
        }
    }

    fn watermark<E: Emit<G::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        if watermark == Timestamp::MAX {
            self.keys = Table::default(); // The input is complete.
            (self.waiting, self.rights) = (0, 0);
        }
    }

    in_memory!(keys);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join items", self.waiting + self.rights));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        Ok(self.keys.save(KIND, saving)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        self.keys.restore(KIND, restoring)?;
        self.keys.for_each(|_, met| match met {
            Met::Right(..) => self.rights += 1,
            Met::Waiting(waiting) => self.waiting += waiting.len(),
        });
        Ok(())
    }
}

impl<K, L, R, FL: Clone, FR: Clone, G: Clone> Clone for UniqueJoin<K, L, R, FL, FR, G> {
    /// The same join with nothing in it.
    fn clone(&self) -> Self {
        Self::new(
            self.left_key.clone(),
            self.right_key.clone(),
            self.result.clone(),
        )
    }
}

impl<K, L, R, FL, FR, G> fmt::Debug for UniqueJoin<K, L, R, FL, FR, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UniqueJoin")
            .field("waiting", &self.waiting)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}
