//! Which hashes may be among a few, told by a bit each.

/// Words of a filter, a kilobyte.
const WORDS: usize = 128;

/// A bit for the 13 highest bits of each hash that came, and of those that went since it was made anew. With some hundred hashes a few in a
/// hundred of the others are taken for one of them.
#[derive(Debug)]
pub(crate) struct Filter {
    words: Box<[u64; WORDS]>,
    /// Hashes that went, whose bits are still set.
    gone: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            words: Box::new([0; WORDS]),
            gone: 0,
        }
    }
}

/// Word and bit of a hash.
#[inline]
const fn bit_of(hash: u64) -> (usize, u64) {
    let bit = (hash >> (64 - (64 * WORDS).ilog2())) as usize;
    (bit / 64, 1 << (bit % 64))
}

impl Filter {
    /// Whether the hash may be one of them; it is not, if not.
    #[inline]
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = bit_of(hash);
        self.words[word] & bit != 0
    }

    pub(crate) fn add(&mut self, hash: u64) {
        let (word, bit) = bit_of(hash);
        self.words[word] |= bit;
    }

    /// A hash has gone, whose bit others may have; `left` are the others. The filter is made anew once more have gone than are
    /// there.
    pub(crate) fn lose(&mut self, left: impl ExactSizeIterator<Item = u64>) {
        self.gone += 1;
        if self.gone > left.len() {
            self.gone = 0;
            self.words.fill(0);
            left.for_each(|hash| self.add(hash));
        }
    }

    /// Whether it has none.
    #[cfg(test)]
    pub(crate) fn is_clear(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}
