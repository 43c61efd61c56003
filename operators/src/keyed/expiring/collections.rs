//! Maps and lists whose entries each have a time to live.
//!
//! Invariant: entries are ranked by when they end, and a number tells apart those that end at once; what is over is found at
//! the front, for each kind of time.
//! Cost: the map keeps its keys twice, by key and by deadline; reads cost one lookup.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use foldhash::fast::FixedState;
use millstream_engine::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Deadline, KeyedState, Left, Now};
use crate::keyed::context::{Context, Ttl};

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
