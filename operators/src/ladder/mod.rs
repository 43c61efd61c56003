//! Entries in the order of their ranks, as those of a heap, but in buckets: a ladder queue.
//!
//! What is far off lies unsorted: behind everything on the top, below it in rungs of 64 buckets, each rung made of one
//! bucket of the one above. A bucket that is due is divided into a rung if it is large, and sorted if it is small; what
//! still comes for a time before all buckets goes to a heap, which becomes a rung when it grows. So widths follow from what
//! there is and need not be known, and all that happens to one entry is that it is moved a few times and takes part in one
//! sort of a few hundred. After Tang, Goh, Thng, "Ladder queue: an O(1) priority queue structure for large-scale discrete
//! event simulation", 2005.
//!
//! Invariants: (1) what is sorted and the heap come before the buckets of each rung, those of a rung before those of the rung
//! above it, and all before the top; (2) no rank that is pushed from then on falls behind a bucket that was opened.
//! Of several entries with the same rank any is given first.
//! Cost: per entry a move per rung, of which there are as many as the base-64 logarithm of how many entries lie together; a
//! heap of all would miss the cache at each level. 6 kB per rung.
//! In checkpoints: nothing. Whoever has a ladder fills it again from what it knows.

mod bucket;
mod memory;
mod rung;
mod sweep;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use bucket::Bucket;
pub(crate) use bucket::CHUNK;
use memory::Spilling;
use rung::Rung;

/// Entries that are sorted rather than divided, and that the heap may have: what lies in the processor's nearest caches.
const SORTED_MAX: usize = if cfg!(test) { 4 } else { 1024 };
/// More than the depth of a ladder whose entries lie as unevenly as they can: 128 bits of 6 each. There are more only where
/// entries come for ever earlier times.
const RUNGS_MAX: usize = 24;
/// As many of them may be made of the heap: the others are for buckets that are due.
const NEAR_RUNGS_MAX: usize = 16;

/// What is queued.
pub(crate) trait Ranked {
    /// Its place in the order; always the same.
    fn rank(&self) -> u128;
}

/// By time, and by number where times are equal.
#[inline(always)]
pub(crate) const fn rank(time: i64, number: u64) -> u128 {
    let time = time.cast_unsigned() ^ (1 << 63);
    ((time as u128) << 64) | number as u128
}

/// The time of a rank.
const fn time_of(rank: u128) -> i64 {
    (((rank >> 64) as u64) ^ (1 << 63)).cast_signed()
}

/// An entry of the heap, which gives the greatest first.
struct Near<T>(T);

impl<T: Ranked> Ord for Near<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.rank().cmp(&self.0.rank())
    }
}

impl<T: Ranked> PartialOrd for Near<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ranked> PartialEq for Near<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ranked> Eq for Near<T> {}

/// Entries by rank.
pub(crate) struct Ladder<T> {
    top: Bucket<T>,
    /// Ranks from here on go to the top.
    top_from: u128,
    /// The outermost first, and so the latest.
    rungs: Vec<Rung<T>>,
    /// The earliest last.
    sorted: Vec<T>,
    near: BinaryHeap<Near<T>>,
    /// The greatest rank that came to the heap since it was empty.
    near_last: u128,
    len: usize,
    /// No entry has a lower rank; exact but after a [sweep](Self::sweep).
    first: u128,
    /// Where a sweep goes on, if one has begun.
    sweeping: Option<sweep::Place>,
    spilling: Option<Box<Spilling<T>>>,
    /// Entries that were moved to a rung.
    #[cfg(test)]
    moves: usize,
}

impl<T> Ladder<T> {
    pub(crate) const fn new() -> Self {
        Self {
            top: Bucket::new(),
            top_from: 0,
            rungs: Vec::new(),
            sorted: Vec::new(),
            near: BinaryHeap::new(),
            near_last: 0,
            len: 0,
            first: u128::MAX,
            sweeping: None,
            spilling: None,
            #[cfg(test)]
            moves: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The time of the first entry; after a sweep, of one that was swept away, perhaps.
    #[inline]
    pub(crate) fn first(&self) -> Option<i64> {
        (self.len > 0).then(|| time_of(self.first))
    }

    /// Drops all entries.
    pub(crate) fn clear(&mut self) {
        let spilling = self.spilling.take();
        *self = Self::new();
        self.spilling = spilling;
        if let Some(spilling) = &mut self.spilling {
            spilling.clear();
        }
    }
}

impl<T: Ranked> Ladder<T> {
    /// Adds an entry.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) {
        let rank = entry.rank();
        self.len += 1;
        self.first = self.first.min(rank);
        if rank >= self.top_from {
            self.top.push(rank, entry);
        } else {
            self.push_below(rank, entry);
        }
        if let Some(spilling) = &mut self.spilling
            && spilling.is_to_look(1)
        {
            self.look();
        }
    }

    fn push_below(&mut self, rank: u128, entry: T) {
        // Few nearly always.
        for rung in &mut self.rungs {
            if let Some(number) = rung.number_of(rank) {
                rung.push(number, rank, entry);
                return;
            }
        }
        self.near_last = match self.near.len() {
            0 => rank,
            _ => self.near_last.max(rank),
        };
        self.near.push(Near(entry));
        if self.near.len() > SORTED_MAX {
            self.divide_near();
        }
    }

    /// Makes a rung of the heap and of what is sorted, unless all have the same rank.
    #[cold]
    fn divide_near(&mut self) {
        let first = self.near.peek().map(|near| near.0.rank());
        if first.is_none_or(|first| first == self.near_last) {
            return;
        }
        let near = std::mem::take(&mut self.near).into_iter();
        let sorted = std::mem::take(&mut self.sorted);
        let mut bucket = Bucket::new();
        for entry in near.map(|near| near.0).chain(sorted) {
            bucket.push(entry.rank(), entry);
        }
        if self.rungs.len() >= NEAR_RUNGS_MAX {
            self.merge_rungs(&mut bucket);
        }
        self.divide(bucket);
    }

    /// Adds the innermost rungs to a bucket that comes before them, as many as have no more than is there already, and one
    /// at least. So each of the entries that make ever more rungs, for ever earlier times, is moved about as often as what
    /// is there has doubled, and what lies further out is not moved at all.
    #[cold]
    fn merge_rungs(&mut self, bucket: &mut Bucket<T>) {
        while let Some(rung) = self.rungs.pop() {
            for within in rung.into_buckets() {
                bucket.append(within);
            }
            let next = self.rungs.last().map_or(usize::MAX, Rung::len);
            if next > bucket.len() {
                break;
            }
        }
    }

    /// Takes the first entry, if its time is not after `until`.
    #[inline]
    pub(crate) fn pop(&mut self, until: i64) -> Option<T> {
        let until = rank(until, u64::MAX);
        if self.len == 0 || self.first > until {
            return None;
        }
        self.pop_due(until)
    }

    fn pop_due(&mut self, until: u128) -> Option<T> {
        while self.sorted.is_empty() && self.near.is_empty() {
            if !self.open_next(until) {
                self.first = self.first_rank();
                return None;
            }
        }
        let sorted = self.sorted.last().map(T::rank);
        let near = self.near.peek().map(|near| near.0.rank());
        let is_near = near.is_some_and(|near| sorted.is_none_or(|sorted| near < sorted));
        let rank = if is_near { near } else { sorted };
        if rank.is_none_or(|rank| rank > until) {
            self.first = self.first_rank();
            return None;
        }
        let entry = if is_near {
            self.near.pop().map(|near| near.0)
        } else {
            self.sorted.pop()
        };
        self.len -= 1;
        self.has_left();
        entry
    }

    /// Something has left.
    #[inline]
    fn has_left(&mut self) {
        if self.len == 0 {
            // With nothing to come before, everything may go to the top again.
            self.rungs.clear();
            self.top_from = 0;
        }
        self.first = self.first_rank();
    }

    /// The lowest rank, as far as it is known without opening a bucket.
    #[inline]
    fn first_rank(&self) -> u128 {
        let sorted = self.sorted.last().map(T::rank);
        let near = self.near.peek().map(|near| near.0.rank());
        match (sorted, near) {
            (Some(sorted), Some(near)) => sorted.min(near),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => {
                let rung = self.rungs.iter().rev().find_map(Rung::first);
                rung.map_or(self.top.first(), |(_, bucket)| bucket.first())
            }
        }
    }

    /// Opens the first bucket that has anything, if that may not be after `until`. Nothing may be sorted, or in the heap.
    fn open_next(&mut self, until: u128) -> bool {
        let last = self.rungs.iter().rposition(|rung| rung.first().is_some());
        let Some(last) = last else {
            if self.top.is_empty() || self.top.first() > until {
                return false;
            }
            self.rungs.clear();
            self.sweep_leaves_top();
            let top = std::mem::replace(&mut self.top, Bucket::new());
            self.top_from = top.last().saturating_add(1);
            self.open(top);
            return true;
        };
        let rung = &mut self.rungs[last];
        let is_due = |(_, bucket): &(usize, &Bucket<T>)| bucket.first() <= until;
        let Some((number, _)) = rung.first().filter(is_due) else {
            return false;
        };
        let bucket = rung.open(number);
        // Those within have nothing, and what still comes for their times is near. Nor has this one if it was the last bucket,
        // which nothing can come to any more.
        let is_over = rung.is_over();
        self.rungs.truncate(last + usize::from(!is_over));
        self.open(bucket);
        true
    }

    fn open(&mut self, bucket: Bucket<T>) {
        if bucket.len() <= SORTED_MAX || bucket.first() == bucket.last() {
            let sorted = &mut self.sorted;
            for chunk in bucket.into_chunks() {
                let mut entries = chunk.take(self.spilling.as_deref_mut());
                if sorted.is_empty() {
                    *sorted = entries;
                } else {
                    sorted.append(&mut entries);
                }
            }
            // What came in order is known by one look.
            sorted.sort_by_key(|entry| Reverse(entry.rank()));
        } else if self.rungs.len() < RUNGS_MAX {
            self.divide(bucket);
        } else {
            self.begin_again(bucket);
        }
    }

    /// Makes the innermost rung of a bucket, whose entries have more than one rank.
    fn divide(&mut self, bucket: Bucket<T>) {
        self.sweep_goes_to_rung();
        self.rungs.push(Rung::new(bucket.first(), bucket.last()));
        for chunk in bucket.into_chunks() {
            let entries = chunk.take(self.spilling.as_deref_mut());
            let count = entries.len();
            #[cfg(test)]
            {
                self.moves += count;
            }
            if let Some(rung) = self.rungs.last_mut() {
                for entry in entries {
                    let rank = entry.rank();
                    let number = rung.number_of(rank);
                    rung.push(number.expect("it is in the bucket's range"), rank, entry);
                }
            }
            if let Some(spilling) = &mut self.spilling
                && spilling.is_to_look(count)
            {
                self.look();
            }
        }
    }

    /// Puts all on the top, with this bucket. Nothing of it is looked at for that.
    #[cold]
    fn begin_again(&mut self, bucket: Bucket<T>) {
        self.top_from = 0;
        self.sweep_goes_to_top();
        self.top.append(bucket);
        for rung in std::mem::take(&mut self.rungs) {
            for bucket in rung.into_buckets() {
                self.top.append(bucket);
            }
        }
    }
}
