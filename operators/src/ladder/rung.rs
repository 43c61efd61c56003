//! Buckets that one bucket was divided into.

use super::Ranked;
use super::bucket::{Bucket, Retained};
use super::memory::Spilling;

/// Bits of a rank that tell the buckets of a rung apart.
const BITS: u32 = 6;
/// As many as the bits of the word that says which have anything.
pub(super) const BUCKETS: usize = 1 << BITS;

pub(super) struct Rung<T> {
    /// The lowest rank of the first bucket.
    start: u128,
    /// Each bucket is for `1 << shift` ranks, and the last one for all that are behind them, too.
    shift: u32,
    /// Buckets that were opened, and those before them.
    opened: usize,
    /// A bit for each bucket that has anything.
    filled: u64,
    buckets: Vec<Bucket<T>>,
}

impl<T> Rung<T> {
    /// For ranks from `first` to `last`, which is above it.
    pub(super) fn new(first: u128, last: u128) -> Self {
        let bits = u128::BITS - (last - first).leading_zeros();
        Self {
            start: first,
            shift: bits.saturating_sub(BITS),
            opened: 0,
            filled: 0,
            buckets: std::iter::repeat_with(Bucket::new).take(BUCKETS).collect(),
        }
    }

    /// The bucket of a rank, unless that one was opened.
    #[inline]
    pub(super) fn number_of(&self, rank: u128) -> Option<usize> {
        let above = rank.checked_sub(self.start)? >> self.shift;
        let number = above.min(BUCKETS as u128 - 1) as usize;
        (number >= self.opened).then_some(number)
    }

    /// The first bucket that has anything.
    #[inline]
    pub(super) fn first(&self) -> Option<(usize, &Bucket<T>)> {
        let number = self.filled.trailing_zeros() as usize;
        self.buckets.get(number).map(|bucket| (number, bucket))
    }

    /// Takes a bucket; what comes for it, or one before it, has no place in this rung any more.
    pub(super) fn open(&mut self, number: usize) -> Bucket<T> {
        self.opened = number + 1;
        self.filled &= !(1 << number);
        std::mem::replace(&mut self.buckets[number], Bucket::new())
    }

    /// Whether all buckets were opened.
    pub(super) const fn is_over(&self) -> bool {
        self.opened == BUCKETS
    }

    pub(super) fn buckets_mut(&mut self) -> &mut [Bucket<T>] {
        &mut self.buckets
    }

    /// Entries in all of its buckets.
    pub(super) fn len(&self) -> usize {
        self.buckets.iter().map(Bucket::len).sum()
    }

    pub(super) fn into_buckets(self) -> Vec<Bucket<T>> {
        self.buckets
    }

    /// Bytes of a rung without its entries.
    pub(super) const fn bytes() -> usize {
        BUCKETS * size_of::<Bucket<T>>()
    }
}

impl<T: Ranked> Rung<T> {
    #[inline]
    pub(super) fn push(&mut self, number: usize, rank: u128, entry: T) {
        self.filled |= 1 << number;
        self.buckets[number].push(rank, entry);
    }

    /// The same as [`Bucket::retain`] for a bucket and a chunk of it.
    pub(super) fn retain(
        &mut self,
        (number, from): (usize, usize),
        left: &mut usize,
        spilling: Option<&mut Spilling<T>>,
        is_kept: impl FnMut(&T) -> bool,
    ) -> Retained {
        let bucket = &mut self.buckets[number];
        let retained = bucket.retain(from, left, spilling, is_kept);
        if bucket.is_empty() {
            self.filled &= !(1 << number);
        }
        retained
    }
}
