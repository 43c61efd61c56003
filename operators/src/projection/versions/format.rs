//! The bytes of changes and versions.
//!
//! | row | key | value |
//! |---|---|---|
//! | change | actor (16 bits), number (64) | 1, flags, stamp, seen (64), hash before (64), the row's key |
//! | version | the row's key as a part of a longer one, actor (16), number (64) | 1, whether the row is there, stamp, the row |
//!
//! All numbers are big-endian. A stamp is the event's partition (16), offset (64), recorded time (64) and event time (64).
//! Flags of a change: 1 if the row is there, 2 if its event was freed late. *Seen* is the offset behind the last event of the
//! partition that had been applied or was waiting: of a late change that of where the projection had come. The hash of a change is XXH3 over the
//! hash of the one before it, the stamp, whether the row is there, and its key; the one before the first is made of the names
//! of projection and table and the projection's version.

use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::state::StateError;
use millstream_engine::time::Timestamp;
use xxhash_rust::xxh3::Xxh3;

use crate::projection::key::part;

const FORMAT: u8 = 1;
const STAMP_BYTES: usize = 26;
/// Actor and number.
pub(super) const PLACE_BYTES: usize = 10;

/// The event that changed a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its place in the log.
    pub position: Position,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// When it happened.
    pub event_time: Timestamp,
}

impl Stamp {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position.partition.0.to_be_bytes());
        out.extend_from_slice(&self.position.offset.0.to_be_bytes());
        out.extend_from_slice(&self.recorded_at.0.to_be_bytes());
        out.extend_from_slice(&self.event_time.0.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let partition = PartitionId(u16::from_be_bytes(take(bytes)?));
        let offset = Offset(u64::from_be_bytes(take(bytes)?));
        Some(Self {
            position: Position { partition, offset },
            recorded_at: Timestamp(i64::from_be_bytes(take(bytes)?)),
            event_time: Timestamp(i64::from_be_bytes(take(bytes)?)),
        })
    }
}

/// A change as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::projection) struct Change {
    pub(in crate::projection) stamp: Stamp,
    /// Whether the row is there then.
    pub(in crate::projection) is_there: bool,
    /// Whether its event had waited behind one that failed, while others went on.
    pub(in crate::projection) is_late: bool,
    pub(in crate::projection) seen: Offset,
    /// The hash of the change before it.
    pub(in crate::projection) before: u64,
    /// Bytes of the row's key.
    pub(in crate::projection) key: Vec<u8>,
}

impl Change {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + STAMP_BYTES + 16 + self.key.len());
        let flags = u8::from(self.is_there) | (u8::from(self.is_late) << 1);
        out.extend_from_slice(&[FORMAT, flags]);
        self.stamp.write(&mut out);
        out.extend_from_slice(&self.seen.0.to_be_bytes());
        out.extend_from_slice(&self.before.to_be_bytes());
        out.extend_from_slice(&self.key);
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, StateError> {
        let bytes = &mut bytes;
        let mut read = || {
            let [FORMAT, flags @ 0..=3] = take::<2>(bytes)? else {
                return None;
            };
            Some(Self {
                is_there: flags & 1 != 0,
                is_late: flags & 2 != 0,
                stamp: Stamp::read(bytes)?,
                seen: Offset(u64::from_be_bytes(take(bytes)?)),
                before: u64::from_be_bytes(take(bytes)?),
                key: bytes.to_vec(),
            })
        };
        read().ok_or(BROKEN)
    }

    /// The hash of a change behind one with the hash `before`.
    pub(super) fn hash_behind(before: u64, stamp: &Stamp, is_there: bool, key: &[u8]) -> u64 {
        let mut own = Vec::with_capacity(STAMP_BYTES + 9 + key.len());
        own.extend_from_slice(&before.to_be_bytes());
        stamp.write(&mut own);
        own.push(u8::from(is_there));
        let mut hasher = Xxh3::new();
        hasher.update(&own);
        hasher.update(key);
        hasher.digest()
    }

    /// Its hash.
    pub(super) fn hash(&self) -> u64 {
        Self::hash_behind(self.before, &self.stamp, self.is_there, &self.key)
    }
}

/// A version as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::projection) struct Version {
    pub(in crate::projection) stamp: Stamp,
    /// The row's bytes; `None`: it is gone.
    pub(in crate::projection) row: Option<Vec<u8>>,
}

impl Version {
    pub(super) fn encode(stamp: &Stamp, row: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + STAMP_BYTES + row.map_or(0, <[u8]>::len));
        out.extend_from_slice(&[FORMAT, u8::from(row.is_some())]);
        stamp.write(&mut out);
        out.extend_from_slice(row.unwrap_or_default());
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, StateError> {
        let bytes = &mut bytes;
        let mut read = || {
            let is_there = begin(bytes)?;
            let stamp = Stamp::read(bytes)?;
            let row = is_there.then(|| bytes.to_vec());
            Some(Self { stamp, row })
        };
        read().ok_or(BROKEN)
    }
}

/// Something else than this program writes lies in a hidden table.
pub(super) const BROKEN: StateError = StateError::Format {
    database: "rows",
    what: "a change or a version of a row",
};

fn begin(bytes: &mut &[u8]) -> Option<bool> {
    match take::<2>(bytes)? {
        [FORMAT, 0] => Some(false),
        [FORMAT, 1] => Some(true),
        _ => None,
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (own, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*own)
}

/// Key of a change, and the end of that of a version.
pub(super) fn place_bytes(actor: u16, number: u64) -> [u8; PLACE_BYTES] {
    let mut bytes = [0; PLACE_BYTES];
    bytes[..2].copy_from_slice(&actor.to_be_bytes());
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Actor and number of such bytes.
pub(super) fn place_of(mut bytes: &[u8]) -> Result<(u16, u64), StateError> {
    let bytes = &mut bytes;
    let mut read = || {
        let actor = u16::from_be_bytes(take(bytes)?);
        let number = u64::from_be_bytes(take(bytes)?);
        bytes.is_empty().then_some((actor, number))
    };
    read().ok_or(BROKEN)
}

/// What the keys of the versions of a row begin with.
pub(in crate::projection) fn version_prefix(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 2 + PLACE_BYTES);
    out.extend_from_slice(key);
    part::escape(&mut out, 0);
    out
}

/// Key of a version.
pub(in crate::projection) fn version_key(key: &[u8], actor: u16, number: u64) -> Vec<u8> {
    let mut out = version_prefix(key);
    out.extend_from_slice(&place_bytes(actor, number));
    out
}

/// The row's key, actor and number of such a key.
pub(in crate::projection) fn version_of(
    mut bytes: &[u8],
) -> Result<(Vec<u8>, u16, u64), StateError> {
    let key = part::unescape(&mut bytes).ok_or(BROKEN)?;
    let (actor, number) = place_of(bytes)?;
    Ok((key, actor, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp() -> impl Strategy<Value = Stamp> {
        (any::<u16>(), any::<u64>(), any::<i64>(), any::<i64>()).prop_map(
            |(partition, offset, recorded, happened)| Stamp {
                position: Position {
                    partition: PartitionId(partition),
                    offset: Offset(offset),
                },
                recorded_at: Timestamp(recorded),
                event_time: Timestamp(happened),
            },
        )
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255)], 0..4)
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back(
            stamp in stamp(), key in key(), is_late: bool, seen: u64, before: u64, row in prop::option::of(key()), actor: u16, number: u64,
        ) {
            let is_there = row.is_some();
            let change = Change { stamp, is_there, is_late, seen: Offset(seen), before, key: key.clone() };
            prop_assert_eq!(Change::decode(&change.encode()).unwrap(), change);
            let version = Version { stamp, row };
            let bytes = Version::encode(&stamp, version.row.as_deref());
            prop_assert_eq!(Version::decode(&bytes).unwrap(), version);
            let found = version_of(&version_key(&key, actor, number));
            prop_assert_eq!(found.unwrap(), (key, actor, number));
        }

        #[test]
        fn versions_lie_in_order_of_key_actor_and_number(
            a in (key(), 0..3_u16, 0..3_u64), b in (key(), 0..3_u16, 0..3_u64),
        ) {
            let bytes = |of: &(Vec<u8>, u16, u64)| version_key(&of.0, of.1, of.2);
            prop_assert_eq!(bytes(&a).cmp(&bytes(&b)), a.cmp(&b));
        }
    }

    /// The stored form must not change unseen.
    #[test]
    fn golden_bytes() {
        let stamp = Stamp {
            position: Position {
                partition: PartitionId(1),
                offset: Offset(2),
            },
            recorded_at: Timestamp(3),
            event_time: Timestamp(-1),
        };
        let change = Change {
            stamp,
            is_there: true,
            is_late: false,
            seen: Offset(4),
            before: 5,
            key: vec![0, 7],
        };
        let stamped = "0001000000000000000200000000000000\
                       03ffffffffffffffff";
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(
            hex(&change.encode()),
            format!("0101{stamped}000000000000000400000000000000050007")
        );
        let version = Version::encode(&stamp, Some(&[9]));
        assert_eq!(hex(&version), format!("0101{stamped}09"));
        assert_eq!(
            hex(&Version::encode(&stamp, None)),
            format!("0100{stamped}")
        );
        let key = version_key(&[0, 7], 1, 2);
        assert_eq!(hex(&key), "00ff07000000010000000000000002");
        assert_eq!(Change::hash_behind(6, &stamp, false, &[8]), GOLDEN_HASH);
    }

    const GOLDEN_HASH: u64 = 12_745_357_300_952_536_213;
}
