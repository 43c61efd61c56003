//! Ranges of keys as bytes, in either order, and merging what two sources have of one.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use super::{KeyPrefix, TableKey};

/// Bytes of keys between two bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) from: Bound<Vec<u8>>,
    pub(super) to: Bound<Vec<u8>>,
    /// The highest key comes first.
    pub(super) is_descending: bool,
}

impl KeyRange {
    /// All keys.
    pub(super) const ALL: Self = Self {
        from: Bound::Unbounded,
        to: Bound::Unbounded,
        is_descending: false,
    };

    /// Keys between bounds, each as `write` writes it.
    pub(super) fn between<K>(
        range: &impl RangeBounds<K>,
        write: impl Fn(&K, &mut Vec<u8>),
    ) -> Self {
        let bytes = |bound: Bound<&K>| {
            bound.map(|key| {
                let mut bytes = Vec::new();
                write(key, &mut bytes);
                bytes
            })
        };
        Self {
            from: bytes(range.start_bound()),
            to: bytes(range.end_bound()),
            is_descending: false,
        }
    }

    /// Keys that begin with these bytes.
    pub(super) fn beginning_with(prefix: Vec<u8>) -> Self {
        let to = next_prefix(&prefix);
        Self {
            from: Bound::Included(prefix),
            to,
            is_descending: false,
        }
    }

    pub(super) fn of_prefix<K: KeyPrefix<P>, P: ?Sized>(prefix: &P) -> Self {
        let mut bytes = Vec::new();
        K::write_prefix(prefix, &mut bytes);
        Self::beginning_with(bytes)
    }

    /// Its bounds, lent.
    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (
            self.from.as_ref().map(Vec::as_slice),
            self.to.as_ref().map(Vec::as_slice),
        )
    }

    /// What is left behind `key`.
    pub(super) fn behind(&self, key: &[u8]) -> Self {
        let mut rest = self.clone();
        let end = if rest.is_descending {
            &mut rest.to
        } else {
            &mut rest.from
        };
        *end = Bound::Excluded(key.to_vec());
        rest
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        RangeBounds::<[u8]>::contains(&self.bounds(), key)
    }

    /// Whether `a` comes before `b`.
    pub(super) fn precedes(&self, a: &[u8], b: &[u8]) -> bool {
        if self.is_descending { a > b } else { a < b }
    }

    /// Entries of a map in this range, in its order, at most `limit`.
    pub(super) fn of<'m, V>(
        &self,
        map: &'m BTreeMap<Vec<u8>, V>,
        limit: usize,
    ) -> impl Iterator<Item = (&'m Vec<u8>, &'m V)> + use<'m, V> {
        let bounds = self.bounds();
        // A map panics where no key can lie between.
        let found = (!is_empty(bounds)).then(|| map.range::<[u8], _>(bounds));
        let (up, down) = if self.is_descending {
            (None, found)
        } else {
            (found, None)
        };
        let down = down.into_iter().flat_map(Iterator::rev);
        up.into_iter().flatten().chain(down).take(limit)
    }
}

fn is_empty(bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match bounds {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
        _ => false,
    }
}

/// The end of the keys that begin with `prefix`.
fn next_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < u8::MAX {
            next.push(last + 1);
            return Bound::Excluded(next);
        }
    }
    Bound::Unbounded
}

/// Bytes of a key.
pub(super) fn key_bytes(key: &impl TableKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.write(&mut bytes);
    bytes
}

/// Values by the bytes that put them in order.
pub(super) type Ordered<V> = Vec<(Vec<u8>, V)>;

/// What a source has of a range, in its order.
#[derive(Debug)]
pub(super) struct Slice<V> {
    pub(super) found: Ordered<V>,
    /// There may be more behind this key.
    pub(super) end: Option<Vec<u8>>,
}

/// What several sources have of a range; each next one counts more than those before.
#[derive(Debug)]
pub(super) struct Gathered<'r, V> {
    range: &'r KeyRange,
    limit: usize,
    found: BTreeMap<Vec<u8>, V>,
    end: Option<Vec<u8>>,
}

impl<'r, V: Clone> Gathered<'r, V> {
    /// At most `limit` of each source.
    pub(super) const fn new(range: &'r KeyRange, limit: usize) -> Self {
        Self {
            range,
            limit,
            found: BTreeMap::new(),
            end: None,
        }
    }

    /// Takes what `map` has.
    pub(super) fn add(&mut self, map: &BTreeMap<Vec<u8>, V>) {
        let (mut count, mut last) = (0, None);
        for (key, value) in self.range.of(map, self.limit) {
            self.found.insert(key.clone(), value.clone());
            (count, last) = (count + 1, Some(key));
        }
        if let Some(last) = last.filter(|_| count >= self.limit)
            && self
                .end
                .as_ref()
                .is_none_or(|end| self.range.precedes(last, end))
        {
            self.end = Some(last.clone());
        }
    }

    /// What all have, in order; nothing behind the end of one that was cut.
    pub(super) fn into_slice(self) -> Slice<V> {
        let is_in = |key: &[u8]| match &self.end {
            Some(end) => !self.range.precedes(end, key),
            None => true,
        };
        let found = self.found.into_iter().filter(|(key, _)| is_in(key));
        let mut found: Vec<_> = found.collect();
        if self.range.is_descending {
            found.reverse();
        }
        Slice {
            found,
            end: self.end,
        }
    }
}

/// Merges what is fresh with what is stored; a key that both have is the fresh one's. `None` is a key that is gone.
/// Where a slice was cut, nothing behind its end is taken from the other either.
pub(super) fn merge<V>(range: &KeyRange, fresh: Slice<Option<V>>, stored: Slice<V>) -> Slice<V> {
    let ends = fresh.end.into_iter().chain(stored.end);
    let end = ends.reduce(|a, b| if range.precedes(&b, &a) { b } else { a });
    let is_in = |key: &[u8]| end.as_ref().is_none_or(|end| !range.precedes(end, key));
    let mut found = Vec::with_capacity(fresh.found.len() + stored.found.len());
    let mut fresh = fresh.found.into_iter().peekable();
    for (key, value) in stored.found {
        while let Some(before) = fresh.next_if(|(other, _)| range.precedes(other, &key)) {
            found.push(before);
        }
        let newer = fresh.next_if(|(other, _)| *other == key);
        found.push(newer.unwrap_or((key, Some(value))));
    }
    found.extend(fresh);
    let found = found.into_iter().filter(|(key, _)| is_in(key));
    let found = found.filter_map(|(key, value)| Some((key, value?)));
    Slice {
        found: found.collect(),
        end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Map = BTreeMap<Vec<u8>, u8>;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..4)
    }

    fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
        (0..3, key()).prop_map(|(kind, key)| match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(key),
            _ => Bound::Excluded(key),
        })
    }

    fn slice<V: Clone>(range: &KeyRange, map: &BTreeMap<Vec<u8>, V>, limit: usize) -> Slice<V> {
        let mut all = Gathered::new(range, limit);
        all.add(map);
        all.into_slice()
    }

    proptest! {
        #[test]
        fn slices_of_any_length_give_what_the_two_have_together(
            stored in prop::collection::btree_map(key(), any::<u8>(), 0..12),
            older in prop::collection::btree_map(key(), any::<Option<u8>>(), 0..12),
            newer in prop::collection::btree_map(key(), any::<Option<u8>>(), 0..12),
            from in bound(), to in bound(), is_descending: bool,
            limits in (1..5_usize, 1..5_usize),
        ) {
            let range = KeyRange { from, to, is_descending };
            let mut model: Map = stored.clone();
            for (key, value) in older.iter().chain(&newer) {
                match value {
                    Some(value) => model.insert(key.clone(), *value),
                    None => model.remove(key),
                };
            }
            model.retain(|key, _| range.contains(key));
            let mut expected: Vec<_> = model.into_iter().collect();
            if is_descending {
                expected.reverse();
            }
            let (mut found, mut rest) = (Vec::new(), range);
            loop {
                let mut fresh = Gathered::new(&rest, limits.0);
                fresh.add(&older);
                fresh.add(&newer);
                let stored = slice(&rest, &stored, limits.1);
                let merged = merge(&rest, fresh.into_slice(), stored);
                found.extend(merged.found);
                let Some(end) = merged.end else { break };
                rest = rest.behind(&end);
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_prefix_has_the_keys_that_begin_with_it(prefix in key(), other in key()) {
            let range = KeyRange::beginning_with(prefix.clone());
            prop_assert_eq!(range.contains(&other), other.starts_with(&prefix));
        }
    }
}
