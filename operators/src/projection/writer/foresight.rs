//! Which row the events of a stream touch, guessed from the last one: so rows come out of memory before they are needed.
//!
//! Place: a table of many rows lies in no cache of the processor, and each event waits for its row: once for the bucket that
//! names its slot, and then for the slot. Most projections keep rows by what their events are of, so the next event of a
//! stream touches the row that the last one did. **`Foresight`** remembers the slot; rows of the next few events are read
//! together, so their waits pass beside each other, and an event finds its row without the map.
//! Invariants: a guess is only that. Whoever takes it compares the key; one that is stale, of another stream of the same
//! hash, or behind the end costs the look that would have been needed anyway.
//! Cost: 8 to 16 bytes per row. A few nanoseconds per event, which are saved where guesses fail: then none are made until the
//! table has twice as many rows.

use std::hash::{BuildHasher, Hasher};

/// Events whose rows are fetched together.
pub(in crate::projection) const AHEAD: usize = 16;
/// Tables with fewer rows lie in the processor's caches, where looking ahead costs more than it gains. Few in tests, so that
/// both ways are tried.
const ROWS_MIN: usize = if cfg!(test) { 4 } else { 16_384 };
/// No slot: longer than any table.
const NONE: u32 = u32::MAX;

/// A stream, as far as guesses tell streams apart.
#[inline]
pub(in crate::projection) fn mark_of(stream: &str) -> u64 {
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(stream.as_bytes());
    hasher.finish()
}

/// By stream, the slot that its last event touched.
#[derive(Debug)]
pub(super) struct Foresight {
    /// By the last bits of a stream's mark; as many as a power of two, or none.
    slots: Vec<u32>,
    /// Of the event that is applied: where its slot is remembered.
    at: usize,
    /// The slot that is taken for its row.
    guess: u32,
    /// When the row was used before that is remembered of this event.
    oldest: u64,
    events: usize,
    hits: usize,
    /// With fewer rows none are guessed.
    rows_min: usize,
}

impl Foresight {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            at: 0,
            guess: NONE,
            oldest: 0,
            events: 0,
            hits: 0,
            rows_min: ROWS_MIN,
        }
    }

    /// Whether it pays to fetch rows of this many ahead; to be asked now and then.
    pub(super) fn pays(&mut self, rows: usize) -> bool {
        if rows < self.rows_min {
            return false;
        }
        if self.slots.len() < rows * 2 {
            // Nothing is taken over: all comes again within as many events as there are rows.
            self.slots = vec![NONE; (rows * 2).next_power_of_two()];
            (self.events, self.hits) = (0, 0);
        } else if self.events >= self.slots.len() * 2 {
            if self.hits < self.events / 4 {
                self.slots = Vec::new();
                self.rows_min = rows * 2;
            }
            (self.events, self.hits) = (0, 0);
        }
        !self.slots.is_empty()
    }

    /// What is guessed of a stream.
    #[inline]
    pub(super) fn guess_of(&self, stream: u64) -> u32 {
        let slot = self.slots.get(self.place(stream));
        slot.copied().unwrap_or(NONE)
    }

    #[inline]
    fn place(&self, stream: u64) -> usize {
        stream as usize & self.slots.len().wrapping_sub(1)
    }

    /// An event of this stream is applied next.
    #[inline]
    pub(super) fn begin(&mut self, stream: &str) {
        if self.slots.is_empty() {
            return;
        }
        self.at = self.place(mark_of(stream));
        self.guess = self.slots.get(self.at).copied().unwrap_or(NONE);
        self.oldest = u64::MAX;
        self.events += 1;
    }

    /// The slot that is taken for the row of the event that is applied.
    #[inline]
    pub(super) const fn guess(&self) -> u32 {
        self.guess
    }

    /// The event that is applied looks at a row, which was used before by the event of that number. Remembered is the one that
    /// rested longest: rows that many events share need no guess.
    #[inline]
    pub(super) fn learn(&mut self, slot: u32, used: u64) {
        if used < self.oldest {
            self.oldest = used;
            self.hits += usize::from(slot == self.guess);
            if let Some(place) = self.slots.get_mut(self.at) {
                *place = slot;
            }
        }
    }

    /// The event is over: what comes next may be of any stream.
    #[inline]
    pub(super) const fn end(&mut self) {
        self.guess = NONE;
        self.oldest = 0;
    }

    /// Rows have other slots now.
    pub(super) fn forget(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 4_096;

    fn apply(foresight: &mut Foresight, stream: &str, rows: &[(u32, u64)]) -> u32 {
        foresight.begin(stream);
        let guess = foresight.guess();
        for (slot, used) in rows {
            foresight.learn(*slot, *used);
        }
        foresight.end();
        guess
    }

    #[test]
    fn the_row_of_a_stream_is_remembered_and_not_the_one_that_all_share() {
        let mut foresight = Foresight::new();
        assert!(foresight.pays(ROWS));
        assert_eq!(apply(&mut foresight, "a", &[(0, 99), (7, 3)]), NONE);
        assert_eq!(apply(&mut foresight, "b", &[(8, 4), (0, 100)]), NONE);
        assert_eq!(foresight.guess_of(mark_of("a")), 7);
        assert_eq!(apply(&mut foresight, "a", &[(0, 101), (7, 5)]), 7);
        assert_eq!(apply(&mut foresight, "b", &[]), 8);
        assert_eq!(foresight.guess(), NONE, "between two events");
        foresight.learn(9, 1);
        assert_eq!(apply(&mut foresight, "b", &[]), 8, "of no event");
    }

    #[test]
    fn small_tables_and_streams_that_touch_ever_other_rows_are_not_guessed() {
        let mut foresight = Foresight::new();
        assert!(!foresight.pays(ROWS_MIN - 1));
        assert_eq!(apply(&mut foresight, "a", &[(7, 3)]), NONE);
        assert_eq!(apply(&mut foresight, "a", &[(7, 3)]), NONE);
        assert!(foresight.pays(ROWS));
        for event in 0..ROWS * 4 {
            apply(&mut foresight, "a", &[(event as u32, 0)]);
        }
        assert!(!foresight.pays(ROWS));
        assert!(!foresight.pays(ROWS * 2 - 1));
        assert!(foresight.pays(ROWS * 2), "tried once more");
    }

    #[test]
    fn guesses_that_are_right_go_on() {
        let mut foresight = Foresight::new();
        for event in 0..ROWS * 10 {
            assert!(foresight.pays(ROWS));
            let slot = (event % ROWS) as u32;
            foresight.begin(&slot.to_string());
            foresight.learn(slot, 1);
            foresight.end();
        }
        assert!(foresight.pays(ROWS));
    }
}
