//! Which ids of streams may be parked, told by a bit each. Asked for each event while any is parked.

use compact_str::CompactString;

use crate::failing::Filter;

#[derive(Debug, Default)]
pub(super) struct IdFilter(Filter);

impl IdFilter {
    /// Whether the id may be one of them; it is not, if not.
    #[inline]
    pub(super) fn may_have(&self, id: &str) -> bool {
        self.0.may_have(trace_of(id))
    }

    pub(super) fn add(&mut self, id: &str) {
        self.0.add(trace_of(id));
    }

    /// One has gone; `left` are the others.
    pub(super) fn lose<'a>(&mut self, left: impl ExactSizeIterator<Item = &'a CompactString>) {
        self.0.lose(left.map(|id| trace_of(id)));
    }
}

/// A hash of an id: of its two ends and its middle, which is less work than one for a table.
#[inline]
fn trace_of(id: &str) -> u64 {
    let id = id.as_bytes();
    let (first, last) = if let (Some(first), Some(last)) = (id.first_chunk(), id.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (id.first_chunk(), id.last_chunk()) {
        (
            u32::from_le_bytes(*first).into(),
            u32::from_le_bytes(*last).into(),
        )
    } else {
        let byte = |at: usize| id.get(at).map_or(0, |byte| u64::from(*byte));
        (byte(0), byte(1) << 8 | byte(2))
    };
    let middle = id.get(id.len() / 2..).and_then(|rest| rest.first_chunk());
    let middle = middle.map_or(0, |middle| u32::from_le_bytes(*middle).into());
    let mixed = first.rotate_left(29) ^ last ^ u64::rotate_left(middle, 40);
    // The golden ratio, an odd number whose multiples are spread well over the high bits.
    mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a list: whatever is there is told to be.
        #[test]
        fn none_that_is_there_is_passed_over(steps in prop::collection::vec((any::<bool>(), "[ab0-9é]{0,20}"), 0..80)) {
            let (mut filter, mut model) = (IdFilter::default(), Vec::<CompactString>::new());
            for (comes, id) in steps {
                if comes && !model.contains(&CompactString::from(&id)) {
                    filter.add(&id);
                    model.push(id.into());
                } else if let Some(gone) = model.pop() {
                    filter.lose(model.iter());
                    prop_assert!(!model.contains(&gone));
                }
                prop_assert!(model.iter().all(|id| filter.may_have(id)));
            }
        }
    }

    #[test]
    fn ids_that_count_up_are_told_apart() {
        let forms: [fn(u32) -> String; 3] = [
            |number| number.to_string(),
            |number| format!("account-{number:08}"),
            |number| format!("order-2026-{number:06}-eu-west-1"),
        ];
        for id in forms {
            let mut filter = IdFilter::default();
            for poison in 0..250 {
                filter.add(&id(poison * 400 + 7));
            }
            let taken = (0..100_000).filter(|number| filter.may_have(&id(*number)));
            let taken = taken.count();
            assert!(
                taken < 20_000,
                "{taken} of 100,000 such as {} are taken for one of 250",
                id(7)
            );
        }
    }
}
