//! Somebody who follows a table: has rows of his own, and stores them with where he is.

use std::collections::BTreeMap;

use millstream_operators::projection::{ChangeCursor, Changes, ChangesError, ChangesFrom};

use super::world::{ListRows, Reader};

/// What the follower of everything has gone through.
#[derive(Default)]
pub(crate) struct Seen {
    /// Nothing was before it.
    pub(crate) is_whole: bool,
    tables: Vec<(String, ListRows)>,
    histories: BTreeMap<String, Vec<Option<Vec<u32>>>>,
}

impl Seen {
    pub(crate) fn whole() -> Self {
        Self {
            is_whole: true,
            ..Self::default()
        }
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = (&str, &ListRows)> {
        self.tables.iter().map(|(place, rows)| (&**place, rows))
    }

    pub(crate) fn histories(&self) -> &BTreeMap<String, Vec<Option<Vec<u32>>>> {
        &self.histories
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

pub(crate) struct Follower {
    pub(crate) rows: ListRows,
    /// `None` while the process is dead.
    changes: Option<Changes<String, Vec<u32>>>,
    /// Where to go on, as it is stored with the rows; `None` before the first change if it began with the oldest.
    place: Option<String>,
    /// What it has may come again, in another order.
    pub(crate) comes_again: bool,
    /// What is missing at its beginning has been let go.
    pub(crate) is_partial: bool,
}

impl Follower {
    pub(crate) fn begin(list: &Reader, from: ChangesFrom, rows: ListRows) -> Self {
        let is_fresh = from == ChangesFrom::Oldest;
        let changes = list.changes(from).unwrap().with_before();
        Self {
            rows,
            place: (!is_fresh).then(|| changes.cursor().to_string()),
            changes: Some(changes),
            comes_again: false,
            is_partial: false,
        }
    }

    /// Somebody else who begins where this one is.
    pub(crate) fn fork(&self, list: &Reader) -> Self {
        let from = match &self.place {
            None => ChangesFrom::Oldest,
            Some(place) => place.parse::<ChangeCursor>().unwrap().into(),
        };
        Self {
            comes_again: self.comes_again,
            is_partial: self.is_partial,
            ..Self::begin(list, from, self.rows.clone())
        }
    }

    /// Whether what lies before its place is stored.
    pub(crate) fn is_stored(&self, list: &Reader) -> bool {
        let place = self.place.as_ref();
        place.is_none_or(|place| match list.as_of(&place.parse().unwrap()) {
            Ok(_) | Err(ChangesError::Expired { .. }) => true,
            Err(_) => false,
        })
    }

    /// The process dies.
    pub(crate) fn close(&mut self) {
        self.changes = None;
    }

    /// Goes on with a table that was opened again.
    pub(crate) fn reopen(&mut self, list: &Reader) {
        *self = self.fork(list);
    }

    /// Reads so many changes if there are; gives whether it still has its place.
    pub(crate) fn read(
        &mut self,
        count: usize,
        mut seen: Option<&mut Seen>,
        may_be_lost: bool,
    ) -> bool {
        for _ in 0..count {
            let changes = self.changes.as_mut().unwrap();
            let change = match changes.try_next() {
                Ok(Some(change)) => change,
                Ok(None) => return true,
                Err(ChangesError::OtherHistory { .. }) if may_be_lost && self.comes_again => {
                    return false;
                }
                Err(ChangesError::Expired { .. }) => return false,
                Err(other) => panic!("{other}"),
            };
            if self.rows.get(&change.key) != change.before.as_ref() {
                // Its beginning is not kept.
                assert!(self.is_partial || self.place.is_none(), "{change:?}");
                self.is_partial = true;
            }
            let place = changes.cursor().to_string();
            self.place = Some(place.clone());
            match &change.row {
                Some(row) => self.rows.insert(change.key.clone(), row.clone()),
                None => self.rows.remove(&change.key),
            };
            if let Some(seen) = &mut seen {
                seen.tables.push((place, self.rows.clone()));
                let history = seen.histories.entry(change.key).or_default();
                history.push(change.row);
            }
        }
        true
    }
}
