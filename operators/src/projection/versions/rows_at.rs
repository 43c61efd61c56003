//! Rows as they were, read from their versions.

use std::ops::Bound;

use millstream_engine::state::{StateError, StateView};

use super::VersionIds;
use super::format::{version_key, version_of, version_prefix};
use super::reading::{reaches, version_at};
use crate::projection::range::{KeyRange, Slice};

/// Number up to which an actor's versions count; those of one that is not known do not.
fn number_of(numbers: &[(u16, u64)], actor: u16) -> u64 {
    let found = numbers.iter().find(|(own, _)| *own == actor);
    found.map_or(0, |(_, number)| *number)
}

/// A row as it was; `None` when that is not kept.
#[expect(
    clippy::option_option,
    reason = "absence is known apart from not known"
)]
pub(super) fn row_at(
    view: &StateView<'_>,
    ids: VersionIds,
    numbers: &[(u16, u64)],
    key: &[u8],
) -> Result<Option<Option<Vec<u8>>>, StateError> {
    // A row belongs to one actor: whose, its newest version says.
    let (first, last) = (version_prefix(key), version_key(key, u16::MAX, u64::MAX));
    if last.len() > millstream_engine::state::ROW_KEY_BYTES_MAX {
        return Ok(Some(None)); // No row can have it.
    }
    let (from, to) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
    let newest = view.page(ids.versions, from, to, 1, true)?.rows;
    let Some((bytes, _)) = newest.first() else {
        // None is kept of one that was removed before the changes kept begin, if all is as it was.
        for (actor, number) in numbers {
            if !reaches(view, ids, *actor, *number)? {
                return Ok(None);
            }
        }
        return Ok(Some(None));
    };
    let (_, actor, _) = version_of(bytes)?;
    let number = number_of(numbers, actor);
    if !reaches(view, ids, actor, number)? {
        return Ok(None);
    }
    let version = version_at(view, ids, key, actor, number)?;
    Ok(Some(version.and_then(|version| version.row)))
}

/// Rows at the front of a range as they were; `None` when some are not kept.
pub(super) fn slice_at(
    view: &StateView<'_>,
    ids: VersionIds,
    numbers: &[(u16, u64)],
    range: &KeyRange,
    limit: usize,
) -> Result<Option<Slice<Vec<u8>>>, StateError> {
    for (actor, number) in numbers {
        if !reaches(view, ids, *actor, *number)? {
            return Ok(None);
        }
    }
    let mut rest = versions_in(range);
    let (mut found, mut end) = (Vec::new(), None);
    for looked in 1..=limit.max(1) {
        let (from, to) = rest.bounds();
        let page = view.page(ids.versions, from, to, 1, range.is_descending)?;
        let Some((bytes, _)) = page.rows.first() else {
            return Ok(Some(Slice { found, end: None }));
        };
        let (key, actor, _) = version_of(bytes)?;
        let number = number_of(numbers, actor);
        let version = version_at(view, ids, &key, actor, number)?;
        rest = rest.behind(&if range.is_descending {
            version_prefix(&key)
        } else {
            version_key(&key, u16::MAX, u64::MAX)
        });
        if looked == limit.max(1) {
            end = Some(key.clone());
        }
        if let Some(row) = version.and_then(|version| version.row) {
            found.push((key, row));
        }
    }
    Ok(Some(Slice { found, end }))
}

/// Where the versions of rows with keys in a range lie.
fn versions_in(range: &KeyRange) -> KeyRange {
    let last = |key: &[u8]| version_key(key, u16::MAX, u64::MAX);
    KeyRange {
        from: match &range.from {
            Bound::Included(key) => Bound::Included(version_prefix(key)),
            Bound::Excluded(key) => Bound::Excluded(last(key)),
            Bound::Unbounded => Bound::Unbounded,
        },
        to: match &range.to {
            Bound::Included(key) => Bound::Included(last(key)),
            Bound::Excluded(key) => Bound::Excluded(version_prefix(key)),
            Bound::Unbounded => Bound::Unbounded,
        },
        is_descending: range.is_descending,
    }
}
