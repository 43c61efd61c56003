//! Events that a projection could not apply, and what waits behind them.
//!
//! Key: projection (32 bits), partition (16), offset (64), hash of stage and key (32), so one projection's
//! letters are a range in the order of their positions. What a person decides about one is an event in the
//! log; here is only what can be found again by replaying it.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use xxhash_rust::xxh3::xxh3_64;

use super::ProjectionId;
use super::wire::{FORMAT_VERSION, Input, put_sized};
use crate::event::{Offset, PartitionId, Position};
use crate::log::frame::{Encoding, Kind};
use crate::time::Timestamp;

/// Followers listed in one letter; more are counted only. They can be found in the log by their key.
pub const FOLLOWERS_MAX: usize = 4_096;
/// Texts kept of one chain of causes.
pub const CAUSES_MAX: usize = 16;
/// Redrives of one letter that are remembered: the latest.
pub const EARLIER_MAX: usize = 16;
/// Version of a letter with earlier tries, redrives and bytes of followers; those of version 1 have none.
const WITH_EARLIER: u8 = 2;
/// Version of a letter with a class of causes; those before have none.
const WITH_CLASS: u8 = 3;
/// Bytes kept of one text.
const CAUSE_BYTES_MAX: usize = 4 << 10;

/// What becomes of a parked key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterStatus {
    /// It is tried again at this time.
    Retrying {
        /// Processing time of the next attempt.
        at: Timestamp,
    },
    /// It waits for a person.
    Dead,
}

/// Tries of a letter's event before somebody had it tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierTries {
    /// How often it had been tried until then, counted from the first try.
    pub attempts: u32,
    /// When it had failed last.
    pub last_failed: Timestamp,
    /// The error, without what caused it. Stored: 4 KiB.
    pub cause: String,
    /// Who had it tried again. Stored: 4 KiB.
    pub redriven_by: String,
}

/// A parked key: the event that failed, why, and what is queued behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The projection.
    pub projection: ProjectionId,
    /// Name of the stage that failed.
    pub stage: CompactString,
    /// Version of the projection or topology at that time.
    pub version: u32,
    /// What is parked: the stream, or the key of a keyed stage.
    pub key: CompactString,
    /// What becomes of it.
    pub status: DeadLetterStatus,
    /// The error and what caused it, outermost first. Stored: the first 16, 4 KiB each.
    pub cause: Vec<String>,
    /// Class of causes that metrics count it by; empty if it was stored by a version without.
    pub class: CompactString,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first.
    pub first_failed: Timestamp,
    /// When it failed last.
    pub last_failed: Timestamp,
    /// Where the event lies.
    pub position: Position,
    /// Category, type, schema version and encoding of the event.
    pub kind: Kind,
    /// What its payload refers to, such as shapes that stand once per frame; may be empty.
    pub dictionary: Vec<u8>,
    /// The event's payload.
    pub payload: Vec<u8>,
    /// What came before each redrive, oldest first. Stored: the last [`EARLIER_MAX`].
    pub earlier: Vec<EarlierTries>,
    /// Redrives of the event that the log holds, as far as was read. A decision names how many it knew of: two
    /// that know of the same are one.
    pub redrives: u32,
    /// How many later events of the key are queued behind it.
    pub followers: u64,
    /// Bytes of their payloads.
    pub followers_bytes: u64,
    /// Where they lie, oldest first. Stored: the first [`FOLLOWERS_MAX`].
    pub follower_offsets: Vec<Offset>,
}

/// Name of a dead letter: printable, parseable, and the same each time the log is replayed.
///
/// ```
/// use millstream_engine::state::DeadLetterId;
/// let id: DeadLetterId = "3-0-1234-9f86d081".parse()?;
/// assert_eq!((id.projection.0, id.offset.0), (3, 1234));
/// assert_eq!(id.to_string(), "3-0-1234-9f86d081");
/// # Ok::<(), millstream_engine::state::ParseDeadLetterIdError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId {
    /// The projection.
    pub projection: ProjectionId,
    /// The event's partition.
    pub partition: PartitionId,
    /// The event's offset.
    pub offset: Offset,
    /// Hash of stage and key: one event may be parked under several keys.
    pub discriminator: u32,
}

/// A text that is no id of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the id of a dead letter, which looks like 3-0-1234-9f86d081")]
pub struct ParseDeadLetterIdError {
    /// What was given.
    pub text: String,
}

impl DeadLetter {
    /// The letter's id: its projection, position and key.
    pub fn id(&self) -> DeadLetterId {
        DeadLetterId::new(self.projection, self.position, &self.stage, &self.key)
    }

    /// Adds to what came before a redrive; the oldest is given up for it when there are [`EARLIER_MAX`].
    pub fn remember(&mut self, tries: EarlierTries) {
        if self.earlier.len() >= EARLIER_MAX {
            self.earlier.drain(..=self.earlier.len() - EARLIER_MAX);
        }
        self.earlier.push(tries);
    }

    /// About how many bytes it takes, stored or in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let causes: usize = self.cause.iter().map(String::len).sum();
        let earlier = self.earlier.iter();
        let earlier: usize = earlier
            .map(|tries| tries.cause.len() + tries.redriven_by.len() + 24)
            .sum();
        self.payload.len()
            + self.dictionary.len()
            + causes
            + earlier
            + 8 * self.follower_offsets.len()
            + 256
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        out.push(WITH_CLASS);
        put_sized(&mut out, self.stage.as_bytes());
        out.extend_from_slice(&self.version.to_be_bytes());
        put_sized(&mut out, self.key.as_bytes());
        let (status, at) = match self.status {
            DeadLetterStatus::Retrying { at } => (0, at.0),
            DeadLetterStatus::Dead => (1, 0),
        };
        out.push(status);
        out.extend_from_slice(&at.to_be_bytes());
        let causes = &self.cause[..self.cause.len().min(CAUSES_MAX)];
        out.push(causes.len() as u8);
        for cause in causes {
            put_text(&mut out, cause);
        }
        out.extend_from_slice(&self.attempts.to_be_bytes());
        out.extend_from_slice(&self.first_failed.0.to_be_bytes());
        out.extend_from_slice(&self.last_failed.0.to_be_bytes());
        put_sized(&mut out, self.kind.category.as_bytes());
        put_sized(&mut out, self.kind.event_type.as_bytes());
        out.extend_from_slice(&self.kind.schema_version.to_be_bytes());
        out.push(self.kind.encoding as u8);
        put_sized(&mut out, &self.dictionary);
        put_sized(&mut out, &self.payload);
        let earlier = &self.earlier[self.earlier.len().saturating_sub(EARLIER_MAX)..];
        out.push(earlier.len() as u8);
        for tries in earlier {
            out.extend_from_slice(&tries.attempts.to_be_bytes());
            out.extend_from_slice(&tries.last_failed.0.to_be_bytes());
            put_text(&mut out, &tries.cause);
            put_text(&mut out, &tries.redriven_by);
        }
        put_text(&mut out, &self.class);
        out.extend_from_slice(&self.redrives.to_be_bytes());
        out.extend_from_slice(&self.followers_bytes.to_be_bytes());
        out.extend_from_slice(&self.followers.to_be_bytes());
        for offset in self.follower_offsets.iter().take(FOLLOWERS_MAX) {
            out.extend_from_slice(&offset.0.to_be_bytes());
        }
        out
    }

    pub(super) fn decode(id: DeadLetterId, bytes: &[u8]) -> Option<Self> {
        let (&format, rest) = bytes.split_first()?;
        if ![FORMAT_VERSION, WITH_EARLIER, WITH_CLASS].contains(&format) {
            return None;
        }
        let (has_earlier, has_class) = (format >= WITH_EARLIER, format == WITH_CLASS);
        let mut input = Input::bare(rest);
        let stage = input.text()?.into();
        let version = input.u32()?;
        let key = input.text()?.into();
        let status = match (input.byte()?, input.i64()?) {
            (0, at) => DeadLetterStatus::Retrying { at: Timestamp(at) },
            (1, _) => DeadLetterStatus::Dead,
            _ => return None,
        };
        let cause = (0..input.byte()?)
            .map(|_| input.text().map(str::to_owned))
            .collect::<Option<_>>()?;
        Some(Self {
            projection: id.projection,
            stage,
            version,
            key,
            status,
            cause,
            attempts: input.u32()?,
            first_failed: Timestamp(input.i64()?),
            last_failed: Timestamp(input.i64()?),
            position: Position {
                partition: id.partition,
                offset: id.offset,
            },
            kind: Kind {
                category: input.text()?.into(),
                event_type: input.text()?.into(),
                schema_version: input.u32()?,
                encoding: encoding(input.byte()?)?,
            },
            dictionary: input.sized()?.to_vec(),
            payload: input.sized()?.to_vec(),
            earlier: if has_earlier {
                earlier(&mut input)?
            } else {
                Vec::new()
            },
            class: if has_class {
                input.text()?.into()
            } else {
                CompactString::default()
            },
            redrives: if has_earlier { input.u32()? } else { 0 },
            followers_bytes: if has_earlier { input.u64()? } else { 0 },
            followers: input.u64()?,
            follower_offsets: {
                let (offsets, rest) = input.rest().as_chunks::<8>();
                if !rest.is_empty() {
                    return None;
                }
                let offset = |bytes: &[u8; 8]| Offset(u64::from_be_bytes(*bytes));
                offsets.iter().map(offset).collect()
            },
        })
    }
}

/// Appends the text, or as much of it as is kept.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(CAUSE_BYTES_MAX);
    put_sized(out, &text.as_bytes()[..end]);
}

fn earlier(input: &mut Input<'_>) -> Option<Vec<EarlierTries>> {
    (0..input.byte()?)
        .map(|_| {
            Some(EarlierTries {
                attempts: input.u32()?,
                last_failed: Timestamp(input.i64()?),
                cause: input.text()?.to_owned(),
                redriven_by: input.text()?.to_owned(),
            })
        })
        .collect()
}

fn encoding(byte: u8) -> Option<Encoding> {
    [Encoding::Binary, Encoding::Json, Encoding::Opaque]
        .into_iter()
        .find(|encoding| *encoding as u8 == byte)
}

impl DeadLetterId {
    /// The id of the letter of the event at `position` that `stage` failed on, parked under `key`.
    #[must_use]
    pub fn new(projection: ProjectionId, position: Position, stage: &str, key: &str) -> Self {
        let mut named = Vec::with_capacity(stage.len() + key.len() + 1);
        named.extend_from_slice(stage.as_bytes());
        named.push(0);
        named.extend_from_slice(key.as_bytes());
        Self {
            projection,
            partition: position.partition,
            offset: position.offset,
            discriminator: xxh3_64(&named) as u32,
        }
    }

    pub(super) fn to_key(self) -> [u8; 18] {
        let mut key = [0; 18];
        key[..4].copy_from_slice(&self.projection.0.to_be_bytes());
        key[4..6].copy_from_slice(&self.partition.0.to_be_bytes());
        key[6..14].copy_from_slice(&self.offset.0.to_be_bytes());
        key[14..].copy_from_slice(&self.discriminator.to_be_bytes());
        key
    }

    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let mut input = Input::bare(key);
        let id = Self {
            projection: ProjectionId(input.u32()?),
            partition: PartitionId(input.u16()?),
            offset: Offset(input.u64()?),
            discriminator: input.u32()?,
        };
        input.finish(id)
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            projection,
            partition,
            offset,
            discriminator,
        } = self;
        write!(f, "{projection}-{partition}-{offset}-{discriminator:08x}")
    }
}

impl FromStr for DeadLetterId {
    type Err = ParseDeadLetterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let mut parts = text.split('-');
            let id = Self {
                projection: ProjectionId(parts.next()?.parse().ok()?),
                partition: PartitionId(parts.next()?.parse().ok()?),
                offset: Offset(parts.next()?.parse().ok()?),
                discriminator: u32::from_str_radix(parts.next()?, 16).ok()?,
            };
            parts.next().is_none().then_some(id)
        };
        parsed().ok_or_else(|| ParseDeadLetterIdError {
            text: text.to_owned(),
        })
    }
}
