//! Where an event lies, and what a caller has seen.

use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Number of a partition, from 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

/// Number of an event in its partition, from 0, without gaps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// The place of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The partition of the event's stream.
    pub partition: PartitionId,
    /// The event's number there.
    pub offset: Offset,
}

/// What a caller has seen: the last offset (inclusive) per partition it knows of.
///
/// A query that is given a token answers only from a read model that has applied all of it. Merging is
/// commutative, associative and idempotent. An empty token asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token {
    /// Sorted by partition, each at most once.
    seen: SmallVec<[Position; 1]>,
}

impl Token {
    /// Positions in the token, ordered by partition.
    pub fn positions(&self) -> &[Position] {
        &self.seen
    }

    /// Adds one position; a smaller one than is known changes nothing.
    pub fn observe(&mut self, position: Position) {
        match self
            .seen
            .binary_search_by_key(&position.partition, |p| p.partition)
        {
            Ok(at) => self.seen[at].offset = self.seen[at].offset.max(position.offset),
            Err(at) => self.seen.insert(at, position),
        }
    }

    /// Adds all that another token has seen.
    pub fn merge(&mut self, other: &Token) {
        for position in &other.seen {
            self.observe(*position);
        }
    }
}

impl From<Position> for Token {
    fn from(position: Position) -> Self {
        let mut token = Self::default();
        token.observe(position);
        token
    }
}

impl Offset {
    /// The offset `events` later, at most the largest there is: tokens come from outside.
    pub fn plus(self, events: u64) -> Self {
        Self(self.0.saturating_add(events))
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_token_is_the_maximum_per_partition(seen in prop::collection::vec((0u16..6, 0u64..50), 0..30), cut in 0usize..30) {
            let position = |&(p, o): &(u16, u64)| Position { partition: PartitionId(p), offset: Offset(o) };
            let mut model = BTreeMap::new();
            for (p, o) in &seen {
                let slot = model.entry(*p).or_insert(*o);
                *slot = (*slot).max(*o);
            }
            let (left, right) = seen.split_at(cut.min(seen.len()));
            let mut a = Token::default();
            left.iter().for_each(|p| a.observe(position(p)));
            let mut b = Token::default();
            right.iter().for_each(|p| b.observe(position(p)));
            let mut merged = b.clone();
            merged.merge(&a);
            a.merge(&b);
            a.merge(&b);
            prop_assert_eq!(&a, &merged);
            let found: Vec<_> = a.positions().iter().map(|p| (p.partition.0, p.offset.0)).collect();
            prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
        }
    }
}
