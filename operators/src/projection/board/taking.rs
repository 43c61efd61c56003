//! Rows that are taken back, as an actor begins again, and how a reader knows.
//!
//! An actor that begins leaves rows to what is stored, one after the other, and then says how far those are and which streams
//! are parked in them. Whoever reads in between finds rows that are not what positions say. So a read that goes by positions
//! gets a [`Mark`] before it looks at them, and looks whether it is still the same once it has its rows.
//! Invariant: rows are taken back only while a [`TakingBack`] is there, and positions and parked streams fit the rows by the
//! time it is gone. Cost: a load before a read and one after it; reads that ask for nothing look at no mark.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ProgressBoard;

/// Actors that begin are counted below this, those that have begun above.
const BEGUN: u64 = 1 << 32;

/// How often rows were taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::projection) struct Mark(u64);

impl Mark {
    /// Whether some are being taken back.
    const fn is_open(self) -> bool {
        self.0 & (BEGUN - 1) != 0
    }
}

/// How many actors begin, and how many have begun.
#[derive(Debug, Default)]
pub(super) struct Begun(AtomicU64);

/// Rows are being taken back for as long as this is there.
#[derive(Debug)]
pub(in crate::projection) struct TakingBack<'b>(&'b ProgressBoard);

impl Drop for TakingBack<'_> {
    fn drop(&mut self) {
        self.0.begun.0.fetch_sub(1, Ordering::AcqRel);
        self.0.announce();
    }
}

impl ProgressBoard {
    /// Says that rows are taken back from now on: before the first of them. Several actors may be at it at a time.
    pub(in crate::projection) fn take_back(&self) -> TakingBack<'_> {
        self.begun.0.fetch_add(BEGUN + 1, Ordering::AcqRel);
        TakingBack(self)
    }

    /// What tells whether rows were taken back between two looks at it.
    #[inline]
    pub(in crate::projection) fn mark(&self) -> Mark {
        Mark(self.begun.0.load(Ordering::Acquire))
    }

    /// The same, if none are being taken back.
    #[inline]
    pub(super) fn settled_mark(&self) -> Option<Mark> {
        let mark = self.mark();
        (!mark.is_open()).then_some(mark)
    }
}
