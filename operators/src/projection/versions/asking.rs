//! What the reader of a table is asked about its changes and versions.

use super::changes::versioned;
use super::reading::{head_of, oldest_of, tail_of};
use super::{
    ChangeCursor, Changes, ChangesError, ChangesFrom, Head, RowHistory, TableAt, VersionIds,
};
use crate::projection::{QueryError, Row, TableKey, TableReader};

impl<K: TableKey, R: Row> TableReader<K, R> {
    /// The changes of the table's rows: from a place on, and on as they come. Any number of feeds may read; one that is
    /// slow, or dropped, is nobody's trouble.
    ///
    /// ```
    /// use millstream_operators::projection::{ChangesError, ChangesFrom, TableReader};
    ///
    /// async fn follow(balances: TableReader<String, i64>) -> Result<(), ChangesError> {
    ///     let mut changes = balances.changes(ChangesFrom::Oldest)?;
    ///     while let Some(change) = changes.next().await? {
    ///         println!("{}: {:?}, go on behind {}", change.key, change.row, changes.cursor());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ChangesError::NotVersioned`], [`ChangesError::Foreign`]. What else may be wrong with a place is told by
    /// [`Changes::next`]: as a rule only the projection at work can tell.
    pub fn changes(&self, from: impl Into<ChangesFrom>) -> Result<Changes<K, R>, ChangesError> {
        Changes::new(self, &from.into())
    }

    /// The place behind all changes that are stored now.
    ///
    /// # Errors
    /// [`ChangesError::NotVersioned`]; as [`get`](Self::get).
    pub fn cursor(&self) -> Result<ChangeCursor, ChangesError> {
        let ids = versioned(self)?;
        let heads = self.stored_heads(ids, self.actors())?;
        self.cursor_at(&heads)
    }

    /// Behind which changes of these actors what is stored is.
    fn stored_heads(
        &self,
        ids: VersionIds,
        actors: impl IntoIterator<Item = u16>,
    ) -> Result<Vec<(u16, Head)>, QueryError> {
        let heads = self.store().view(|view| {
            let mut heads = Vec::new();
            for actor in actors {
                if let Some((number, change)) = head_of(view, ids, actor)? {
                    let hash = change.hash();
                    heads.push((actor, Head { number, hash }));
                }
            }
            Ok(heads)
        });
        Ok(heads?)
    }

    /// The place before the oldest change of each of these actors that is kept.
    pub(super) fn oldest_heads(
        &self,
        ids: VersionIds,
        actors: impl IntoIterator<Item = u16>,
    ) -> Result<Vec<(u16, Head)>, QueryError> {
        let heads = self.store().view(|view| {
            let mut heads = Vec::new();
            for actor in actors {
                if let Some(head) = oldest_of(view, ids, actor)? {
                    heads.push((actor, head));
                }
            }
            Ok(heads)
        });
        Ok(heads?)
    }

    /// Behind which changes the rows are that readers see. Nothing may be shown meanwhile.
    pub(in crate::projection) fn heads_now(&self) -> Result<Vec<(u16, Head)>, QueryError> {
        let Some(ids) = self.version_ids() else {
            return Ok(Vec::new());
        };
        let (mut heads, mut stored) = (Vec::new(), Vec::new());
        for actor in self.actors() {
            match self.hot().shown_head(actor) {
                Some(head) => heads.push((actor, head)),
                // It has not begun yet: readers see what is stored.
                None => stored.push(actor),
            }
        }
        heads.extend(self.stored_heads(ids, stored)?);
        Ok(heads)
    }

    /// The place behind these changes.
    pub(in crate::projection) fn cursor_at(
        &self,
        heads: &[(u16, Head)],
    ) -> Result<ChangeCursor, ChangesError> {
        let seed = versioned(self)?.seed(self.store())?;
        Ok(ChangeCursor::new(seed, heads.iter().copied()))
    }

    /// Whether an actor has shown a change that may not be stored yet.
    pub(super) fn has_shown(&self, actor: u16, place: Head) -> bool {
        let shown = self.hot().shown_head(actor);
        shown.is_some_and(|head| head.number >= place.number)
    }

    /// The versions of the row under `key` that are kept, the oldest first.
    ///
    /// # Errors
    /// [`ChangesError::NotVersioned`].
    pub fn history(&self, key: &K) -> Result<RowHistory<K, R>, ChangesError> {
        RowHistory::of(self, key)
    }

    /// The table as it was behind a place in the feed of its changes, of any projection.
    ///
    /// # Errors
    /// [`ChangesError`].
    pub fn as_of(&self, cursor: &ChangeCursor) -> Result<TableAt<K, R>, ChangesError> {
        TableAt::behind(self, cursor)
    }

    /// How many changes of the table are kept. Cost: two reads of the store per actor.
    ///
    /// # Errors
    /// [`ChangesError::NotVersioned`]; as [`get`](Self::get).
    pub fn changes_kept(&self) -> Result<u64, ChangesError> {
        let (ids, actors) = (versioned(self)?, self.actors());
        let kept = self.store().view(|view| {
            let mut kept = 0;
            for &actor in &actors {
                let (tail, head) = (tail_of(view, ids, actor)?, head_of(view, ids, actor)?);
                if let (Some((tail, _)), Some((head, _))) = (tail, head) {
                    kept += head + 1 - tail;
                }
            }
            Ok(kept)
        })?;
        Ok(kept)
    }
}
