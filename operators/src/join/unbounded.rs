//! Join that holds both sides for ever: each item meets all of its key that came before it, whenever that was.
//!
//! Times and watermarks play no part but for the stamp of a pair, which is the later of the two times. State: every item
//! of both sides, with no bound but the input's end; for a bound in time use the interval join, for one per key
//! [`UniqueJoin`](super::UniqueJoin).
//! Cost: per item one lookup, a push and the pairs; the first item of a key and side lies in the table itself.

use std::fmt;
use std::marker::PhantomData;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Side};
use millstream_engine::time::Timestamp;
use smallvec::SmallVec;

use super::JoinResult;
use crate::table::{Table, in_memory};
use crate::{Key, Savable};

/// Its kind of state in checkpoints.
const KIND: &str = "unbounded join";

type Timed<T> = SmallVec<[(Timestamp, T); 1]>;
type Both<L, R> = (Timed<L>, Timed<R>);

/// Joins all items of one key.
pub struct UnboundedJoin<K, L, R, FL, FR, G> {
    left_key: FL,
    right_key: FR,
    result: G,
    keys: Table<K, Both<L, R>>,
    items: usize,
    taken: PhantomData<fn(L, R)>,
}

impl<K, L, R, FL, FR, G> UnboundedJoin<K, L, R, FL, FR, G> {
    /// Joins by the keys that `left_key` and `right_key` give.
    pub fn new(left_key: FL, right_key: FR, result: G) -> Self {
        Self {
            left_key,
            right_key,
            result,
            keys: Table::default(),
            items: 0,
            taken: PhantomData,
        }
    }
}

impl<K, L, R, FL, FR, G> Operator<Side<L, R>> for UnboundedJoin<K, L, R, FL, FR, G>
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
        self.items += 1;
        match item {
            Side::Left(left) => {
                let key = (self.left_key)(&left);
                let place = self.keys.find_or_insert_with(key, Default::default);
                let (key, (lefts, rights)) = self.keys.at_mut(place);
                for (at, right) in rights.iter() {
                    out.emit(time.max(*at), self.result.pair(key, &left, right));
                }
                lefts.push((time, left));
            }
            Side::Right(right) => {
                let key = (self.right_key)(&right);
                let place = self.keys.find_or_insert_with(key, Default::default);
                let (key, (lefts, rights)) = self.keys.at_mut(place);
                for (at, left) in lefts.iter() {
                    out.emit(time.max(*at), self.result.pair(key, left, &right));
                }
                rights.push((time, right));
            }
        }
    }

    fn watermark<E: Emit<G::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        if watermark == Timestamp::MAX {
            self.keys = Table::default(); // The input is complete.
            self.items = 0;
        }
    }

    in_memory!(keys);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join items", self.items));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        Ok(self.keys.save(KIND, saving)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        self.keys.restore(KIND, restoring)?;
        self.keys
            .for_each(|_, (lefts, rights)| self.items += lefts.len() + rights.len());
        Ok(())
    }
}

impl<K, L, R, FL: Clone, FR: Clone, G: Clone> Clone for UnboundedJoin<K, L, R, FL, FR, G> {
    /// The same join with nothing in it.
    fn clone(&self) -> Self {
        Self::new(
            self.left_key.clone(),
            self.right_key.clone(),
            self.result.clone(),
        )
    }
}

impl<K, L, R, FL, FR, G> fmt::Debug for UnboundedJoin<K, L, R, FL, FR, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnboundedJoin")
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}
