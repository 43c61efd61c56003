//! The most frequent keys, approximately, in bounded space.
//!
//! A count-min sketch says how often a key came; a short list holds the keys worth asking it about. Few keys are counted
//! exactly, without a sketch. Invariants: (1) counts are never too low; (2) a key whose share of all items is above
//! 1 / (2 · limit) + error is on the list, as surely as the sketch keeps its bound: when it last came its estimate was at least its count, and that so many other
//! keys had estimates as high would need more items than there were. Merging keeps (2), as such a key is above that share
//! on one of the two sides. Keys below it may be listed or not, depending on arrival.
//! Cost: up to 4 · limit keys counted exactly, then 2 · limit keys and 5 · e / error counters of 8 bytes (rounded up to
//! a power of two per row): 0.01 takes 20 KiB, 0.001 takes 160 KiB.

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::count_min::CountMin;
use super::{Adapt, AggregateFunction, StableHash, Stored};

/// Finds frequent keys; see [`heavy_hitters`].
#[derive(Debug, Clone, Copy)]
pub struct HeavyHitters<F> {
    limit: usize,
    error: f64,
    key: F,
}

/// What [`heavy_hitters`] keeps: an exact count of few keys, or a sketch and a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frequencies<K> {
    /// All keys, or those worth asking the sketch about, ascending, with their counts as last seen.
    listed: Vec<(K, u64)>,
    sketch: Option<CountMin>,
    /// With a sketch and a full list: the least count on it.
    floor: u64,
}

/// The `limit` keys that came most often, with their counts, most frequent first, of equal counts the lesser key. Merges.
///
/// Exact while there are no more than 4 · `limit` different keys. After that a count is never too low, and too high by
/// at most `error` (0.001 = one item in a thousand) of all items with a probability of 99.3 % per key; every key with a
/// share of items above 1 / (2 · `limit`) + `error` is considered. The counts do not depend on arrival; which keys below
/// that share fill the end of the list may.
///
/// # Panics
/// When `limit` is 0 or `error` is not within 0.00001 to 0.5.
pub fn heavy_hitters<T, K: StableHash, F>(limit: usize, error: f64, key: F) -> HeavyHitters<F>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    assert!(limit > 0, "heavy hitters need a place for at least one key");
    assert!(
        (0.000_01..=0.5).contains(&error),
        "the error of heavy hitters is 0.00001 to 0.5, not {error}"
    );
    HeavyHitters { limit, error, key }
}

impl<F> HeavyHitters<F> {
    /// Takes in a key that came `by` times.
    fn count<K: Stored + Ord + StableHash>(&self, into: &mut Frequencies<K>, key: K, by: u64) {
        let Some(sketch) = &mut into.sketch else {
            match into.listed.binary_search_by(|kept| kept.0.cmp(&key)) {
                Ok(slot) => into.listed[slot].1 += by,
                Err(slot) => {
                    into.listed.insert(slot, (key, by));
                    if into.listed.len() > 4 * self.limit {
                        self.begin_sketch(into);
                    }
                }
            }
            return;
        };
        let estimate = sketch.add(key.stable_hash(), by);
        self.consider(into, key, estimate);
    }

    /// Goes from exact counts to a sketch of them.
    fn begin_sketch<K: Stored + Ord + StableHash>(&self, frequencies: &mut Frequencies<K>) {
        let mut sketch = CountMin::new(self.error);
        for (key, count) in &frequencies.listed {
            sketch.add(key.stable_hash(), *count);
        }
        frequencies.sketch = Some(sketch);
        self.relist(frequencies, Vec::new());
    }

    /// Puts a key with this estimate on the list if it belongs there.
    fn consider<K: Stored + Ord>(&self, into: &mut Frequencies<K>, key: K, estimate: u64) {
        let full = into.listed.len() >= 2 * self.limit;
        // Nearly all rare keys end here, without a search.
        if full && estimate < into.floor {
            return;
        }
        let slot = match into.listed.binary_search_by(|kept| kept.0.cmp(&key)) {
            Ok(slot) => {
                let before = std::mem::replace(&mut into.listed[slot].1, estimate);
                if full && before == into.floor {
                    into.floor = floor(&into.listed);
                }
                return;
            }
            Err(slot) => slot,
        };
        if !full {
            into.listed.insert(slot, (key, estimate));
        } else if estimate > into.floor {
            into.listed.insert(slot, (key, estimate));
            let least = into.listed.iter().position(|kept| kept.1 == into.floor);
            into.listed
                .remove(least.expect("the floor is the count of a listed key"));
        } else {
            return;
        }
        into.floor = floor(&into.listed);
    }

    /// Asks the sketch about the listed keys and `more` again, and lists the most frequent of them.
    fn relist<K: Stored + Ord + StableHash>(
        &self,
        frequencies: &mut Frequencies<K>,
        more: Vec<(K, u64)>,
    ) {
        let Some(sketch) = &frequencies.sketch else {
            return;
        };
        let listed = &mut frequencies.listed;
        listed.extend(more);
        listed.sort_unstable();
        listed.dedup_by(|next, kept| next.0 == kept.0);
        for (key, count) in &mut *listed {
            *count = sketch.estimate(key.stable_hash());
        }
        listed.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        listed.truncate(2 * self.limit);
        listed.sort_unstable();
        frequencies.floor = floor(listed);
    }
}

fn floor<K>(listed: &[(K, u64)]) -> u64 {
    listed.iter().map(|kept| kept.1).min().unwrap_or(0)
}

impl<F> Adapt for HeavyHitters<F> {}

impl<T, K, F> AggregateFunction<T> for HeavyHitters<F>
where
    K: Stored + Ord + StableHash,
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    type Accumulator = Frequencies<K>;
    type Output = Vec<(K, u64)>;
    const MERGES: bool = true;

    fn parameters(&self) -> String {
        let Self { limit, error, .. } = self;
        format!("the {limit} most frequent keys within {error}")
    }

    fn create(&self) -> Frequencies<K> {
        Frequencies {
            listed: Vec::new(),
            sketch: None,
            floor: 0,
        }
    }

    fn add(&self, accumulator: &mut Frequencies<K>, _time: Timestamp, item: &T) {
        self.count(accumulator, (self.key)(item), 1);
    }

    fn merge(&self, accumulator: &mut Frequencies<K>, other: &Frequencies<K>) {
        let Some(theirs) = &other.sketch else {
            for (key, count) in &other.listed {
                self.count(accumulator, key.clone(), *count);
            }
            return;
        };
        if accumulator.sketch.is_none() {
            // Exact counts go into the sketch, whichever side they are on.
            let exact = std::mem::replace(accumulator, other.clone());
            for (key, count) in exact.listed {
                self.count(accumulator, key, count);
            }
            return;
        }
        if let Some(mine) = &mut accumulator.sketch {
            mine.merge(theirs);
        }
        self.relist(accumulator, other.listed.clone());
    }

    fn finish(&self, accumulator: &Frequencies<K>) -> Vec<(K, u64)> {
        let mut found = accumulator.listed.clone();
        if let Some(sketch) = &accumulator.sketch {
            for (key, count) in &mut found {
                *count = sketch.estimate(key.stable_hash());
            }
        }
        found.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        found.truncate(self.limit);
        found
    }
}
