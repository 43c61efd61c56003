//! Effects whose place among those that were given up another one has come to, and those whose event the log has again.
//!
//! There is one row for each place. Where the log has lost an event and another one stands there, the effects of both may be given
//! up: the older row is kept among the records, and comes back to its place once that is free. A start at which the log has
//! the event again, since the newer log was put back, takes such an effect for what it was: it waits, or was given up after its tries.
//! Not if the version that answers sends what the log has from there on: that one makes it anew, under the same id.
//! Cost: a start reads all that were given up, and the events of those that were put aside.

use std::ops::Bound;

use millstream_engine::event::PartitionId;
use millstream_engine::state::{Row, StateBatch, StateError, StateStore, StateWrite, TableId};

use super::EffectPlace;
use super::cuts::Cuts;
use super::damaged;
use super::format::{self, keys_of};
use super::histories::{Looked, PAGE, Standing, as_it_was, is_gone};
use super::outlets::OutletIds;
use super::registering::OpenOutlets;

/// What the keys of rows begin with that are kept among the records.
const ASIDE: &[u8] = b"aside\0";
/// Bytes behind the key of the place: when its event was recorded.
const RECORDED_BYTES: usize = 8;

/// What keeps the row of another effect that lies at the place which one is given up at, if there is one.
pub(super) fn make_way(
    store: &StateStore,
    ids: OutletIds,
    key: &[u8],
    stored: &[u8],
) -> Result<Option<StateWrite>, StateError> {
    let Some(row) = damaged::get(store, ids.given_up, key)? else {
        return Ok(None);
    };
    let recorded = |stored| format::read(stored).map(|read| read.recorded_at);
    let old = format::read_given_up(&row).and_then(|(_, old)| recorded(old));
    // One that cannot be read is of no use to anybody.
    let Some(old) = old.filter(|old| recorded(stored) != Some(*old)) else {
        return Ok(None);
    };
    Ok(Some(StateWrite::PutRow {
        table: ids.records,
        key: [ASIDE, key, &old.0.to_be_bytes()].concat(),
        value: row,
    }))
}

/// How many effects have become what.
#[derive(Default)]
struct Counts {
    /// Wait again.
    waiting: u64,
    /// Were given up as before.
    given_up: u64,
    /// Are sent anew by the version that answers.
    anew: u64,
    /// The place that a row has come to last, which may not be in the store yet.
    filled: Option<Vec<u8>>,
}

/// Takes effects that were put aside for what they were, where the log has their events again, and those that had to make way
/// back to their places. Behind what puts aside. Blocks on the state's writer.
pub(super) fn put_back(
    parts: &OpenOutlets<'_>,
    ids: OutletIds,
    outbox: &'static str,
    cuts: &Cuts,
) -> Result<(), StateError> {
    for partition in (0..).map(PartitionId).take(parts.heads.len()) {
        let mut counts = Counts::default();
        let mut looked = Looked::new(parts, ids, outbox, partition);
        let (first, last) = keys_of(outbox, partition);
        let aside = |key: &[u8]| [ASIDE, key].concat();
        let last_aside = [&aside(&last)[..], &[u8::MAX; RECORDED_BYTES]].concat();
        let ranges = [
            (ids.given_up, first.clone(), last),
            (ids.records, aside(&first), last_aside),
        ];
        for (table, first, last) in ranges {
            let mut from = Bound::Included(first);
            loop {
                let range = (from.as_ref().map(Vec::as_slice), Bound::Included(&last[..]));
                let page = damaged::page(parts.store, table, range, PAGE, false)?;
                let mut writes = Vec::new();
                for row in page.rows {
                    writes.extend(becomes(&mut looked, cuts, table, row, &mut counts)?);
                }
                if !writes.is_empty() {
                    let submitted = parts.writer.submit_blocking(StateBatch::new(writes));
                    submitted.map_err(|refused| refused.reason)?;
                    // What comes next looks at what is stored.
                    parts.writer.flush()?;
                }
                match page.end {
                    Some(end) => from = Bound::Excluded(end),
                    None => break,
                }
            }
        }
        if counts.waiting + counts.given_up + counts.anew > 0 {
            tracing::warn!(
                projection = parts.projection,
                outbox,
                %partition,
                waiting = counts.waiting,
                given_up = counts.given_up,
                anew = counts.anew,
                "the log has the events of effects again that were put aside: they are what they were, or are sent anew with what is \
                 applied again"
            );
        }
    }
    Ok(())
}

/// What becomes of a row of those that were given up, or of the records.
fn becomes(
    looked: &mut Looked<'_>,
    cuts: &Cuts,
    table: TableId,
    (at, row): Row,
    counts: &mut Counts,
) -> Result<Vec<StateWrite>, StateError> {
    let (ids, parts) = (looked.ids, looked.parts);
    let is_aside = table == ids.records;
    let key = match is_aside {
        false => at.clone(),
        true => {
            let place = ASIDE.len()..at.len().saturating_sub(RECORDED_BYTES);
            at.get(place).unwrap_or_default().to_vec()
        }
    };
    let (Some((cause, stored)), Some(place)) =
        (format::read_given_up(&row), EffectPlace::of_key(&key))
    else {
        return Ok(Vec::new());
    };
    if !is_aside && !is_gone(&cause) {
        return Ok(Vec::new());
    }
    let delete = StateWrite::DeleteRow { table, key: at };
    let put = |table, value| StateWrite::PutRow {
        table,
        key: key.clone(),
        value,
    };
    if looked.standing(ids.given_up, &key, &row) != Standing::There {
        // Of several that had to make way there the first one.
        let is_free = is_aside
            && counts.filled.as_ref() != Some(&key)
            && damaged::get(parts.store, ids.given_up, &key)?.is_none();
        if !is_free {
            return Ok(Vec::new());
        }
        let writes = vec![delete, put(ids.given_up, row)];
        counts.filled = Some(key);
        return Ok(writes);
    }
    let owner = cuts.owner(place.position.partition, place.position.offset);
    match owner {
        Some(owner) if owner == parts.active => {
            counts.anew += 1;
            return Ok(vec![delete]);
        }
        // Nobody can tell whether that one has sent it since.
        Some(owner) if parts.registered.contains(&owner) => return Ok(Vec::new()),
        _ => {}
    }
    let mut writes = vec![delete];
    match as_it_was(cause) {
        None => {
            counts.waiting += 1;
            writes.push(put(ids.effects, stored.to_vec()));
        }
        Some(cause) => {
            counts.given_up += 1;
            writes.extend(make_way(parts.store, ids, &key, stored)?);
            writes.push(put(ids.given_up, format::give_up(&cause, stored)));
            counts.filled = Some(key);
        }
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use millstream_engine::time::Timestamp;

    use super::*;
    use crate::projection::outbox::format::Cause;
    use crate::projection::outbox::histories::lost_after;

    #[test]
    fn a_cause_is_what_it_was() {
        let tried = Cause {
            attempts: 3,
            at: Timestamp(7),
            text: "no; 2 tries: no".to_owned(),
        };
        let lost = Cause {
            attempts: 0,
            at: Timestamp(7),
            text: lost_after(&tried),
        };
        assert_eq!(as_it_was(lost), Some(tried));
    }
}
