//! Reading on: a page of changes at a time, each checked to follow the one before it.

use millstream_engine::state::{StateError, StateView};

use super::{Changes, Ready, RowChange, expired};
use crate::projection::versions::format::{BROKEN, Change};
use crate::projection::versions::reading::{Standing, changes_from, standing, version_at};
use crate::projection::versions::{ChangesError, Head, VersionIds};
use crate::projection::{QueryError, Row, TableKey};

/// Changes that one read of the store gives.
const PAGE: usize = 256;

/// What reading on came to.
enum Found {
    Changes(Vec<(u16, u64, Change, Rows)>),
    OtherHistory,
    Gone,
}

/// The row after a change and before it, as they are stored.
type Rows = (Option<Vec<u8>>, Option<Vec<u8>>);

impl<K: TableKey, R: Row> Changes<K, R> {
    /// Reads the next page, if there is something.
    pub(super) fn fill(&mut self) -> Result<(), ChangesError> {
        let table = self.reader.table().name();
        // Before the look: what is stored by then is seen.
        let is_whole = self.is_whole();
        let (ids, turn, with_before) = (self.ids, self.turn, self.with_before);
        let (all, reader, seed) = (&self.at, &self.reader, self.seed);
        let found = reader.store().view(|view| {
            let mut found = Vec::new();
            for at in 0..all.len() {
                let at = all[(turn + at) % all.len()];
                let (actor, left) = (at.actor, PAGE - found.len());
                if left == 0 {
                    break;
                }
                let from = match standing(view, ids, actor, at.read, seed)? {
                    Standing::Same => at.read.number + 1,
                    // What was the oldest is gone since.
                    Standing::Gone if at.is_oldest => 0,
                    Standing::Gone => return Ok(Found::Gone),
                    Standing::Other => return Ok(Found::OtherHistory),
                    Standing::Ahead if is_whole && !reader.has_shown(actor, at.read) => {
                        return Ok(Found::OtherHistory);
                    }
                    Standing::Ahead => continue,
                };
                for (number, change) in changes_from(view, ids, actor, from, left)? {
                    let rows = rows_of(view, ids, actor, number, &change, with_before)?;
                    found.push((actor, number, change, rows));
                }
            }
            Ok(Found::Changes(found))
        })?;
        reader.board().check_there()?;
        match found {
            Found::Gone => Err(expired(reader, ids, seed)?),
            Found::OtherHistory => Err(ChangesError::OtherHistory { table }),
            Found::Changes(found) => {
                self.turn += 1;
                for (actor, number, change, rows) in found {
                    self.take(actor, number, change, rows)?;
                }
                Ok(())
            }
        }
    }

    /// Whether the projection has come to all that was durable when the feed began.
    fn is_whole(&self) -> bool {
        let durable = self.durable.as_ref();
        durable.is_some_and(|durable| self.reader.board().has_stored(durable))
    }

    fn take(
        &mut self,
        actor: u16,
        number: u64,
        change: Change,
        (row, before): Rows,
    ) -> Result<(), ChangesError> {
        let Some(at) = self.at.iter_mut().find(|at| at.actor == actor) else {
            return Ok(());
        };
        let is_next = at.read.number + 1 == number && at.read.hash == change.before;
        if !is_next && !at.is_oldest {
            return Err(BROKEN.into());
        }
        let head = Head {
            number,
            hash: change.hash(),
        };
        let mut decode = |bytes: Option<Vec<u8>>| -> Result<Option<R>, QueryError> {
            Ok(bytes.map(|bytes| self.decoder.decode(&bytes)).transpose()?)
        };
        let change = RowChange {
            key: K::read(&change.key).ok_or(BROKEN)?,
            row: decode(row)?,
            before: decode(before)?,
            stamp: change.stamp,
        };
        (at.read, at.is_oldest) = (head, false);
        self.ready.push_back(Ready {
            actor,
            head,
            change,
        });
        Ok(())
    }
}

fn rows_of(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
    number: u64,
    change: &Change,
    with_before: bool,
) -> Result<Rows, StateError> {
    let version = |number| {
        let found = version_at(view, ids, &change.key, actor, number)?;
        Ok::<_, StateError>(found.and_then(|version| version.row))
    };
    let row = if change.is_there {
        version(number)?
    } else {
        None
    };
    let before = if with_before {
        version(number - 1)?
    } else {
        None
    };
    Ok((row, before))
}
