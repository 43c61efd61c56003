//! Some of the items, to look at or to test with.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, stateless};
use millstream_engine::time::Timestamp;

/// Keeps a share of the items, chosen by the hash of what a function gives of each: the same ones in every run, and of
/// items that give the same all or none.
#[derive(Clone, Debug)]
pub struct Sample<F> {
    by: F,
    /// Hashes below this are kept.
    below: u128,
    hasher: FixedState,
}

impl<F> Sample<F> {
    /// Keeps `fraction` (0 to 1) of what `by` tells apart; another `seed` chooses others.
    pub fn new(fraction: f64, seed: u64, by: F) -> Self {
        // 0 keeps none and 1 all, which no comparison of 64 bits could say.
        let below = (fraction.clamp(0.0, 1.0) * 2f64.powi(64)) as u128;
        Self {
            by,
            below,
            hasher: FixedState::with_seed(seed),
        }
    }
}

impl<In, K, F> Operator<In> for Sample<F>
where
    In: 'static,
    K: Hash,
    F: Fn(&In) -> K + Send + 'static,
{
    type Out = In;

    #[inline]
    fn item<E: Emit<In>>(&mut self, time: Timestamp, item: In, out: &mut E) {
        let hash = self.hasher.hash_one((self.by)(&item));
        if u128::from(hash) < self.below {
            out.emit(time, item);
        }
    }

    stateless!();
}

/// Its kind of state in checkpoints.
const KIND: &str = "sample";

/// Keeps the first of every so many items of its partition.
#[derive(Clone, Copy, Debug)]
pub struct SampleEvery {
    every: u64,
    seen: u64,
}

impl SampleEvery {
    /// Keeps one of `every` items (at least 1).
    pub const fn new(every: u64) -> Self {
        Self { every, seen: 0 }
    }
}

impl<In: 'static> Operator<In> for SampleEvery {
    type Out = In;

    #[inline]
    fn item<E: Emit<In>>(&mut self, time: Timestamp, item: In, out: &mut E) {
        if self.seen == 0 {
            out.emit(time, item);
        }
        self.seen += 1;
        if self.seen >= self.every {
            self.seen = 0;
        }
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        Ok(saving.whole(KIND, &self.seen)?)
    }

    /// Of other partitions than now each counts for one that begins anew.
    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let saved = restoring.whole::<u64>(KIND)?;
        if let (false, Some(&seen)) = (restoring.is_spread_anew(), saved.first()) {
            self.seen = seen;
        }
        Ok(())
    }
}
