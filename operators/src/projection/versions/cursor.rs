//! A place in a feed of changes, for whoever goes on from it later, in this process or another one.

use std::fmt;
use std::str::FromStr;

use super::Head;

/// A place behind some changes of a table. It has a form as text.
///
/// It is good for one table of one version of its projection, and for as long as the changes behind it are kept. It also
/// knows all changes before it by a hash: where others came before it, such as after an older backup was restored, it is
/// refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeCursor {
    /// Tells all tables and versions of projections apart.
    pub(super) seed: u64,
    /// By actor, in order; those that have changed nothing are left out.
    pub(super) heads: Vec<(u16, Head)>,
}

impl ChangeCursor {
    pub(super) fn new(seed: u64, heads: impl IntoIterator<Item = (u16, Head)>) -> Self {
        let heads = heads.into_iter().filter(|(_, head)| head.number > 0);
        let mut heads: Vec<_> = heads.collect();
        heads.sort_unstable_by_key(|(actor, _)| *actor);
        Self { seed, heads }
    }

    /// Where it is among the changes of an actor.
    pub(super) fn head(&self, actor: u16) -> Head {
        let found = self.heads.iter().find(|(own, _)| *own == actor);
        found.map_or(
            Head {
                number: 0,
                hash: self.seed,
            },
            |(_, head)| *head,
        )
    }

    /// How many changes lie before it.
    #[must_use]
    pub fn changes(&self) -> u64 {
        let numbers = self.heads.iter().map(|(_, head)| head.number);
        numbers.fold(0, u64::saturating_add)
    }
}

impl fmt::Display for ChangeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.seed)?;
        self.heads.iter().try_for_each(|(actor, head)| {
            write!(f, "{actor:04x}{:016x}{:016x}", head.number, head.hash)
        })
    }
}

/// A text that is no cursor of a feed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no place in a feed of changes: give back what the feed gave")]
pub struct ParseChangeCursorError {
    text: String,
}

impl FromStr for ChangeCursor {
    type Err = ParseChangeCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            let (seed, mut rest) = text.split_at_checked(16)?;
            let mut heads = Vec::new();
            while !rest.is_empty() {
                let (actor, behind) = rest.split_at_checked(4)?;
                let (number, behind) = behind.split_at_checked(16)?;
                let (hash, behind) = behind.split_at_checked(16)?;
                let head = Head {
                    number: u64::from_str_radix(number, 16).ok()?,
                    hash: u64::from_str_radix(hash, 16).ok()?,
                };
                heads.push((u16::from_str_radix(actor, 16).ok()?, head));
                rest = behind;
            }
            let is_ordered = heads.windows(2).all(|two| two[0].0 < two[1].0);
            let is_whole = heads.iter().all(|(_, head)| head.number > 0);
            (is_ordered && is_whole).then_some(Self {
                seed: u64::from_str_radix(seed, 16).ok()?,
                heads,
            })
        };
        parsed().ok_or_else(|| ParseChangeCursorError {
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_from_its_text(
            seed: u64, heads in prop::collection::btree_map(any::<u16>(), (1..u64::MAX, any::<u64>()), 0..4),
        ) {
            let heads = heads.into_iter().map(|(actor, (number, hash))| (actor, Head { number, hash }));
            let cursor = ChangeCursor::new(seed, heads);
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn whatever_is_read_is_written_the_same_way_again(text in "[0-9a-f]{0,60}") {
            if let Ok(cursor) = text.parse::<ChangeCursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
