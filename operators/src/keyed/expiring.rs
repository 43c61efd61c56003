//! State with a time to live: a value, a map, a list.
//!
//! Invariants: (1) what is over is not seen, even before it is dropped; (2) writing with a time to live arms a
//! timer of the key's, and [`KeyedState::expire`] drops what is over when it fires. In event time something is over for
//! an item or timer from its deadline on, and dropped when the watermark reaches the deadline.

mod collections;

use millstream_engine::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::collections::{ExpiringList, ExpiringMap};
use super::context::{Context, Timer, Ttl};

/// State of a key. The derived default is its beginning.
///
/// For a type of one's own without anything that expires, `expire` gives [`Left::NOTHING`] where it is as it begins, so that
/// the key is forgotten, and [`Left::kept`] otherwise; numbers, texts and tuples of them do so. Others ask their parts and
/// join the answers with [`Left::and`]. One that says that it is kept although it is as it began keeps its key for good; one
/// that does not ask a part with a time to live has that part drop nothing: what is over in it is not seen, but stays in memory
/// until it is overwritten. Other parts of the same key, as of a tuple, expire all the same.
pub trait KeyedState: Default + Serialize + DeserializeOwned + Send + 'static {
    /// Drops what is over at `now`, and tells what is left.
    fn expire(&mut self, now: &Now) -> Left;

    /// Writes it for checkpoints and for disk. What [`Serialize`] makes of an `Option` of something that is nothing itself,
    /// such as a unit, is nothing; an option, and each part of a tuple, is written so that it comes back.
    ///
    /// # Errors
    /// Those of writing a part.
    fn write_state<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.serialize(serializer)
    }

    /// Reads what [`write_state`](Self::write_state) or [`Serialize`] wrote.
    ///
    /// # Errors
    /// Those of reading a part.
    fn read_state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

/// How far time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Event time: what is due by this is over.
    pub event: Timestamp,
    /// Processing time.
    pub processing: Timestamp,
}

impl Now {
    fn is_over(&self, deadline: Deadline) -> bool {
        match deadline.0 {
            None => false,
            Some(Timer::Event(until)) => self.event >= until,
            Some(Timer::Processing(until)) => self.processing >= until,
        }
    }
}

/// What is left of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Nothing: the key may be forgotten.
    pub is_empty: bool,
    /// When, in event time, the next part is over.
    pub event: Option<Timestamp>,
    /// When, in processing time, the next part is over.
    pub processing: Option<Timestamp>,
}

impl Left {
    /// Nothing is left.
    pub const NOTHING: Self = Self {
        is_empty: true,
        event: None,
        processing: None,
    };

    /// Something that never expires.
    pub const fn kept() -> Self {
        Self {
            is_empty: false,
            ..Self::NOTHING
        }
    }

    /// Something that never expires, unless it is as it begins.
    #[inline]
    pub(super) const fn unless(is_empty: bool) -> Self {
        Self {
            is_empty,
            ..Self::NOTHING
        }
    }

    /// What is left of two parts of one state.
    #[must_use]
    #[inline]
    pub fn and(self, other: Self) -> Self {
        let earlier = |one: Option<Timestamp>, two: Option<Timestamp>| match (one, two) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, None) | (None, one) => one,
        };
        Self {
            is_empty: self.is_empty && other.is_empty,
            event: earlier(self.event, other.event),
            processing: earlier(self.processing, other.processing),
        }
    }

    #[inline]
    fn until(deadline: Deadline) -> Self {
        match deadline.0 {
            None => Self::kept(),
            Some(Timer::Event(time)) => Self {
                event: Some(time),
                ..Self::kept()
            },
            Some(Timer::Processing(time)) => Self {
                processing: Some(time),
                ..Self::kept()
            },
        }
    }
}

/// When something is over, if ever. From [`Context::expire_after`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline(pub(super) Option<Timer>);

impl Deadline {
    /// Whether it is of the same kind of time, and later.
    fn is_later(self, than: Self) -> bool {
        let ((kind, time), (other, than)) = (self.rank(), than.rank());
        kind == other && time > than
    }

    /// By kind of time, then by time; what never ends comes last.
    fn rank(self) -> (u8, i64) {
        match self.0 {
            Some(Timer::Event(time)) => (0, time.0),
            Some(Timer::Processing(time)) => (1, time.0),
            None => (2, 0),
        }
    }
}

/// A value with a time to live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiring<V> {
    value: Option<(V, Deadline)>,
}

impl<V> Default for Expiring<V> {
    fn default() -> Self {
        Self { value: None }
    }
}

impl<V> Expiring<V> {
    /// Stores a value for `ttl` from now on.
    pub fn set<O, S>(&mut self, value: V, ttl: Ttl, ctx: &mut Context<'_, O, S>) {
        self.value = Some((value, ctx.expire_after(ttl)));
    }

    /// Stores what `change` makes of the value (of none, if it is over) for `ttl` from now on, or as long as before if
    /// that is longer: an item that comes out of order does not let it end sooner.
    pub fn renew<O, S>(
        &mut self,
        ttl: Ttl,
        ctx: &mut Context<'_, O, S>,
        change: impl FnOnce(Option<V>, &mut Context<'_, O, S>) -> V,
    ) {
        let kept = self
            .value
            .take()
            .filter(|(_, deadline)| !ctx.is_over(*deadline));
        let (value, before) =
            kept.map_or((None, None), |(value, before)| (Some(value), Some(before)));
        let value = change(value, ctx);
        let deadline = match before {
            Some(before) if before.is_later(ctx.deadline(ttl)) => before,
            _ => ctx.expire_after(ttl),
        };
        self.value = Some((value, deadline));
    }

    /// The value, unless it is over.
    pub fn get<O, S>(&self, ctx: &Context<'_, O, S>) -> Option<&V> {
        let (value, deadline) = self.value.as_ref()?;
        (!ctx.is_over(*deadline)).then_some(value)
    }

    /// The value, unless it is over; changing it leaves its time to live as it is.
    pub fn get_mut<O, S>(&mut self, ctx: &Context<'_, O, S>) -> Option<&mut V> {
        let (value, deadline) = self.value.as_mut()?;
        (!ctx.is_over(*deadline)).then_some(value)
    }

    /// Takes the value out, unless it is over.
    pub fn take<O, S>(&mut self, ctx: &Context<'_, O, S>) -> Option<V> {
        let (value, deadline) = self.value.take()?;
        (!ctx.is_over(deadline)).then_some(value)
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> KeyedState for Expiring<V> {
    #[inline]
    fn expire(&mut self, now: &Now) -> Left {
        self.value.take_if(|(_, deadline)| now.is_over(*deadline));
        let left = |(_, deadline): &(V, Deadline)| Left::until(*deadline);
        self.value.as_ref().map_or(Left::NOTHING, left)
    }
}
