//! What came out: how many rows, and their checksum if it is wanted.

use std::hint::black_box;

use millstream::catalog::nexmark::{Canonical, Checksum};
use serde::{Deserialize, Serialize};

/// Rows counted, and summed up if wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
    checksum: bool,
}

impl Tally {
    pub(crate) fn new(checksum: bool) -> Self {
        Self {
            checksum,
            ..Self::default()
        }
    }

    /// Takes a row. The compiler must take it for used, or it would leave out what makes it.
    #[inline]
    pub(crate) fn add<R: Canonical>(&mut self, row: &R) {
        self.rows += 1;
        if self.checksum {
            self.sum = self.sum.wrapping_add(Checksum::of([row]).sum());
        } else {
            black_box(row);
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}
