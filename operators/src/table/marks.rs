//! Which entries of a list have changed since it was last saved.
//!
//! A save has the entries that have changed and some of the others, in turn: as many as have changed, and at least one
//! in [`SAVES_MAX`]. After a round of saves every entry has been written since it began, and what was written before
//! the round is needed no longer. So a save costs what has changed, and what is stored is a few times the list at most
//! where entries are about equally large; one that is much larger than the others is stored up to `2 * SAVES_MAX` times.
//! Invariants: (1) until the first save nothing is noted, and that save has all; (2) an entry that comes to another
//! place counts as changed, so that none slips through behind the round; (3) a save that nothing comes of counts as well.

use millstream_engine::checkpoint::Epoch;

/// A round has at most this many saves.
const SAVES_MAX: usize = 64;
const BITS: usize = u64::BITS as usize;

/// What of a list is to be written, and how far back the parts go that it consists of then.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ToWrite {
    pub(crate) base: Epoch,
    /// In their order.
    pub(crate) places: Vec<u32>,
}

/// The marks of one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// A bit for each entry, and at least one word; empty before the first save.
    changed: Vec<u64>,
    /// Entries before this one have been written in this round.
    written: usize,
    /// The first save of this round, if there was one.
    round: Option<Epoch>,
    /// The first save of the round before.
    base: Epoch,
    /// Length of the list when it was last saved.
    saved_len: usize,
}

impl Marks {
    /// The entry at this place may be changed.
    #[inline(always)]
    pub(crate) fn mark(&mut self, place: usize) {
        // No words, nobody asks.
        if let Some(word) = self.changed.get_mut(place / BITS) {
            *word |= 1 << (place % BITS);
        }
    }

    /// An entry was added at this place, the last one.
    #[inline]
    pub(crate) fn add(&mut self, place: usize) {
        if self.changed.is_empty() {
            return;
        }
        if place / BITS == self.changed.len() {
            self.changed.push(0);
        }
        self.mark(place);
    }

    /// The list is empty, and the next save has all of it.
    pub(crate) fn clear(&mut self) {
        self.changed.clear();
    }

    /// The list of this length was read back from parts that go back to `base`.
    pub(crate) fn resume(&mut self, len: usize, base: Epoch) {
        *self = Self {
            changed: vec![0; len / BITS + 1],
            written: 0,
            round: None,
            base,
            saved_len: len,
        };
    }

    /// How many of a list of this length have changed; `None` if neither an entry nor their number has.
    pub(crate) fn changed(&mut self, len: usize) -> Option<usize> {
        if self.changed.is_empty() {
            return Some(len);
        }
        let marked = self.count(len);
        (marked > 0 || len != self.saved_len).then_some(marked)
    }

    /// From which epoch on parts are needed.
    pub(crate) const fn base(&self) -> Epoch {
        self.base
    }

    /// What is to be written of a list of this length, with `others` entries that have not changed, or a few more. It
    /// counts as written.
    pub(crate) fn take(&mut self, len: usize, others: usize, epoch: Epoch) -> ToWrite {
        if self.changed.is_empty() {
            self.resume(len, epoch);
            return ToWrite {
                base: epoch,
                places: (0..len).map(|place| place as u32).collect(),
            };
        }
        self.count(len);
        self.saved_len = len;
        self.round.get_or_insert(epoch);
        self.write_others(len, others.max(len.div_ceil(SAVES_MAX)));
        let places = self.drain(len);
        if self.written >= len {
            self.base = self.round.take().unwrap_or(epoch);
            self.written = 0;
        }
        let base = self.base;
        ToWrite { base, places }
    }

    /// How many entries are marked, once those are not that the list has no more.
    fn count(&mut self, len: usize) -> usize {
        self.changed.truncate(len / BITS + 1);
        if let Some(last) = self.changed.get_mut(len / BITS) {
            *last &= (1 << (len % BITS)) - 1;
        }
        let ones = self.changed.iter().map(|word| word.count_ones() as usize);
        ones.sum()
    }

    /// Marks `count` entries that are not, from where the round stands.
    fn write_others(&mut self, len: usize, count: usize) {
        let mut left = count;
        while left > 0 && self.written < len {
            let (word, bit) = (self.written / BITS, 1 << (self.written % BITS));
            left -= usize::from(self.changed[word] & bit == 0);
            self.changed[word] |= bit;
            self.written += 1;
        }
    }

    /// The marked places, which are not marked any more.
    fn drain(&mut self, len: usize) -> Vec<u32> {
        let mut places = Vec::new();
        for (number, word) in self.changed.iter_mut().enumerate() {
            let mut bits = std::mem::take(word);
            while bits != 0 {
                let place = number * BITS + bits.trailing_zeros() as usize;
                debug_assert!(place < len, "marks behind the list are gone");
                places.push(place as u32);
                bits &= bits - 1;
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Push(u8),
        Change(usize, u8),
        /// As tables do: the last entry takes the place.
        Remove(usize),
        Clear,
        Save,
        /// The list is read back, and goes on.
        Restore,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            6 => any::<u8>().prop_map(Act::Push),
            4 => (any::<usize>(), any::<u8>()).prop_map(|(at, value)| Act::Change(at, value)),
            3 => any::<usize>().prop_map(Act::Remove),
            1 => Just(Act::Clear),
            4 => Just(Act::Save),
            1 => Just(Act::Restore),
        ];
        prop::collection::vec(act, 0..400)
    }

    /// Parts that are kept: by epoch the length of the list and what was written.
    type Parts = BTreeMap<u64, (usize, Vec<(u32, u8)>)>;

    fn read(parts: &Parts) -> Vec<Option<u8>> {
        let mut list = Vec::new();
        for (len, written) in parts.values() {
            list.truncate(*len);
            list.resize(*len, None);
            for &(place, value) in written {
                list[place as usize] = Some(value);
            }
        }
        list
    }

    proptest! {
        /// What is kept makes the list as it was when it was last saved.
        #[test]
        fn parts_make_the_list(acts in acts()) {
            let (mut list, mut marks, mut parts) = (Vec::new(), Marks::default(), Parts::new());
            let mut epoch = 0;
            for act in acts {
                match act {
                    Act::Push(value) => {
                        list.push(value);
                        marks.add(list.len() - 1);
                    }
                    Act::Change(at, value) if !list.is_empty() => {
                        let at = at % list.len();
                        list[at] = value;
                        marks.mark(at);
                    }
                    Act::Remove(at) if !list.is_empty() => {
                        let at = at % list.len();
                        list.swap_remove(at);
                        marks.mark(at);
                    }
                    Act::Change(..) | Act::Remove(_) => {}
                    Act::Clear => {
                        list.clear();
                        marks.clear();
                    }
                    Act::Save => {
                        epoch += 1;
                        if let Some(changed) = marks.changed(list.len()) {
                            let write = marks.take(list.len(), changed, Epoch(epoch));
                            parts = parts.split_off(&write.base.0);
                            let written = write.places.iter();
                            let written = written.map(|&place| (place, list[place as usize]));
                            parts.insert(epoch, (list.len(), written.collect()));
                        }
                        let wanted: Vec<_> = list.iter().copied().map(Some).collect();
                        prop_assert_eq!(read(&parts), wanted);
                    }
                    Act::Restore => {
                        let Some((&base, _)) = parts.first_key_value() else {
                            continue;
                        };
                        list = read(&parts).into_iter().flatten().collect();
                        marks.resume(list.len(), Epoch(base));
                    }
                }
            }
        }
    }

    #[test]
    fn a_save_has_what_has_changed_and_as_much_of_the_rest() {
        let mut marks = Marks::default();
        assert_eq!(marks.changed(1_000), Some(1_000));
        assert_eq!(marks.take(1_000, 0, Epoch(1)).places.len(), 1_000);
        for place in 0..100 {
            marks.mark(place * 7);
        }
        assert_eq!(marks.changed(1_000), Some(100));
        let second = marks.take(1_000, 100, Epoch(2));
        assert_eq!((second.places.len(), second.base), (200, Epoch(1)));
        assert_eq!(marks.changed(1_000), None);
        assert_eq!(marks.changed(999), Some(0));
    }

    #[test]
    fn parts_are_needed_for_two_rounds_at_most() {
        let mut marks = Marks::default();
        marks.take(10_000, 0, Epoch(1));
        for epoch in 2..1_000 {
            marks.mark(5_000);
            let base = marks.take(10_000, 1, Epoch(epoch)).base;
            assert!(epoch - base.0 <= 2 * SAVES_MAX as u64);
        }
    }
}
