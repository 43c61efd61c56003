//! Reads of changes and versions, each inside one view of the store.

use std::ops::Bound;

use millstream_engine::event::Offset;
use millstream_engine::state::{StateError, StateView};

use super::format::{BROKEN, Change, Version, place_bytes, place_of, version_key};
use super::{Head, VersionIds};

/// A change with its number.
pub(in crate::projection) type Numbered = (u64, Change);

/// The newest change of an actor.
pub(in crate::projection) fn head_of(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
) -> Result<Option<Numbered>, StateError> {
    let (first, last) = (place_bytes(actor, 0), place_bytes(actor, u64::MAX));
    let (from, to) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
    let page = view.page(ids.changes, from, to, 1, true)?;
    page.rows.first().map(numbered).transpose()
}

/// The oldest change of an actor that is kept.
pub(in crate::projection) fn tail_of(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
) -> Result<Option<Numbered>, StateError> {
    Ok(changes_from(view, ids, actor, 0, 1)?.into_iter().next())
}

/// The place before the oldest change of an actor that is kept; `None` when it has changed nothing.
pub(super) fn oldest_of(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
) -> Result<Option<Head>, StateError> {
    let tail = tail_of(view, ids, actor)?;
    Ok(tail.map(|(number, change)| Head {
        number: number.saturating_sub(1),
        hash: change.before,
    }))
}

/// Changes of an actor from a number on, at most `limit` of those that are kept.
pub(in crate::projection) fn changes_from(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
    number: u64,
    limit: usize,
) -> Result<Vec<Numbered>, StateError> {
    let (first, last) = (place_bytes(actor, number), place_bytes(actor, u64::MAX));
    let (from, to) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
    let rows = view.scan(ids.changes, from, to, limit)?;
    rows.iter().map(numbered).collect()
}

/// One change, if it is kept.
pub(in crate::projection) fn change_at(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
    number: u64,
) -> Result<Option<Change>, StateError> {
    let found = view.get(ids.changes, &place_bytes(actor, number))?;
    found.map(Change::decode).transpose()
}

fn numbered((key, value): &(Vec<u8>, Vec<u8>)) -> Result<Numbered, StateError> {
    Ok((place_of(key)?.1, Change::decode(value)?))
}

/// The newest version of a row, of those of an actor up to a number.
pub(in crate::projection) fn version_at(
    view: &StateView<'_>,
    ids: VersionIds,
    key: &[u8],
    actor: u16,
    number: u64,
) -> Result<Option<Version>, StateError> {
    let (first, last) = (version_key(key, actor, 0), version_key(key, actor, number));
    let (from, to) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
    let page = view.page(ids.versions, from, to, 1, true)?;
    let found = page.rows.first();
    found.map(|(_, value)| Version::decode(value)).transpose()
}

/// Number of the last change of an actor that had seen no event from `end` on; `None` when only changes that are not kept
/// can tell.
pub(super) fn upto(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
    end: Offset,
) -> Result<Option<u64>, StateError> {
    let (tail, head) = match (tail_of(view, ids, actor)?, head_of(view, ids, actor)?) {
        (Some(tail), Some(head)) => (tail, head),
        _ => return Ok(Some(0)),
    };
    if head.1.seen <= end {
        return Ok(Some(head.0));
    }
    if tail.1.seen > end {
        return Ok((tail.0 == 1).then_some(0));
    }
    // The first is among those, the second is not.
    let (mut within, mut beyond) = (tail.0, head.0);
    while beyond - within > 1 {
        let middle = within + (beyond - within) / 2;
        let change = change_at(view, ids, actor, middle)?.ok_or(BROKEN)?;
        if change.seen <= end {
            within = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(Some(within))
}

/// Whether what an actor's rows were after the change of this number is still known.
pub(in crate::projection) fn reaches(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
    number: u64,
) -> Result<bool, StateError> {
    let tail = tail_of(view, ids, actor)?;
    Ok(tail.is_none_or(|(tail, _)| tail <= number + 1))
}

/// What an actor's changes are to somebody who has come to a place among them.
pub(super) enum Standing {
    /// It has had these before, and others may come.
    Same,
    /// It has not come there yet.
    Ahead,
    /// It had others.
    Other,
    /// What comes behind the place is not kept.
    Gone,
}

/// Compares a place with what is stored.
pub(super) fn standing(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
    place: Head,
    seed: u64,
) -> Result<Standing, StateError> {
    let is_same = if place.number == 0 {
        place.hash == seed
    } else if let Some(change) = change_at(view, ids, actor, place.number)? {
        change.hash() == place.hash
    } else {
        // The next one knows.
        return Ok(match tail_of(view, ids, actor)? {
            None => Standing::Ahead,
            Some((tail, _)) if tail < place.number => Standing::Ahead,
            Some((tail, change)) if tail == place.number + 1 => {
                if change.before == place.hash {
                    Standing::Same
                } else {
                    Standing::Other
                }
            }
            Some(_) => Standing::Gone,
        });
    };
    if !is_same {
        return Ok(Standing::Other);
    }
    if reaches(view, ids, actor, place.number)? {
        Ok(Standing::Same)
    } else {
        Ok(Standing::Gone)
    }
}
