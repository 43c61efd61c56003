//! To which partition of the next stage an item goes.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use crate::time::Timestamp;

/// Differs from the seed of the tables behind the exchange, whose keys would otherwise share bits.
const SEED: u64 = 0x6d69_6c6c_7374_7265;

/// The hash by which an exchange spreads keys. Not part of any stored format: a checkpoint only notes whether it was the
/// same one.
#[inline(always)]
pub fn exchange_hash<K: Hash>(key: &K) -> u64 {
    FixedState::with_seed(SEED).hash_one(key)
}

/// To which of `targets` partitions a key of this hash belongs.
#[inline(always)]
pub fn target_of(hash: u64, targets: usize) -> usize {
    // The high bits, scaled: no division, and any number of targets.
    ((u128::from(hash) * targets as u128) >> 64) as usize
}

/// Chooses the targets of each item.
pub trait Route<T>: Clone + Send + 'static {
    /// Whether partition n sends only to partition n.
    const ONE_TO_ONE: bool = false;

    /// Gives `item` to `push` with the number of each target, out of `0..targets`.
    fn route(
        &mut self,
        time: Timestamp,
        item: T,
        targets: usize,
        push: impl FnMut(usize, Timestamp, T),
    );
}

/// To the partition of the same number.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forward;

impl<T> Route<T> for Forward {
    const ONE_TO_ONE: bool = true;

    #[inline(always)]
    fn route(
        &mut self,
        time: Timestamp,
        item: T,
        _targets: usize,
        mut push: impl FnMut(usize, Timestamp, T),
    ) {
        push(0, time, item);
    }
}

/// To the partition that owns the item's key.
#[derive(Debug, Clone, Copy)]
pub struct ByKey<F> {
    key: F,
}

impl<F> ByKey<F> {
    /// Routes by what `key` gives.
    pub const fn new(key: F) -> Self {
        Self { key }
    }
}

impl<T, K: Hash, F: Fn(&T) -> K + Clone + Send + 'static> Route<T> for ByKey<F> {
    #[inline(always)]
    fn route(
        &mut self,
        time: Timestamp,
        item: T,
        targets: usize,
        mut push: impl FnMut(usize, Timestamp, T),
    ) {
        let hash = exchange_hash(&(self.key)(&item));
        push(target_of(hash, targets), time, item);
    }
}

/// To all partitions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Broadcast;

impl<T: Clone> Route<T> for Broadcast {
    fn route(
        &mut self,
        time: Timestamp,
        item: T,
        targets: usize,
        mut push: impl FnMut(usize, Timestamp, T),
    ) {
        for at in 1..targets {
            push(at, time, item.clone());
        }
        push(0, time, item);
    }
}

/// To one partition after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rebalance {
    next: usize,
}

impl<T> Route<T> for Rebalance {
    #[inline]
    fn route(
        &mut self,
        time: Timestamp,
        item: T,
        targets: usize,
        mut push: impl FnMut(usize, Timestamp, T),
    ) {
        self.next = if self.next + 1 >= targets {
            0
        } else {
            self.next + 1
        };
        push(self.next, time, item);
    }
}
