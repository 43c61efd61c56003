//! Which events of its category a projection reads.
//!
//! Place: a frame from the log -> **[`Wanted`]** -> the events that are decoded and projected. Types are looked at once per
//! frame. What is not wanted is never decoded, and of frames with enough of each kind for them to lie apart, not read.
//! Invariant: a position moves over events that are not wanted, so a projection is not behind because of them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use millstream_engine::event::{Metadata, PartitionId, Position};
use millstream_engine::log::WantedKinds;
use millstream_engine::log::frame::{Kind, KindSet, Record};
use millstream_engine::time::Timestamp;
use uuid::Uuid;

use super::decision::DECISIONS;

type Filter = Box<dyn Fn(&Envelope<'_>) -> bool + Send + Sync>;

/// What is known of an event before its payload is read.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Envelope<'a> {
    /// Id of its stream without the category: `42` of `account-42`.
    pub id: &'a str,
    /// Name of its type, as it was written.
    pub event_type: &'a str,
    /// Version of its type's shape, as it was written.
    pub schema_version: u32,
    /// Its number in the stream.
    pub version: u64,
    /// Its place in the log.
    pub position: Position,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// When it happened.
    pub event_time: Timestamp,
    /// Where it came from.
    pub metadata: &'a Metadata,
}

impl<'a> Envelope<'a> {
    fn of(partition: PartitionId, record: &'a Record<'_>) -> Self {
        Self {
            id: record.stream,
            event_type: &record.kind.event_type,
            schema_version: record.kind.schema_version,
            version: record.version,
            position: Position {
                partition,
                offset: record.offset,
            },
            recorded_at: record.recorded_at,
            event_time: record.event_time,
            metadata: &record.metadata,
        }
    }
}

/// The events of its category that a projection reads. Conditions add up: an event is read if it meets all of them.
///
/// What a projection wants is a part of what it does: rows that were made of other events stay as they are, so a change
/// needs another [`VERSION`](super::Projection::VERSION).
///
/// ```
/// use millstream_operators::projection::Wanted;
/// let deposits = Wanted::types(["Deposited", "Transferred"]);
/// let at_night = deposits.filter(|event| event.recorded_at.0 / 3_600_000_000 % 24 < 6);
/// ```
#[derive(Default)]
pub struct Wanted {
    types: Option<Vec<Cow<'static, str>>>,
    correlation: Option<Uuid>,
    filter: Option<Filter>,
}

impl Wanted {
    /// All events of the category.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Events of these types. An event has the type under which it was written: the name of the variant of an enum, else
    /// of the struct. One that an upcaster renames is to be listed under its older names as well.
    #[must_use]
    pub fn types<T: Into<Cow<'static, str>>>(types: impl IntoIterator<Item = T>) -> Self {
        Self {
            types: Some(types.into_iter().map(Into::into).collect()),
            ..Self::default()
        }
    }

    /// Of these only those of one conversation.
    #[must_use]
    pub fn correlation(self, correlation: Uuid) -> Self {
        Self {
            correlation: Some(correlation),
            ..self
        }
    }

    /// Of these only those for which `filter` is true. It must give the same answer whenever it is asked about an event.
    /// One that panics is a failure of that event, as in [`project`](super::Projection::project).
    #[must_use]
    pub fn filter(
        mut self,
        filter: impl Fn(&Envelope<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let before = self.filter.take();
        self.filter = Some(match before {
            None => Box::new(filter),
            Some(before) => Box::new(move |event| before(event) && filter(event)),
        });
        self
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted")
            .field("types", &self.types)
            .field("correlation", &self.correlation)
            .field("filter", &self.filter.is_some())
            .finish()
    }
}

/// How much of a frame is wanted, as far as its kinds tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Portion {
    Nothing,
    /// Of these kinds.
    Some(KindSet),
    All,
}

impl Wanted {
    /// How much is wanted of a frame with these kinds.
    pub(super) fn portion(&self, category: &str, kinds: &[Kind]) -> Portion {
        let mut wanted = 0;
        let set = KindSet::of(kinds, |kind| {
            let is_wanted = self.has_kind(category, kind);
            wanted += usize::from(is_wanted);
            is_wanted
        });
        match wanted {
            0 => Portion::Nothing,
            all if all == kinds.len() && self.correlation.is_none() => Portion::All,
            _ => Portion::Some(set),
        }
    }

    /// Whether an event is wanted, as far as it can be told without asking user code.
    #[inline]
    pub(super) fn has(&self, category: &str, record: &Record<'_>) -> bool {
        self.has_kind(category, record.kind)
            && (self.correlation.is_none() || record.metadata.correlation == self.correlation)
    }

    /// Whether the filter takes an event. User code: it may panic.
    #[inline]
    pub(super) fn takes(&self, partition: PartitionId, record: &Record<'_>) -> bool {
        match &self.filter {
            None => true,
            Some(filter) => filter(&Envelope::of(partition, record)),
        }
    }

    /// The kinds that are wanted, and decisions about dead letters, which projections hear of.
    pub(super) fn kinds(&self, category: &'static str) -> WantedKinds {
        let types = self.types.clone();
        Arc::new(move |kind| {
            kind.category == DECISIONS || is_kind(types.as_deref(), category, kind)
        })
    }

    fn has_kind(&self, category: &str, kind: &Kind) -> bool {
        is_kind(self.types.as_deref(), category, kind)
    }
}

fn is_kind(types: Option<&[Cow<'static, str>]>, category: &str, kind: &Kind) -> bool {
    let is_type = |types: &[Cow<'_, str>]| types.iter().any(|wanted| *wanted == *kind.event_type);
    kind.category == category && types.is_none_or(is_type)
}
