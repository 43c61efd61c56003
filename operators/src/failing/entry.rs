//! What waits: an item that failed, or another piece of work, with its history and what is queued behind it.

use std::collections::VecDeque;

use compact_str::CompactString;
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::state::EarlierTries;
use millstream_engine::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cause::{Causes, ERROR, Failure, NOT_TRIED, told};
use super::standing::Stands;
use crate::counted::Counted;
use crate::{Key, maybe, optional};

/// What user code is called for: an item, or a timer.
pub(crate) trait Work: Serialize + DeserializeOwned + Send + 'static {
    /// Name of its type, for people.
    fn type_name(&self) -> &'static str;

    /// As a person may read it.
    ///
    /// # Errors
    /// It has no JSON.
    fn to_json(&self) -> serde_json::Result<Vec<u8>>;

    /// The same with another item in the place of its own, given as [`to_json`](Self::to_json) gives it.
    ///
    /// # Errors
    /// Why there is none.
    fn edited(&self, json: &str) -> Result<Self, String>;

    /// Whether the bounds of what waits are for it.
    fn is_bounded(&self) -> bool {
        true
    }
}

/// An item with what was known when it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Arrived<T> {
    pub(crate) time: Timestamp,
    /// Items before this were late then.
    pub(crate) late_before: Timestamp,
    pub(crate) item: T,
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Work for Arrived<T> {
    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.item)
    }

    fn edited(&self, json: &str) -> Result<Self, String> {
        let item = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Ok(Self {
            time: self.time,
            late_before: self.late_before,
            item,
        })
    }
}

/// Where a letter has its number: by these its item is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) partition: u16,
    pub(crate) number: u64,
}

impl Place {
    /// None lies behind it.
    pub(super) const LAST: Self = Self {
        partition: u16::MAX,
        number: u64::MAX,
    };
}

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        Self {
            partition: position.partition.0,
            number: position.offset.0,
        }
    }
}

impl From<Place> for Position {
    fn from(place: Place) -> Self {
        Self {
            partition: PartitionId(place.partition),
            offset: Offset(place.number),
        }
    }
}

/// Tries before a redrive, as they are saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Earlier {
    pub(super) attempts: u32,
    pub(super) last_failed: Timestamp,
    pub(super) cause: String,
    pub(super) redriven_by: String,
}

impl From<&Earlier> for EarlierTries {
    fn from(earlier: &Earlier) -> Self {
        Self {
            attempts: earlier.attempts,
            last_failed: earlier.last_failed,
            cause: earlier.cause.clone(),
            redriven_by: earlier.redriven_by.clone(),
        }
    }
}

/// Work that failed, and what waits behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize, W: Serialize",
    deserialize = "K: DeserializeOwned, W: DeserializeOwned"
))]
pub(super) struct Entry<K, W> {
    pub(super) place: Place,
    /// Of an item that has one, which may be nothing itself.
    #[serde(rename = "of", default, with = "maybe")]
    pub(super) key: Option<K>,
    /// As versions before wrote it, which lost a key that is nothing itself.
    #[serde(rename = "key", default, skip_serializing)]
    key_before: Option<K>,
    /// Whether later items of the key wait behind it.
    pub(super) holds_key: bool,
    pub(super) work: W,
    pub(super) bytes: usize,
    /// With the bytes of each, oldest first.
    pub(super) followers: VecDeque<(usize, W)>,
    pub(super) followers_bytes: usize,
    /// When it is tried again, or given up; `None`: it waits for a person.
    pub(super) due: Option<Timestamp>,
    /// Somebody gave it up: what is behind it goes on when it is due.
    pub(super) given_up: bool,
    pub(super) cause: Causes,
    pub(super) attempts: u32,
    pub(super) first_failed: Timestamp,
    pub(super) last_failed: Timestamp,
    pub(super) redrives: u32,
    pub(super) earlier: Vec<Earlier>,
    /// Class of the cause. What was saved by a version without has that of most errors.
    #[serde(default = "most")]
    pub(super) class: CompactString,
    /// Its letter is in the state, or on its way there.
    #[serde(skip)]
    pub(super) is_stored: bool,
    /// More waits behind it than its letter says, and that is noted.
    #[serde(skip)]
    pub(super) is_noted: bool,
}

const fn most() -> CompactString {
    CompactString::const_new(ERROR)
}

impl<K, W> Entry<K, W> {
    /// Work that was not tried yet.
    pub(super) fn new(
        place: Place,
        key: Option<K>,
        work: W,
        bytes: usize,
        now: Timestamp,
        cause: &str,
    ) -> Self {
        Self {
            place,
            holds_key: key.is_some(),
            key,
            key_before: None,
            work,
            bytes,
            followers: VecDeque::new(),
            followers_bytes: 0,
            due: None,
            given_up: false,
            cause: vec![cause.to_owned()],
            attempts: 0,
            first_failed: now,
            last_failed: now,
            redrives: 0,
            earlier: Vec::new(),
            class: CompactString::const_new(NOT_TRIED),
            is_stored: false,
            is_noted: false,
        }
    }

    /// The same with what waits behind it.
    pub(super) fn followed_by(mut self, followers: VecDeque<(usize, W)>) -> Self {
        self.followers_bytes += followers.iter().map(|(bytes, _)| bytes).sum::<usize>();
        self.followers.extend(followers);
        self
    }

    /// Finds the key of what was just read, also where a version before has lost it. `key_of` gives that of work, if it has
    /// one.
    pub(super) fn find_key(&mut self, key_of: impl Fn(&W) -> Option<K>)
    where
        K: Key,
    {
        self.key = self.key.take().or(self.key_before.take());
        if self.key.is_none() {
            let followers = self.followers.iter().map(|(_, work)| work);
            let key = std::iter::once(&self.work)
                .chain(followers)
                .find_map(key_of);
            self.key = if self.holds_key {
                // Of timers nobody knows more than that it was written as nothing.
                key.or_else(optional::of_nil)
            } else {
                // It may never have had one, in a stage that had no keys then.
                key.filter(optional::is_nil)
            };
        }
    }

    /// It failed once more.
    pub(super) fn fail(&mut self, failure: Failure, now: Timestamp) {
        self.attempts += 1;
        (self.class, self.cause) = failure.told_as();
        self.last_failed = now;
    }

    /// As it is counted.
    pub(super) fn stands(&self) -> Stands<'_> {
        Stands {
            class: &self.class,
            since: self.first_failed,
            is_dead: self.due.is_none(),
        }
    }

    /// Work in it.
    pub(super) fn items(&self) -> usize {
        1 + self.followers.len()
    }

    pub(super) const fn all_bytes(&self) -> usize {
        self.bytes + self.followers_bytes
    }
}

/// Counts bytes instead of keeping them.
/// How many bytes it takes where it is saved; what cannot be saved counts as far as it can be, and fails the stage when it is
/// tried to.
pub(super) fn bytes_of<W: Serialize>(work: &W) -> usize {
    let mut counted = Counted::default();
    let _ = told(|| rmp_serde::encode::write(&mut counted, work));
    counted.0
}
