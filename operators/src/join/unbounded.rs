//! Join that holds both sides for ever: each item meets all of its key that came before it, whenever that was.
//!
//! Times and watermarks play no part but for the stamp of a pair, which is the later of the two times. State: every item
//! of both sides, with no bound but the input's end; for a bound in time use the interval join, for one per key
//! [`UniqueJoin`](super::UniqueJoin).
//! Cost: per item one lookup, a push and the pairs; the first item of a key and side lies in the table itself.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::{Entry, OccupiedEntry};
use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Side};
use millstream_engine::time::Timestamp;
use smallvec::SmallVec;

use super::JoinResult;
use crate::{Key, Savable};

/// Its kind of state in checkpoints.
const KIND: &str = "unbounded join";

type Timed<T> = SmallVec<[(Timestamp, T); 1]>;
type Both<L, R> = (Timed<L>, Timed<R>);

/// The entry with its key, made if it was vacant.
#[inline(always)]
fn occupied<K: Hash + Eq, L, R>(
    entry: Entry<'_, K, Both<L, R>, FixedState>,
) -> OccupiedEntry<'_, K, Both<L, R>, FixedState> {
    match entry {
        Entry::Occupied(occupied) => occupied,
        Entry::Vacant(vacant) => vacant.insert_entry((SmallVec::new(), SmallVec::new())),
    }
}

/// Joins all items of one key.
pub struct UnboundedJoin<K, L, R, FL, FR, G> {
    left_key: FL,
    right_key: FR,
    result: G,
    keys: HashMap<K, Both<L, R>, FixedState>,
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
            keys: HashMap::default(),
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
                let mut held = occupied(self.keys.entry((self.left_key)(&left)));
                for (at, right) in &held.get().1 {
                    out.emit(time.max(*at), self.result.pair(held.key(), &left, right));
                }
                held.get_mut().0.push((time, left));
            }
            Side::Right(right) => {
                let mut held = occupied(self.keys.entry((self.right_key)(&right)));
                for (at, left) in &held.get().0 {
                    out.emit(time.max(*at), self.result.pair(held.key(), left, &right));
                }
                held.get_mut().1.push((time, right));
            }
        }
    }

    fn watermark<E: Emit<G::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        if watermark == Timestamp::MAX {
            self.keys = HashMap::default(); // The input is complete.
            self.items = 0;
        }
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join items", self.items));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        Ok(saving.whole(KIND, &self.keys)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        type Stored<K, L, R> = HashMap<K, Both<L, R>, FixedState>;
        for saved in restoring.whole::<Stored<K, L, R>>(KIND)? {
            let own = saved.into_iter();
            for (key, both) in own.filter(|(key, _)| restoring.owns(key)) {
                self.items += both.0.len() + both.1.len();
                self.keys.insert(key, both);
            }
        }
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
