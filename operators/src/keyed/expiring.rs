//! State with a time to live: a value, a map, a list.
//!
//! Invariants: (1) what is over is not seen, even before it is dropped; (2) writing with a time to live arms a
//! timer of the key's, and [`KeyedState::expire`] drops what is over when it fires. In event time something is over for
//! an item or timer from its deadline on, and dropped when the watermark reaches the deadline.
//! Cost: the map keeps its keys twice, by key and by deadline; reads cost one lookup.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use foldhash::fast::FixedState;
use millstream_engine::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::context::{Context, Timer, Ttl};

/// State of a key. The derived default is its beginning.
///
/// For a type of one's own without anything that expires, `expire` gives [`Left::NOTHING`] where it is as it begins, so that
/// the key is forgotten, and [`Left::kept`] otherwise; numbers, texts and tuples of them do so. Others ask their parts and
/// join the answers with [`Left::and`].
pub trait KeyedState: Default + Serialize + DeserializeOwned + Send + 'static {
    /// Drops what is over at `now`, and tells what is left.
    fn expire(&mut self, now: &Now) -> Left;
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
    const fn unless(is_empty: bool) -> Self {
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

/// Deadlines and a number that makes them unique: the order in which entries end.
type Rank = (u8, i64, u64);

/// What is over at `now`, and when the next ones are, by rank. Gives the first rank that is over.
fn first_over<X>(ranks: &BTreeMap<Rank, X>, now: &Now) -> Option<Rank> {
    let first = |domain: u8, until: Timestamp| {
        let range = (domain, i64::MIN, 0)..=(domain, until.0, u64::MAX);
        ranks.range(range).next().map(|(rank, _)| *rank)
    };
    first(0, now.event).or_else(|| first(1, now.processing))
}

/// What is left of entries by rank.
fn left<X>(ranks: &BTreeMap<Rank, X>) -> Left {
    let first = |domain: u8| {
        let range = (domain, i64::MIN, 0)..=(domain, i64::MAX, u64::MAX);
        let first = ranks.range(range).next();
        first.map(|(rank, _)| Timestamp(rank.1))
    };
    Left {
        is_empty: ranks.is_empty(),
        event: first(0),
        processing: first(1),
    }
}

/// Values by key, each with a time to live.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize + Hash + Eq, V: Serialize",
    deserialize = "K: serde::Deserialize<'de> + Hash + Eq, V: serde::Deserialize<'de>"
))]
pub struct ExpiringMap<K, V> {
    values: HashMap<K, (V, Deadline, u64), FixedState>,
    ends: BTreeMap<Rank, K>,
    next: u64,
}

impl<K, V> Default for ExpiringMap<K, V> {
    fn default() -> Self {
        Self {
            values: HashMap::default(),
            ends: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<K: Hash + Eq + Clone, V> ExpiringMap<K, V> {
    /// Stores a value for `ttl` from now on, in place of the one that was there.
    pub fn insert<O, S>(&mut self, key: K, value: V, ttl: Ttl, ctx: &mut Context<'_, O, S>) {
        let deadline = ctx.expire_after(ttl);
        let number = self.next;
        self.next += 1;
        let (domain, time) = deadline.rank();
        self.ends.insert((domain, time, number), key.clone());
        if let Some((_, before, number)) = self.values.insert(key, (value, deadline, number)) {
            let (domain, time) = before.rank();
            self.ends.remove(&(domain, time, number));
        }
    }

    /// The value of a key, unless it is over.
    pub fn get<O, S>(&self, key: &K, ctx: &Context<'_, O, S>) -> Option<&V> {
        let (value, deadline, _) = self.values.get(key)?;
        (!ctx.is_over(*deadline)).then_some(value)
    }

    /// The value of a key, unless it is over; changing it leaves its time to live as it is.
    pub fn get_mut<O, S>(&mut self, key: &K, ctx: &Context<'_, O, S>) -> Option<&mut V> {
        let (value, deadline, _) = self.values.get_mut(key)?;
        (!ctx.is_over(*deadline)).then_some(value)
    }

    /// Takes a value out, unless it is over.
    pub fn remove<O, S>(&mut self, key: &K, ctx: &Context<'_, O, S>) -> Option<V> {
        let (value, deadline, number) = self.values.remove(key)?;
        let (domain, time) = deadline.rank();
        self.ends.remove(&(domain, time, number));
        (!ctx.is_over(deadline)).then_some(value)
    }

    /// What is not over, in no particular order.
    pub fn iter<'a, O, S>(
        &'a self,
        ctx: &'a Context<'_, O, S>,
    ) -> impl Iterator<Item = (&'a K, &'a V)> {
        let entries = self.values.iter();
        entries
            .filter(|(_, (_, deadline, _))| !ctx.is_over(*deadline))
            .map(|(key, (value, _, _))| (key, value))
    }

    /// Entries that are kept, with those that are over and not dropped yet.
    pub fn kept(&self) -> usize {
        self.values.len()
    }
}

impl<K, V> KeyedState for ExpiringMap<K, V>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    V: Serialize + DeserializeOwned + Send + 'static,
{
    #[inline]
    fn expire(&mut self, now: &Now) -> Left {
        while let Some(rank) = first_over(&self.ends, now) {
            if let Some(key) = self.ends.remove(&rank) {
                self.values.remove(&key);
            }
        }
        left(&self.ends)
    }
}

/// Values in the order in which they end, each with a time to live.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpiringList<V> {
    values: BTreeMap<Rank, V>,
    next: u64,
}

impl<V> Default for ExpiringList<V> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<V> ExpiringList<V> {
    /// Adds a value for `ttl` from now on.
    pub fn push<O, S>(&mut self, value: V, ttl: Ttl, ctx: &mut Context<'_, O, S>) {
        let (domain, time) = ctx.expire_after(ttl).rank();
        self.values.insert((domain, time, self.next), value);
        self.next += 1;
    }

    /// What is not over. With one kind of time to live: in the order in which they end, and of several that end at
    /// once in the order of adding.
    pub fn iter<'a, O, S>(&'a self, ctx: &'a Context<'_, O, S>) -> impl Iterator<Item = &'a V> {
        let entries = self.values.iter();
        entries
            .filter(|((domain, time, _), _)| match domain {
                0 => ctx.time().0 < *time,
                1 => ctx.now().0 < *time,
                _ => true,
            })
            .map(|(_, value)| value)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Values that are kept, with those that are over and not dropped yet.
    pub fn kept(&self) -> usize {
        self.values.len()
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> KeyedState for ExpiringList<V> {
    #[inline]
    fn expire(&mut self, now: &Now) -> Left {
        while let Some(rank) = first_over(&self.values, now) {
            self.values.remove(&rank);
        }
        left(&self.values)
    }
}

macro_rules! kept {
    ($($plain:ty),*) => {$(
        impl KeyedState for $plain {
            #[inline]
            fn expire(&mut self, _now: &Now) -> Left {
                Left::unless(*self == <$plain>::default())
            }
        }
    )*};
}

kept!(
    bool, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, String, Timestamp
);

macro_rules! float {
    ($($float:ty),*) => {$(
        impl KeyedState for $float {
            #[inline]
            fn expire(&mut self, _now: &Now) -> Left {
                // By bits: a negative zero is not what it begins as.
                Left::unless(self.to_bits() == <$float>::default().to_bits())
            }
        }
    )*};
}

float!(f32, f64);

impl KeyedState for () {
    #[inline]
    fn expire(&mut self, _now: &Now) -> Left {
        Left::NOTHING
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> KeyedState for Option<V> {
    #[inline]
    fn expire(&mut self, _now: &Now) -> Left {
        Left::unless(self.is_none())
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> KeyedState for Vec<V> {
    #[inline]
    fn expire(&mut self, _now: &Now) -> Left {
        Left::unless(self.is_empty())
    }
}

macro_rules! tuple {
    ($($part:ident $at:tt),*) => {
        impl<$($part: KeyedState),*> KeyedState for ($($part,)*) {
            #[inline]
            fn expire(&mut self, now: &Now) -> Left {
                let mut left = Left::NOTHING;
                $(left = left.and(self.$at.expire(now));)*
                left
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
