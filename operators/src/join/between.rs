//! Lists in the order of time, and what of them lies in an interval.
//!
//! Cost: a look at both ends where the interval has them in it, as it mostly has, and a binary search for each end that it
//! has not; few items are gone through instead.

use std::ops::Range;

/// Of no more items than this all are looked at.
const FEW: usize = if cfg!(test) { 2 } else { 8 };

/// What has a time.
pub(super) trait Timed {
    fn time(&self) -> i64;
}

/// Of a list in the order of time those with times in `from..=to`.
#[inline(always)]
pub(super) fn between<H: Timed>(list: &[H], from: i64, to: i64) -> Range<usize> {
    let (Some(first), Some(last)) = (list.first(), list.last()) else {
        return 0..0;
    };
    between_ends(list, (first.time(), last.time()), from, to)
}

/// The same of a list whose first and last times are known.
///
/// Runs are short mostly, what is new meets what is new, and of the pieces of a long run all but one or two lie within:
/// so the ends are looked at first, and only for one that lies outside is searched.
#[inline(always)]
pub(super) fn between_ends<H: Timed>(
    list: &[H],
    (first, last): (i64, i64),
    from: i64,
    to: i64,
) -> Range<usize> {
    if last < from || first > to || from > to {
        return 0..0;
    }
    let begin = if first < from {
        begin_of(list, |time| time < from)
    } else {
        0
    };
    let end = if last > to {
        begin_of(list, |time| time <= to)
    } else {
        list.len()
    };
    begin..end
}

/// How many times come before: those for which `is_before` holds.
#[inline]
fn begin_of<H: Timed>(list: &[H], is_before: impl Fn(i64) -> bool) -> usize {
    if list.len() <= FEW {
        return list
            .iter()
            .take_while(|held| is_before(held.time()))
            .count();
    }
    list.partition_point(|held| is_before(held.time()))
}
