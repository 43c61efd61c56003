//! How effects are stored, and what tells them apart.
//!
//! Key: the outbox's name, a zero, partition, offset and number within the event, all big-endian: so they lie in the order of
//! the log. Value: version of the format, time when the event was recorded and when it happened, length of the id of its
//! stream, the id, and the effect as a row is encoded. One that was given up has in front of that its format's version, the
//! number of tries, the time of the last, and the length and text of its cause.

use std::fmt;

use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::time::Timestamp;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use super::super::versions::Stamp;

/// Version of the stored form of an effect.
const FORMAT: u8 = 1;
/// Bytes of a key behind the outbox's name.
const PLACE_BYTES: usize = 14;

/// Identity of an effect: the same in every try, after restarts, and whichever version of its projection sends it. A UUID of
/// version 8. The outside tells by it what it has done already. An event that comes to stand where another one stood before a
/// backup was restored has effects of its own, unless it was recorded in the same microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectId(pub Uuid);

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl EffectId {
    /// The id of an effect of a log, or of none in tests; of the event that was recorded then.
    pub(super) fn derive(
        store: Option<Uuid>,
        projection: &str,
        outbox: &str,
        place: EffectPlace,
        recorded_at: Timestamp,
    ) -> Self {
        let mut hash = Xxh3::new();
        // Two logs have the same positions: what one has sent must not keep the other from it.
        hash.update(store.unwrap_or_default().as_bytes());
        for text in [projection, outbox] {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(&place.to_bytes());
        // After the restore of a backup the log has other events at positions that it has had before, and has kept its
        // identity: the outside must not take their effects for repeats.
        hash.update(&recorded_at.0.to_be_bytes());
        let bytes = hash.digest128().to_be_bytes();
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// Place of an effect in its outbox: effects lie in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectPlace {
    /// Of its event.
    pub position: Position,
    /// Number within the event, from 0.
    pub index: u32,
}

impl EffectPlace {
    fn to_bytes(self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..2].copy_from_slice(&self.position.partition.0.to_be_bytes());
        bytes[2..10].copy_from_slice(&self.position.offset.0.to_be_bytes());
        bytes[10..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// The first of a partition that there may be.
    pub(super) const fn first(partition: PartitionId) -> Self {
        Self {
            position: Position {
                partition,
                offset: Offset(0),
            },
            index: 0,
        }
    }

    /// The place right behind it.
    pub(super) fn next(self) -> Self {
        let Position { partition, offset } = self.position;
        match self.index.checked_add(1) {
            Some(index) => Self { index, ..self },
            None => Self {
                position: Position {
                    partition,
                    offset: offset.plus(1),
                },
                index: 0,
            },
        }
    }

    /// Its key in the outbox of this name.
    pub(super) fn key(self, outbox: &str) -> Vec<u8> {
        let mut key = prefix(outbox);
        key.extend_from_slice(&self.to_bytes());
        key
    }

    /// The place that a key of any outbox ends in.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        let bytes = key.last_chunk::<PLACE_BYTES>()?;
        let (partition, rest) = bytes.split_first_chunk::<2>()?;
        let (offset, index) = rest.split_first_chunk::<8>()?;
        Some(Self {
            position: Position {
                partition: PartitionId(u16::from_be_bytes(*partition)),
                offset: Offset(u64::from_be_bytes(*offset)),
            },
            index: u32::from_be_bytes(*index.first_chunk::<4>()?),
        })
    }
}

/// From one place to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: EffectPlace,
    pub(super) last: EffectPlace,
}

impl Span {
    /// One place.
    pub(super) const fn of(place: EffectPlace) -> Self {
        Self {
            first: place,
            last: place,
        }
    }

    /// The shortest that has both in it.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// The same with another one, if there is one.
    pub(super) fn with(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| self.and(other))
    }
}

/// What the keys of an outbox begin with.
pub(super) fn prefix(outbox: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(outbox.len() + 1 + PLACE_BYTES);
    key.extend_from_slice(outbox.as_bytes());
    key.push(0);
    key
}

/// Outbox and place of a key; `None` if it is none.
pub(super) fn place_of(key: &[u8]) -> Option<(&str, EffectPlace)> {
    let place = EffectPlace::of_key(key)?;
    let name = key.get(..key.len() - PLACE_BYTES)?.strip_suffix(&[0])?;
    Some((std::str::from_utf8(name).ok()?, place))
}

/// Keys of one partition of an outbox: the first that there may be and the last.
pub(super) fn keys_of(outbox: &str, partition: PartitionId) -> (Vec<u8>, Vec<u8>) {
    let place = |offset, index| EffectPlace {
        position: Position {
            partition,
            offset: Offset(offset),
        },
        index,
    };
    (
        place(0, 0).key(outbox),
        place(u64::MAX, u32::MAX).key(outbox),
    )
}

/// A stored effect without its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored<'b> {
    pub(super) recorded_at: Timestamp,
    pub(super) event_time: Timestamp,
    /// Id of the event's stream without its category.
    pub(super) key: &'b str,
    pub(super) value: &'b [u8],
}

/// Begins the stored form of an effect; its value is appended behind.
pub(super) fn begin(stamp: &Stamp, key: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + key.len());
    out.push(FORMAT);
    out.extend_from_slice(&stamp.recorded_at.0.to_be_bytes());
    out.extend_from_slice(&stamp.event_time.0.to_be_bytes());
    // Ids of streams are far shorter.
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&key.as_bytes()[..usize::from(length)]);
    out
}

/// Reads a stored effect; `None` if it is of another format or damaged.
pub(super) fn read(bytes: &[u8]) -> Option<Stored<'_>> {
    let rest = bytes.strip_prefix(&[FORMAT])?;
    let (recorded_at, rest) = rest.split_first_chunk::<8>()?;
    let (event_time, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (key, value) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some(Stored {
        recorded_at: Timestamp(i64::from_be_bytes(*recorded_at)),
        event_time: Timestamp(i64::from_be_bytes(*event_time)),
        key: std::str::from_utf8(key).ok()?,
        value,
    })
}

/// Why and when an effect was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) attempts: u32,
    pub(super) at: Timestamp,
    pub(super) text: String,
}

/// The stored form of an effect that was given up, of that which it had.
pub(super) fn give_up(cause: &Cause, stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + cause.text.len() + stored.len());
    out.push(FORMAT);
    out.extend_from_slice(&cause.attempts.to_be_bytes());
    out.extend_from_slice(&cause.at.0.to_be_bytes());
    let length = u32::try_from(cause.text.len()).unwrap_or(0);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&cause.text.as_bytes()[..length as usize]);
    out.extend_from_slice(stored);
    out
}

/// Reads an effect that was given up: why, and what it was stored as.
pub(super) fn read_given_up(bytes: &[u8]) -> Option<(Cause, &[u8])> {
    let rest = bytes.strip_prefix(&[FORMAT])?;
    let (attempts, rest) = rest.split_first_chunk::<4>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (text, stored) = rest.split_at_checked(length)?;
    let cause = Cause {
        attempts: u32::from_be_bytes(*attempts),
        at: Timestamp(i64::from_be_bytes(*at)),
        text: std::str::from_utf8(text).ok()?.to_owned(),
    };
    Some((cause, stored))
}

/// An effect on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect<E> {
    /// The same in every try: what the outside tells repeats by.
    pub id: EffectId,
    /// Place of its event in the log.
    pub position: Position,
    /// Number within the event, from 0.
    pub index: u32,
    /// Id of the event's stream without its category. Effects of one stream are delivered one after the other.
    pub key: String,
    /// When the log took the event.
    pub recorded_at: Timestamp,
    /// When the event happened.
    pub event_time: Timestamp,
    /// Which try this is since the process was started, from 1. 1 does not say that there was none before.
    pub attempt: u32,
    /// What was sent.
    pub value: E,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: u16, offset: u64, index: u32) -> EffectPlace {
        EffectPlace {
            position: Position {
                partition: PartitionId(partition),
                offset: Offset(offset),
            },
            index,
        }
    }

    /// Part of the on-disk format, and of what the outside remembers.
    #[test]
    fn keys_values_and_ids_are_what_they_were() {
        let key = place(1, 2, 3).key("mails");
        let bytes = b"mails\0\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x03";
        assert_eq!(key, bytes);
        assert_eq!(EffectPlace::of_key(&key), Some(place(1, 2, 3)));
        assert_eq!(place_of(&key), Some(("mails", place(1, 2, 3))));
        let stamp = Stamp {
            position: place(1, 2, 3).position,
            recorded_at: Timestamp(4),
            event_time: Timestamp(-1),
        };
        let mut stored = begin(&stamp, "42");
        stored.extend_from_slice(b"value");
        let golden =
            b"\x01\x00\x00\x00\x00\x00\x00\x00\x04\xff\xff\xff\xff\xff\xff\xff\xff\x00\x0242value";
        assert_eq!(stored, golden);
        let read_back = read(&stored).unwrap();
        assert_eq!((read_back.key, read_back.value), ("42", &b"value"[..]));
        assert_eq!(read_back.event_time, Timestamp(-1));
        let cause = Cause {
            attempts: 5,
            at: Timestamp(6),
            text: "no".to_owned(),
        };
        let given_up = give_up(&cause, b"rest");
        let golden = b"\x01\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x02norest";
        assert_eq!(given_up, golden);
        assert_eq!(read_given_up(&given_up), Some((cause, &b"rest"[..])));
        let id = EffectId::derive(None, "orders", "mails", place(1, 2, 3), Timestamp(4));
        assert_eq!(id.0.get_version_num(), 8);
        assert_eq!(id.to_string(), "9034461c-98a5-8f82-86a2-0575001d660e");
    }

    #[test]
    fn what_is_cut_off_or_of_another_format_is_not_read() {
        let stamp = Stamp {
            position: place(0, 0, 0).position,
            recorded_at: Timestamp(0),
            event_time: Timestamp(0),
        };
        let stored = begin(&stamp, "key");
        for length in 0..stored.len() {
            assert_eq!(read(&stored[..length]), None, "{length}");
        }
        assert_eq!(read(&[&[2], &stored[1..]].concat()), None);
        assert_eq!(EffectPlace::of_key(b"short"), None);
    }

    #[test]
    fn ids_are_told_apart() {
        let at = |store: u128, projection, outbox, place, recorded_at| {
            let store = Some(Uuid::from_u128(store));
            EffectId::derive(store, projection, outbox, place, Timestamp(recorded_at))
        };
        let id = |store, projection, outbox, place| at(store, projection, outbox, place, 7);
        let ids = [
            id(1, "ab", "c", place(0, 0, 0)),
            id(2, "ab", "c", place(0, 0, 0)),
            id(1, "a", "bc", place(0, 0, 0)),
            id(1, "ab", "c", place(1, 0, 0)),
            id(1, "ab", "c", place(0, 1, 0)),
            id(1, "ab", "c", place(0, 0, 1)),
            // Another event at the same place.
            at(1, "ab", "c", place(0, 0, 0), 8),
        ];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
