//! What a column may be: intervals of numbers or texts.
//!
//! Place: a filter of a query -> [`constraint`](super::constraint) -> **`Ranges`** -> a search, or a look at one value.
//! Texts are compared byte by byte, which is also how SQL sorts them. Cost: a compare per interval.

use std::fmt;
use std::ops::Bound;

/// Intervals that a set of ranges may have; what would need more is not pushed down.
pub(super) const INTERVALS_MAX: usize = 1_024;

/// A bound of a range. A text may end in the middle of a character where it is the bound of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Datum {
    Number(i128),
    Text(Vec<u8>),
}

/// A value to be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe<'a> {
    Number(i128),
    Text(&'a str),
}

/// From and to.
pub(super) type Interval = (Bound<Datum>, Bound<Datum>);

/// Values that are in any of some intervals; none without one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ranges(Vec<Interval>);

impl Ranges {
    pub(super) fn of(from: Bound<Datum>, to: Bound<Datum>) -> Self {
        Self(vec![(from, to)])
    }

    pub(super) fn point(at: Datum) -> Self {
        Self::of(Bound::Included(at.clone()), Bound::Included(at))
    }

    /// Texts that begin with `prefix`.
    pub(super) fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        // UTF-8 has no byte 255, so the last one can be raised.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let to = if end.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(Datum::Text(end))
        };
        Self::of(Bound::Included(Datum::Text(prefix.to_vec())), to)
    }

    pub(super) fn intervals(&self) -> &[Interval] {
        &self.0
    }

    pub(super) fn holds(&self, probe: Probe<'_>) -> bool {
        self.0
            .iter()
            .any(|(from, to)| is_from(from, probe) && is_upto(to, probe))
    }

    /// What is in both; `None` when it has too many intervals.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let mut both = Vec::new();
        for (from, to) in &self.0 {
            for (other_from, other_to) in &other.0 {
                let interval = (
                    tighter(from, other_from, false),
                    tighter(to, other_to, true),
                );
                if !is_empty(&interval) {
                    both.push(interval);
                }
            }
            if both.len() > INTERVALS_MAX {
                return None;
            }
        }
        Some(Self(both))
    }

    /// What is in either; `None` when it has too many intervals.
    pub(super) fn or(&self, other: &Self) -> Option<Self> {
        let mut either = self.0.clone();
        for interval in &other.0 {
            if !either.contains(interval) {
                either.push(interval.clone());
            }
        }
        (either.len() <= INTERVALS_MAX).then_some(Self(either))
    }

    /// The values, if they are so few that each has an interval of its own.
    pub(super) fn points(&self) -> Option<Vec<&Datum>> {
        let points = self.0.iter().map(|interval| match interval {
            (Bound::Included(from), Bound::Included(to)) if from == to => Some(from),
            _ => None,
        });
        points.collect()
    }

    /// The least and the largest number that is in it, within these; `None` when there is none.
    pub(super) fn numbers_within(&self, least: i128, largest: i128) -> Option<(i128, i128)> {
        let spans = self
            .0
            .iter()
            .filter_map(|interval| span(interval, least, largest));
        spans.reduce(|(from, to), (other_from, other_to)| (from.min(other_from), to.max(other_to)))
    }
}

/// The numbers of an interval, both inclusive, within these.
pub(super) fn span(interval: &Interval, least: i128, largest: i128) -> Option<(i128, i128)> {
    let from = match &interval.0 {
        Bound::Included(Datum::Number(number)) => *number,
        Bound::Excluded(Datum::Number(number)) => number.saturating_add(1),
        _ => least,
    };
    let to = match &interval.1 {
        Bound::Included(Datum::Number(number)) => *number,
        Bound::Excluded(Datum::Number(number)) => number.saturating_sub(1),
        _ => largest,
    };
    let (from, to) = (from.max(least), to.min(largest));
    (from <= to).then_some((from, to))
}

fn compare(datum: &Datum, probe: Probe<'_>) -> std::cmp::Ordering {
    match (datum, probe) {
        (Datum::Number(datum), Probe::Number(number)) => datum.cmp(&number),
        (Datum::Text(datum), Probe::Text(text)) => datum.as_slice().cmp(text.as_bytes()),
        // Bounds are made by the type of their column.
        (Datum::Number(_), Probe::Text(_)) => std::cmp::Ordering::Less,
        (Datum::Text(_), Probe::Number(_)) => std::cmp::Ordering::Greater,
    }
}

fn is_from(from: &Bound<Datum>, probe: Probe<'_>) -> bool {
    match from {
        Bound::Included(datum) => compare(datum, probe).is_le(),
        Bound::Excluded(datum) => compare(datum, probe).is_lt(),
        Bound::Unbounded => true,
    }
}

fn is_upto(to: &Bound<Datum>, probe: Probe<'_>) -> bool {
    match to {
        Bound::Included(datum) => compare(datum, probe).is_ge(),
        Bound::Excluded(datum) => compare(datum, probe).is_gt(),
        Bound::Unbounded => true,
    }
}

fn tighter(one: &Bound<Datum>, other: &Bound<Datum>, is_end: bool) -> Bound<Datum> {
    let (Bound::Included(a) | Bound::Excluded(a)) = one else {
        return other.clone();
    };
    let (Bound::Included(b) | Bound::Excluded(b)) = other else {
        return one.clone();
    };
    let order = if is_end { b.cmp(a) } else { a.cmp(b) };
    let takes_one = match order {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => matches!(one, Bound::Excluded(_)),
    };
    if takes_one { one } else { other }.clone()
}

fn is_empty((from, to): &Interval) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
        _ => false,
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{:?}", String::from_utf8_lossy(text)),
        }
    }
}

/// For plans: `7`, `3..=9`, `"a"|"b"`; the first of many.
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (at, (from, to)) in self.0.iter().take(SHOWN).enumerate() {
            if at > 0 {
                f.write_str("|")?;
            }
            match (from, to) {
                (Bound::Included(from), Bound::Included(to)) if from == to => from.fmt(f)?,
                _ => {
                    match from {
                        Bound::Included(from) => from.fmt(f)?,
                        Bound::Excluded(from) => write!(f, ">{from}")?,
                        Bound::Unbounded => {}
                    }
                    f.write_str("..")?;
                    match to {
                        Bound::Included(to) => write!(f, "={to}")?,
                        Bound::Excluded(to) => to.fmt(f)?,
                        Bound::Unbounded => {}
                    }
                }
            }
        }
        if self.0.len() > SHOWN {
            write!(f, "|and {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}
