//! Some of a frame's kinds.

use super::Kind;

/// Bit for all kinds from this one on.
const LAST: u32 = u64::BITS - 1;

/// Kinds of one frame, for passing over events that nobody wants. A frame with more than 64 of them has its last ones taken
/// together: who finds one must look whether it is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindSet(u64);

impl KindSet {
    pub(super) const NONE: Self = Self(0);
    /// All kinds.
    pub const ALL: Self = Self(u64::MAX);

    /// Those of `kinds` for which `has` is true.
    pub fn of(kinds: &[Kind], mut has: impl FnMut(&Kind) -> bool) -> Self {
        let mut set = Self::NONE;
        for (kind, number) in kinds.iter().zip(0..) {
            if has(kind) {
                set.add(number);
            }
        }
        set
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn add(&mut self, kind: u32) {
        self.0 |= 1 << kind.min(LAST);
    }

    #[inline]
    pub(super) fn may_have(self, kind: u32) -> bool {
        self.0 & (1 << kind.min(LAST)) != 0
    }

    #[inline]
    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
