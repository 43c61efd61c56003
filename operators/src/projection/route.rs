//! Which owner has the rows that an event changes.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

/// The key whose rows an event changes: two events with the same key have the same owner. Keys of two types are the same if
/// they hash alike, such as `&str` and `String`; an `i32` and an `i64` do not.
///
/// ```
/// use millstream_operators::projection::Route;
/// assert_eq!(Route::of("lamp"), Route::of("lamp".to_owned()));
/// ```
///
/// Nothing of it is stored: how keys are shared out may be another way after each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(u64);

impl Route {
    /// The route of a key.
    #[inline]
    #[must_use]
    pub fn of(key: impl Hash) -> Self {
        Self(FixedState::default().hash_one(key))
    }

    /// Number of the owner, of so many; 0 of none.
    #[inline]
    pub(super) fn owner(self, owners: usize) -> usize {
        // The upper half of the product: the hash's upper bits decide.
        ((u128::from(self.0) * owners as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shared_out_evenly() {
        for owners in [1, 2, 3, 7] {
            let mut counts = vec![0; owners];
            for key in 0..7_000_u32 {
                counts[Route::of(key).owner(owners)] += 1;
            }
            let even = 7_000 / owners;
            assert!(
                counts
                    .iter()
                    .all(|count| *count > even * 4 / 5 && *count < even * 6 / 5),
                "{owners}: {counts:?}"
            );
        }
    }
}
