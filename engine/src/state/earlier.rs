//! Snapshots of a stream that came before its newest, so that its past is not replayed from its beginning.
//!
//! Key: stream, one, version big-endian, behind the parts of the newest snapshot, which have a zero there. Value: a full
//! part, as [`chain`](super::chain) writes it.
//! When a new snapshot takes the place of the newest one, that becomes an earlier one. At most
//! [`snapshot_earlier_max`](super::StateOptions::snapshot_earlier_max) are kept: the one goes whose neighbours are
//! nearest to each other, the oldest of several.
//! Invariant: of N places over a stream of n events, no gap is wider than 2n/N events, or than two neighbouring
//! snapshots ever were: N places make N/2 pairs of gaps that do not overlap, so the narrowest pair, which is what a
//! removal joins, spans at most n/(N/2).
//! Cost: N states per stream on disk at most, none for a stream with one snapshot; a look at N keys per snapshot.

use std::ops::Bound;

use super::chain;
use super::{Snapshot, StateError};
use crate::event::StreamId;
use crate::store::{Table, WriteTxn};

const VERSION_BYTES: usize = 8;

/// Key of the snapshot after `version` events.
pub(super) fn key(stream: &StreamId, version: u64) -> Vec<u8> {
    let text = stream.as_str().as_bytes();
    let mut key = Vec::with_capacity(text.len() + 1 + VERSION_BYTES);
    key.extend_from_slice(text);
    key.push(1);
    key.extend_from_slice(&version.to_be_bytes());
    key
}

/// First and last key that earlier snapshots of this stream can have.
pub(super) fn bounds(stream: &StreamId) -> (Vec<u8>, Vec<u8>) {
    (key(stream, 0), key(stream, u64::MAX))
}

fn version_of(key: &[u8]) -> u64 {
    let version = key.last_chunk::<VERSION_BYTES>();
    version.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Makes `old`, the place of which `new` takes, an earlier snapshot, and keeps at most `places` of them. One that is stored a
/// second time changes nothing.
pub(super) fn keep(
    txn: &mut WriteTxn<'_>,
    table: Table,
    stream: &StreamId,
    (old, new): (&Snapshot, &Snapshot),
    places: usize,
) -> Result<(), StateError> {
    let moment = |of: &Snapshot| {
        (
            of.aggregate_version,
            of.stream_version,
            of.position,
            of.frame,
        )
    };
    if moment(old) == moment(new) {
        return Ok(());
    }
    // A state of another shape is of no use any more, and a stream that became shorter is another one.
    if old.aggregate_version != new.aggregate_version || old.stream_version >= new.stream_version {
        return forget(txn, table, stream);
    }
    let full = chain::next_link(stream, old, None, usize::MAX, 1);
    txn.put(table, &key(stream, old.stream_version), &full.value)?;
    let mut versions: Vec<u64> = keys(txn, table, stream)?
        .iter()
        .map(|key| version_of(key))
        .collect();
    while versions.len() > places {
        let gone = versions.remove(superfluous(&versions, new.stream_version));
        txn.delete(table, &key(stream, gone))?;
    }
    Ok(())
}

/// Removes all earlier snapshots of a stream.
pub(super) fn forget(
    txn: &mut WriteTxn<'_>,
    table: Table,
    stream: &StreamId,
) -> Result<(), StateError> {
    for key in keys(txn, table, stream)? {
        txn.delete(table, &key)?;
    }
    Ok(())
}

fn keys(txn: &WriteTxn<'_>, table: Table, stream: &StreamId) -> Result<Vec<Vec<u8>>, StateError> {
    let (from, to) = bounds(stream);
    let bounds = (Bound::Included(&from[..]), Bound::Included(&to[..]));
    let entries = txn.range(table, bounds.0, bounds.1)?;
    let keys = entries.map(|entry| entry.map(|(key, _)| key.to_vec()));
    Ok(keys.collect::<Result<_, _>>()?)
}

/// The place in `versions`, which ascend, whose removal leaves the narrowest gap; the first of several.
fn superfluous(versions: &[u64], newest: u64) -> usize {
    let gap = |at: usize| {
        let before = at.checked_sub(1).map_or(0, |at| versions[at]);
        let behind = versions.get(at + 1).copied().unwrap_or(newest);
        behind.saturating_sub(before)
    };
    (0..versions.len()).min_by_key(|&at| gap(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No gap is wider than twice its fair share, or than the widest step between snapshots and its neighbour.
        #[test]
        fn gaps_stay_in_proportion(steps in prop::collection::vec(1u64..200, 1..400), places in 2usize..20) {
            let (mut kept, mut newest) = (Vec::new(), 0);
            for step in &steps {
                let next = newest + step;
                if newest > 0 {
                    kept.push(newest);
                }
                newest = next;
                while kept.len() > places {
                    let gone = superfluous(&kept, newest);
                    kept.remove(gone);
                }
                let mut marks = vec![0];
                marks.extend(&kept);
                marks.push(newest);
                let widest = marks.windows(2).map(|two| two[1] - two[0]).max().unwrap();
                let steps = steps.iter().copied().max().unwrap();
                // Integer division: at most places / 2 pairs, rounded down.
                let share = newest.div_ceil(places.div_ceil(2) as u64);
                prop_assert!(widest <= share.max(2 * steps), "{widest} in {marks:?}");
            }
        }
    }

    #[test]
    fn equal_gaps_are_joined_from_the_oldest_on() {
        assert_eq!(superfluous(&[10, 20, 30], 40), 0);
        assert_eq!(superfluous(&[20, 30, 40], 50), 1);
        assert_eq!(superfluous(&[], 50), 0);
    }
}
