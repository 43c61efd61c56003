//! Sums of a key's slices that windows share, where accumulators may grow with their items.
//!
//! Place: [`fifo`](super::fifo) -> **[`Sums`]**. As the two stacks there: aggregates of the older slices from one of them on, and one
//! of the newer. But not from each slice on, since as many sets of all that ever comes take the square of it. There is one from
//! where the slices since the one before are as large as it is itself, by the bytes that they take where they are stored beyond
//! those of an empty one. Where the whole is hardly smaller than its slices, as of a list, there are none: merging what a
//! window has costs no more than handing on its result. A few slices say little of that, since values that come again and again
//! are all new at first: it is found anew once there are twice as many.
//! Invariants: (1) aggregates take no more than the slices that they cover; (2) what a window merges, slices and aggregates
//! together, is no more than a small multiple of its result, unless the newest slices are unlike those before; (3) merges are
//! in the slices' order.
//! Cost: per window what (2) says; per slice two or three merges in the mean, and a count of its bytes.

use serde::{Deserialize, Serialize};

use crate::counted::bytes_of;
use crate::function::AggregateFunction;
use crate::maybe;

/// Fewer slices are merged for each window.
const SLICES_MIN: usize = 8;

/// Aggregates of some slices.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Sums<A> {
    /// The last slice that they cover, the newest there was when they were made.
    until: i64,
    /// How many slices there were then. None in state that was stored when nobody counted them.
    #[serde(default)]
    slices: usize,
    /// Of all slices from this one to the last, the newest first. The first is the last slice alone; none, if slices
    /// are merged for each window.
    from: Vec<(i64, A)>,
    /// Of the slices behind those.
    #[serde(with = "maybe")]
    behind: Option<A>,
}

/// The aggregate of some slices, if there are any.
pub(super) fn sum_of<'a, T, F>(
    function: &F,
    parts: impl IntoIterator<Item = &'a (i64, F::Accumulator)>,
) -> Option<F::Accumulator>
where
    F: AggregateFunction<T>,
    F::Accumulator: 'a,
{
    let mut parts = parts.into_iter().map(|(_, part)| part);
    let mut sum = parts.next()?.clone();
    parts.for_each(|part| function.merge(&mut sum, part));
    Some(sum)
}

/// The aggregates of these slices that windows share; `None`: they are too few. Cost: two or three merges for each.
pub(super) fn sums_of<T, F>(
    function: &F,
    parts: &[(i64, F::Accumulator)],
) -> Option<Sums<F::Accumulator>>
where
    F: AggregateFunction<T>,
{
    if parts.len() < SLICES_MIN {
        return None;
    }
    // What all have says nothing of how they grow.
    let least = bytes_of(&function.create())?;
    let size = |part: &_| Some(bytes_of(part)?.saturating_sub(least) + 1);
    let sizes: Option<Vec<u64>> = parts.iter().map(|(_, part)| size(part)).collect();
    let sizes = sizes?;
    let whole = size(&sum_of(function, parts)?)?;
    let from = if whole * 2 > sizes.iter().sum() {
        Vec::new()
    } else {
        suffixes(function, parts, &sizes, size)?
    };
    Some(Sums {
        until: parts.last()?.0,
        slices: parts.len(),
        from,
        behind: None,
    })
}

impl<A: Clone> Sums<A> {
    /// A newer slice enters.
    pub(super) fn push<T, F>(&mut self, function: &F, part: &A)
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        match &mut self.behind {
            _ if self.from.is_empty() => {}
            Some(behind) => function.merge(behind, part),
            behind => *behind = Some(part.clone()),
        }
    }

    /// Slices before `first`, the oldest that is left of now so many, have left. Gives whether these are good for the others.
    pub(super) fn expire(&mut self, first: i64, slices: usize) -> bool {
        let is_list_like = self.from.is_empty();
        while self.from.last().is_some_and(|(from, _)| *from < first) {
            self.from.pop();
        }
        // Not sooner, so that finding it anew costs each slice a constant number of merges in the mean.
        let may_differ = is_list_like && slices >= self.slices * 2;
        first <= self.until && !may_differ
    }

    /// The aggregate of all of `parts`, which are those that are left.
    pub(super) fn value<T, F>(&self, function: &F, parts: &[(i64, A)]) -> Option<A>
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        let Some((from, covered)) = self.from.last() else {
            return sum_of(function, parts);
        };
        let alone = parts.partition_point(|(number, _)| number < from);
        let mut sum = match sum_of(function, &parts[..alone]) {
            Some(mut sum) => {
                function.merge(&mut sum, covered);
                sum
            }
            None => covered.clone(),
        };
        if let Some(behind) = &self.behind {
            function.merge(&mut sum, behind);
        }
        Some(sum)
    }

    /// The aggregates.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &A> {
        self.from.iter().map(|(_, sum)| sum).chain(&self.behind)
    }
}

/// Aggregates from some slices to the last, the newest first: each as large as the slices since the one before, at most.
fn suffixes<T, F>(
    function: &F,
    parts: &[(i64, F::Accumulator)],
    sizes: &[u64],
    size: impl Fn(&F::Accumulator) -> Option<u64>,
) -> Option<Vec<(i64, F::Accumulator)>>
where
    F: AggregateFunction<T>,
{
    let mut suffixes: Vec<(i64, F::Accumulator)> = Vec::new();
    let (mut end, mut passed, mut wanted) = (parts.len(), 0, 0);
    for at in (0..parts.len()).rev() {
        passed += sizes[at];
        if passed < wanted {
            continue;
        }
        let mut sum = sum_of(function, &parts[at..end])?;
        if let Some((_, behind)) = suffixes.last() {
            function.merge(&mut sum, behind);
        }
        let needed = size(&sum)?;
        if needed <= passed {
            suffixes.push((parts[at].0, sum));
            (end, passed, wanted) = (at, 0, needed);
        } else {
            // So that all tries together cost no more than the last one does.
            wanted = passed * 2;
        }
    }
    Some(suffixes)
}
