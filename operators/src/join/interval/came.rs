//! An item of an interval join that came, and the partners that it meets.
//!
//! Those that lie in [pieces](crate::join::pieces) are changed, and so saved again, only where one meets its first partner.

use millstream_engine::flow::Emit;
use millstream_engine::time::Timestamp;

use crate::Key;
use crate::join::pieces::{Pieces, overlapping, within};
use crate::join::run::{Held, Known, Run};

/// An item that came, seen from its own side.
#[derive(Clone, Copy)]
pub(super) struct Came {
    time: i64,
    limit: i64,
    /// The first time of a partner whose own interval was not over.
    from: i64,
    /// The last time of a partner: when its own interval is over.
    pub(super) due: i64,
}

impl Came {
    #[inline(always)]
    pub(super) fn new(time: i64, limit: i64, before: i64, after: i64) -> Self {
        Self {
            time,
            limit,
            from: time.max(limit).saturating_sub(before),
            due: time.saturating_add(after),
        }
    }

    /// Gives a pair for each partner that is held; gives whether there was one.
    #[inline(always)]
    pub(super) fn meet<K: Key, B, U, E: Emit<U>>(
        &self,
        key: &K,
        (others, older): (&mut Run<Held<B>>, &mut Pieces<K, Held<B>>),
        pair: impl Fn(&B) -> U,
        out: &mut E,
    ) -> bool {
        let mut matched = false;
        if others.is_divided() {
            matched = self.meet_older(key, (others, older), &pair, out);
        }
        let mut is_met = false;
        for other in others.between(self.from, self.due) {
            if other.limit <= self.due {
                (is_met, other.matched) = (true, true);
                let time = Timestamp(self.time.max(other.time));
                out.emit(time, pair(&other.item));
            }
        }
        matched | is_met
    }

    /// The same of what lies in pieces, which are changed only where somebody has met none before.
    // A call for each of many pairs would be most of what they cost.
    #[inline(always)]
    fn meet_older<K: Key, B, U, E: Emit<U>>(
        &self,
        key: &K,
        (others, older): (&Run<Held<B>>, &mut Pieces<K, Held<B>>),
        pair: impl Fn(&B) -> U,
        out: &mut E,
    ) -> bool {
        let mut matched = false;
        let pieces = others.older.as_deref().into_iter();
        for known in pieces.flat_map(|pieces| overlapping(pieces, self.from, self.due)) {
            let items = older.items(key, known);
            let range = within(known, items, self.from, self.due);
            let is_news =
                !known.is_matched.get() && self.is_first(known, &items[range.clone()], items.len());
            for other in &items[range.clone()] {
                if other.limit <= self.due {
                    matched = true;
                    let time = Timestamp(self.time.max(other.time));
                    out.emit(time, pair(&other.item));
                }
            }
            if is_news {
                self.mark(&mut older.items_mut(key, known)[range]);
            }
        }
        matched
    }

    /// Whether some of these, of the `all` items of a piece, meet a partner for the first time.
    fn is_first<B>(&self, known: &Known, others: &[Held<B>], all: usize) -> bool {
        let mut met = others.iter().filter(|other| other.limit <= self.due);
        let is_first = met.any(|other| !other.matched);
        let are_matched = !is_first && others.iter().all(|other| other.matched);
        known.is_matched.set(are_matched && others.len() == all);
        is_first
    }

    /// Notes of others that they have met a partner.
    #[cold]
    fn mark<B>(&self, others: &mut [Held<B>]) {
        let met = others.iter_mut().filter(|other| other.limit <= self.due);
        met.for_each(|other| other.matched = true);
    }

    #[inline(always)]
    pub(super) fn held<T>(&self, matched: bool, item: T) -> Held<T> {
        Held {
            time: self.time,
            limit: self.limit,
            matched,
            item,
        }
    }
}
