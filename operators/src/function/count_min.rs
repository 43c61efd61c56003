//! A count-min sketch: how often each of many keys came, never too low, in bounded space.
//!
//! Place: below `heavy_hitters`. From G. Cormode and S. Muthukrishnan (Journal of Algorithms 55(1), 2005). Counters are
//! raised in all rows alike (not conservatively), so that the table is a sum: the same for every order and merging.
//! Cost: rows times width counters of 8 bytes.

use serde::{Deserialize, Serialize};

/// Rows of the table. An estimate is beyond its bound only if that happens in every row: e^-5, 0.7 %, or less.
const ROWS: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CountMin {
    /// Row after row; a row's length is a power of two.
    counters: Vec<u64>,
}

impl CountMin {
    /// A table whose estimates are too high by at most `error` of all counts, nearly always.
    pub(super) fn new(error: f64) -> Self {
        let width = (std::f64::consts::E / error).ceil() as usize;
        Self {
            counters: vec![0; ROWS * width.next_power_of_two()],
        }
    }

    /// Raises the count of a key by `by` and gives its estimate.
    pub(super) fn add(&mut self, hash: u64, by: u64) -> u64 {
        let width = self.counters.len() / ROWS;
        let mut least = u64::MAX;
        for (row, counters) in self.counters.chunks_exact_mut(width).enumerate() {
            let counter = &mut counters[column(hash, row, width)];
            *counter += by;
            least = least.min(*counter);
        }
        least
    }

    /// At least the true count of a key.
    pub(super) fn estimate(&self, hash: u64) -> u64 {
        let width = self.counters.len() / ROWS;
        self.counters
            .chunks_exact(width)
            .enumerate()
            .map(|(row, counters)| counters[column(hash, row, width)])
            .min()
            .unwrap_or(0)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        assert_eq!(
            self.counters.len(),
            other.counters.len(),
            "sketches of one function have one size"
        );
        for (mine, theirs) in self.counters.iter_mut().zip(&other.counters) {
            *mine += theirs;
        }
    }
}

/// The counter of a key in one row: the hash mixed anew with the row's number (the finalizer of SplitMix64).
fn column(hash: u64, row: usize, width: usize) -> usize {
    let mut mixed = hash.wrapping_add((row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ mixed >> 31) as usize & (width - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::function::StableHash;

    /// Goal: never below the truth, above it by more than the bound for at most 0.7 % of keys, and a merged
    /// table is the table of everything. Method: 5,000 keys, each coming up to 96 times, in a table far too small.
    #[test]
    fn estimates_keep_their_bounds() {
        let error = 0.002;
        let mut whole = CountMin::new(error);
        let mut parts = [CountMin::new(error), CountMin::new(error)];
        let truth: BTreeMap<u64, u64> = (1..=5_000).map(|key| (key, key % 97)).collect();
        for (key, count) in &truth {
            whole.add(key.stable_hash(), *count);
            parts[(key % 2) as usize].add(key.stable_hash(), *count);
        }
        let [mut merged, odd] = parts;
        merged.merge(&odd);
        assert_eq!(merged, whole);
        let total: u64 = truth.values().sum();
        let mut beyond = 0;
        for (key, count) in &truth {
            let found = whole.estimate(key.stable_hash());
            assert!(found >= *count, "{found} of {count}");
            beyond += u32::from(found as f64 > *count as f64 + error * total as f64);
        }
        assert!(beyond <= 35, "{beyond} of 5,000 keys are beyond the bound");
    }
}
