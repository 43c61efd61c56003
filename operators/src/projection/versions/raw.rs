//! Changes and versions as bytes: for those who read a versioned table without its types, such as the command line.
//!
//! Place: the state of a folder, at rest or beside its engine -> **[`RawVersions`]** -> keys and rows in their stored form. Only
//! what is stored is told, as by [`Changes`](super::Changes), and a cursor of one is good for the other.

use std::collections::VecDeque;
use std::ops::Bound;

use millstream_engine::state::{FoundTable, RegisteredProjection, StateError, StateStore};

use super::format::{Stamp, Version, place_bytes, place_of, version_of, version_prefix};
use super::reading::{Standing, change_at, changes_from, oldest_of, standing, version_at};
use super::{ChangeCursor, Head, STORED, VersionIds};

/// Changes of one actor that one read of the store gives.
const PAGE: usize = 256;

/// Why there are no changes behind a cursor.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RawChangesError {
    /// It is of another table, or of another version of the projection.
    #[error(
        "the cursor is of another table, or of another version of the projection: begin without one"
    )]
    Foreign,
    /// The table has come to where it is by other changes.
    #[error(
        "the table did not have the changes that lie before the cursor, or not in this order, as after the restore of a \
         backup: begin without one"
    )]
    OtherHistory,
    /// It has not come there.
    #[error(
        "the changes before the cursor are not stored, or not yet: ask again in a moment where an engine runs, or begin \
         without a cursor"
    )]
    NotStored,
    /// What lies behind it was let go.
    #[error(
        "changes behind the cursor are not kept any more: the oldest that are kept are those behind {oldest}"
    )]
    Expired {
        /// The oldest place to go on from.
        oldest: Box<ChangeCursor>,
    },
    /// The store failed, or something in it is damaged.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What one event made of one row, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawChange {
    /// Of the actor that made it: the partition, or 0 of a projection with rows of all partitions.
    pub actor: u16,
    /// Number among the changes of the actor, from 1.
    pub number: u64,
    /// The row's key.
    pub key: Vec<u8>,
    /// The row; `None`: it was removed.
    pub row: Option<Vec<u8>>,
    /// What it was before; `None`: it was not there.
    pub before: Option<Vec<u8>>,
    /// The event.
    pub stamp: Stamp,
    /// Whether the event had waited behind one that failed, while others went on.
    pub is_late: bool,
}

/// A row as one event left it, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawVersion {
    /// As [`RawChange::actor`].
    pub actor: u16,
    /// Number of the change.
    pub number: u64,
    /// The row; `None`: it was removed.
    pub row: Option<Vec<u8>>,
    /// The event.
    pub stamp: Stamp,
    /// Whether the change is kept. If not, this is what the row was when the changes that are kept begin.
    pub is_change_kept: bool,
}

/// The changes and versions of a table.
#[derive(Clone, Debug)]
pub struct RawVersions {
    store: StateStore,
    /// The table of its changes, which is dropped with that of its versions.
    found: FoundTable,
    ids: VersionIds,
    seed: u64,
}

impl RawVersions {
    /// Those of a table of a projection; `None`: it keeps none, or there is no such table.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn of(
        store: &StateStore,
        registered: &RegisteredProjection,
        table: &str,
    ) -> Result<Option<Self>, StateError> {
        let [changes, versions] =
            STORED.map(|beside| registered.table(&format!("{table}{beside}")));
        let Some((changes, versions)) = changes.zip(versions) else {
            return Ok(None);
        };
        let ids = VersionIds { changes, versions };
        Ok(Some(Self {
            store: store.clone(),
            found: registered.found(changes),
            ids,
            seed: ids.seed(store)?,
        }))
    }

    /// The changes that are kept, or those of them behind a place.
    ///
    /// # Errors
    /// [`RawChangesError`].
    pub fn changes(&self, from: Option<&ChangeCursor>) -> Result<RawChanges, RawChangesError> {
        if from.is_some_and(|from| from.seed != self.seed) {
            return Err(RawChangesError::Foreign);
        }
        let mut actors = self.actors()?;
        // Those that a cursor knows and the store does not: they are behind it.
        let known = from.iter().flat_map(|from| &from.heads);
        actors.extend(known.map(|(actor, _)| *actor));
        actors.sort_unstable();
        actors.dedup();
        let oldest = self.oldest(&actors)?;
        let begin = from.unwrap_or(&oldest);
        let feeds = actors.into_iter().map(|actor| Feed {
            actor,
            given: begin.head(actor),
            read: begin.head(actor),
            is_oldest: from.is_none(),
            is_at_end: false,
            ready: VecDeque::new(),
        });
        let mut changes = RawChanges {
            feeds: feeds.collect(),
            of: self.clone(),
            reads: 0,
        };
        // Also where nothing comes behind it, a place that is none is told.
        changes.fill()?;
        Ok(changes)
    }

    /// The actors that have changes.
    fn actors(&self) -> Result<Vec<u16>, StateError> {
        let mut actors = Vec::new();
        let mut next = Some(0);
        while let Some(first) = next {
            let key = place_bytes(first, 0);
            let keys = self
                .store
                .keys(self.ids.changes, Bound::Included(&key), 1)?;
            let found = keys.first().map(|key| place_of(key)).transpose()?;
            actors.extend(found.map(|(actor, _)| actor));
            next = found.and_then(|(actor, _)| actor.checked_add(1));
        }
        Ok(actors)
    }

    fn oldest(&self, actors: &[u16]) -> Result<ChangeCursor, StateError> {
        self.store.view(|view| {
            // Also where there is no change any more, which nobody reads then.
            view.check_there(&self.found)?;
            let mut heads = Vec::new();
            for &actor in actors {
                heads.extend(oldest_of(view, self.ids, actor)?.map(|head| (actor, head)));
            }
            Ok(ChangeCursor::new(self.seed, heads))
        })
    }

    /// The versions of a row that are kept, the oldest of each actor first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn history(&self, key: &[u8]) -> Result<Vec<RawVersion>, StateError> {
        let first = version_prefix(key);
        let mut last = first.clone();
        last.extend_from_slice(&place_bytes(u16::MAX, u64::MAX));
        let (mut found, mut from) = (Vec::new(), Bound::Included(first));
        loop {
            let page = self.store.view(|view| {
                view.check_there(&self.found)?;
                let begin = from.as_ref().map(Vec::as_slice);
                let to = Bound::Included(&last[..]);
                let page = view.page(self.ids.versions, begin, to, PAGE, false)?;
                for (key, value) in &page.rows {
                    let (_, actor, number) = version_of(key)?;
                    let Version { stamp, row } = Version::decode(value)?;
                    found.push(RawVersion {
                        actor,
                        number,
                        row,
                        stamp,
                        is_change_kept: change_at(view, self.ids, actor, number)?.is_some(),
                    });
                }
                Ok(page.end)
            })?;
            match page {
                Some(end) => from = Bound::Excluded(end),
                None => return Ok(found),
            }
        }
    }
}

/// A feed of changes as bytes: those of each actor in their order, those of several by when their events were recorded as far
/// as that leaves it open. Holds a page of each actor and no read of the store.
///
/// An actor that had nothing more is read again once all that was read of the others is given.
#[derive(Debug)]
pub struct RawChanges {
    of: RawVersions,
    feeds: Vec<Feed>,
    reads: u64,
}

/// Of one actor.
#[derive(Debug)]
struct Feed {
    actor: u16,
    /// Behind the change that was given last.
    given: Head,
    /// Behind the one that was read last.
    read: Head,
    /// It begins with whatever is the oldest, and has read nothing.
    is_oldest: bool,
    /// There was nothing behind it when it was read last.
    is_at_end: bool,
    ready: VecDeque<(Head, RawChange)>,
}

impl RawChanges {
    /// The place behind the change that was given last.
    #[must_use]
    pub fn cursor(&self) -> ChangeCursor {
        let heads = self.feeds.iter().map(|feed| (feed.actor, feed.given));
        ChangeCursor::new(self.of.seed, heads)
    }

    /// Pages that it has read so far, those included that had nothing: about one for 256 changes, and one per actor each time
    /// that all is given.
    #[must_use]
    pub const fn reads(&self) -> u64 {
        self.reads
    }

    /// The next change that is stored; `None`: that was all so far.
    ///
    /// # Errors
    /// [`RawChangesError`].
    pub fn try_next(&mut self) -> Result<Option<RawChange>, RawChangesError> {
        self.fill()?;
        let recorded = |feed: &Feed| {
            let next = feed.ready.front()?;
            Some(next.1.stamp.recorded_at)
        };
        let feeds = self.feeds.iter_mut();
        let first = feeds
            .filter(|feed| !feed.ready.is_empty())
            .min_by_key(|feed| (recorded(feed), feed.actor));
        let Some(feed) = first else {
            return Ok(None);
        };
        let next = feed.ready.pop_front().map(|(head, change)| {
            feed.given = head;
            change
        });
        Ok(next)
    }

    /// Reads a page of each actor of which none is here and which may have more.
    fn fill(&mut self) -> Result<(), RawChangesError> {
        // By now more may be stored.
        let is_all_given = self.feeds.iter().all(|feed| feed.ready.is_empty());
        for at in 0..self.feeds.len() {
            let feed = &self.feeds[at];
            if feed.ready.is_empty() && (is_all_given || !feed.is_at_end) {
                self.read(at)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize) -> Result<(), RawChangesError> {
        self.reads += 1;
        let RawVersions {
            store,
            found: table,
            ids,
            seed,
        } = &self.of;
        let (ids, feed) = (*ids, &mut self.feeds[at]);
        let (actor, read, is_oldest) = (feed.actor, feed.read, feed.is_oldest);
        let found = store.view(|view| {
            view.check_there(table)?;
            let from = match standing(view, ids, actor, read, *seed)? {
                Standing::Same => read.number + 1,
                // What was the oldest is gone since.
                Standing::Gone if is_oldest => 0,
                other => return Ok(Err(other)),
            };
            let mut found = Vec::new();
            for (number, change) in changes_from(view, ids, actor, from, PAGE)? {
                let row = |number| {
                    let version = version_at(view, ids, &change.key, actor, number)?;
                    Ok::<_, StateError>(version.and_then(|version| version.row))
                };
                let hash = change.hash();
                found.push((
                    Head { number, hash },
                    RawChange {
                        actor,
                        number,
                        row: if change.is_there { row(number)? } else { None },
                        before: row(number - 1)?,
                        stamp: change.stamp,
                        is_late: change.is_late,
                        key: change.key,
                    },
                ));
            }
            Ok(Ok(found))
        })?;
        match found {
            Ok(found) => {
                feed.is_at_end = found.is_empty();
                if let Some((head, _)) = found.last() {
                    (feed.read, feed.is_oldest) = (*head, false);
                }
                feed.ready.extend(found);
                Ok(())
            }
            Err(Standing::Gone) => {
                let actors: Vec<_> = self.feeds.iter().map(|feed| feed.actor).collect();
                let oldest = Box::new(self.of.oldest(&actors)?);
                Err(RawChangesError::Expired { oldest })
            }
            Err(Standing::Ahead) => Err(RawChangesError::NotStored),
            Err(Standing::Other | Standing::Same) => Err(RawChangesError::OtherHistory),
        }
    }
}
