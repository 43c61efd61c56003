//! Numbered places in pieces of a fixed size: growing moves nothing and copies nothing, so there is neither
//! a pause nor a freed array of half the size that the allocator keeps.

use std::ops::{Index, IndexMut};

/// Places of one piece: a power of two, so that a number is taken apart by a shift and a mask.
const PIECE: usize = 1_024;

/// A list that only grows.
#[derive(Debug)]
pub(super) struct Slab<T> {
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds at the end.
    pub(super) fn push(&mut self, item: T) {
        if self.len.is_multiple_of(PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        self.pieces[self.len / PIECE].push(item);
        self.len += 1;
    }
}

impl<T> Index<usize> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, place: usize) -> &T {
        &self.pieces[place / PIECE][place % PIECE]
    }
}

impl<T> IndexMut<usize> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.pieces[place / PIECE][place % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_what_they_were() {
        let mut slab = Slab::new();
        for n in 0..3 * PIECE + 5 {
            assert_eq!(slab.len(), n);
            slab.push(n);
        }
        slab[PIECE] = 7;
        assert!((0..slab.len()).all(|n| slab[n] == n || (n, slab[n]) == (PIECE, 7)));
    }
}
