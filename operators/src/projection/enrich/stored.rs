//! Rows of a table as of an event, from the versions that are stored.

use std::collections::HashMap;
use std::ops::Bound;

use millstream_engine::codec::StandaloneReader;
use millstream_engine::event::Offset;
use millstream_engine::state::{ROW_KEY_BYTES_MAX, StateView};

use super::LookupError;
use super::lane::{Gone, Lane, Looked, stored};
use super::sight::{Moment, Scope};
use crate::projection::range::key_bytes;
use crate::projection::versions::{
    Version, VersionIds, reaches, version_at, version_key, version_of, version_prefix,
};
use crate::projection::{QueryError, Row, TableKey, TableReader};

/// Rows that are kept per partition, or of all.
const CACHED: usize = 4_096;

/// Rows that were looked up, until they change.
type Cache<R> = HashMap<Vec<u8>, Option<R>, foldhash::fast::RandomState>;

/// One table.
pub(super) struct Stored<K: TableKey, R: Row> {
    reader: TableReader<K, R>,
    ids: VersionIds,
    scope: Scope,
    is_global: bool,
    lanes: Vec<Lane>,
    /// One per lane, or one for all.
    caches: Vec<Cache<R>>,
}

impl<K: TableKey, R: Row> Stored<K, R> {
    pub(super) fn new(reader: TableReader<K, R>, scope: Scope, is_global: bool) -> Option<Self> {
        let ids = reader.version_ids()?;
        let lanes = if is_global {
            1
        } else {
            reader.board().partitions()
        };
        let caches = match scope {
            Scope::Partition => lanes,
            Scope::All => 1,
        };
        Some(Self {
            reader,
            ids,
            scope,
            is_global,
            lanes: (0..lanes)
                .map(|actor| Lane::new(actor, is_global))
                .collect(),
            caches: (0..caches).map(|_| Cache::default()).collect(),
        })
    }

    /// The row under `key` as of a place.
    pub(super) fn get(&mut self, moment: &Moment, key: &K) -> Result<Option<R>, LookupError> {
        let key = key_bytes(key);
        if version_key(&key, u16::MAX, u64::MAX).len() > ROW_KEY_BYTES_MAX {
            return Ok(None); // No row can have it.
        }
        if moment.is_late {
            // Not as far as the lanes are.
            let actors = self.lanes.iter().map(|lane| lane.actor);
            let mut lanes: Vec<_> = actors
                .map(|actor| Lane::new(actor, self.is_global))
                .collect();
            self.follow(&mut lanes, moment)?;
            return self.read(&lanes, moment, &key);
        }
        let mut lanes = std::mem::take(&mut self.lanes);
        let followed = self.follow(&mut lanes, moment);
        self.lanes = lanes;
        followed?;
        let cache = self.cache_of(moment.partition.0);
        if let Some(row) = self.caches[cache].get(&key) {
            return Ok(row.clone());
        }
        let row = self.read(&self.lanes, moment, &key)?;
        let cache = &mut self.caches[cache];
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert(key, row.clone());
        Ok(row)
    }

    fn cache_of(&self, actor: u16) -> usize {
        match self.scope {
            Scope::Partition => usize::from(actor),
            Scope::All => 0,
        }
    }

    /// Lanes of the actors whose changes count.
    fn asked(&self, moment: &Moment) -> std::ops::Range<usize> {
        match self.scope {
            Scope::Partition => {
                let own = usize::from(moment.partition.0);
                own..own + 1
            }
            Scope::All => 0..self.lane_count(),
        }
    }

    fn lane_count(&self) -> usize {
        if self.is_global {
            1
        } else {
            usize::from(self.reader.board().partitions())
        }
    }

    /// Follows changes up to an event, and forgets rows that have changed.
    fn follow(&mut self, lanes: &mut [Lane], moment: &Moment) -> Result<(), LookupError> {
        let ends = self.ends(moment);
        for lane in &mut lanes[self.asked(moment)] {
            let cache = self.cache_of(lane.actor);
            loop {
                let changed = |key: &[u8]| {
                    if !moment.is_late {
                        self.caches[cache].remove(key);
                    }
                };
                if !lane.take(&ends, changed) {
                    break;
                }
                // Before the view is opened: what is stored by then is in it.
                let known = stored(self.reader.board(), ends.len());
                let ids = self.ids;
                let read = self
                    .reader
                    .store()
                    .view(|view| lane.read(view, ids, &ends, &known));
                let read = read.map_err(QueryError::from)?;
                let is_enough = read.map_err(|Gone| self.gone())?;
                self.check()?;
                if !is_enough {
                    return Err(LookupError::NotStored {
                        of: self.reader.board().projection(),
                        table: self.reader.table().name(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Where the moment lies; in the partitions that nobody asks about, before the first event.
    fn ends(&self, moment: &Moment) -> Vec<Offset> {
        if self.scope == Scope::All {
            return moment.ends.clone();
        }
        let own = usize::from(moment.partition.0);
        let ends = moment.ends.iter().enumerate();
        ends.map(|(at, end)| if at == own { *end } else { Offset(0) })
            .collect()
    }

    fn gone(&self) -> LookupError {
        LookupError::Gone {
            of: self.reader.board().projection(),
            table: self.reader.table().name(),
        }
    }

    /// Of a version that is dropped rows are missing: looked at after each read.
    fn check(&self) -> Result<(), LookupError> {
        Ok(self.reader.board().check_there()?)
    }

    fn read(&self, lanes: &[Lane], moment: &Moment, key: &[u8]) -> Result<Option<R>, LookupError> {
        let ids = self.ids;
        let found = self.reader.store().view(|view| match self.scope {
            Scope::Partition => {
                let lane = &lanes[usize::from(moment.partition.0)];
                own(view, ids, lane, key)
            }
            Scope::All => of_any(view, ids, lanes, key),
        });
        let found = found
            .map_err(QueryError::from)?
            .map_err(|Gone| self.gone())?;
        self.check()?;
        let row = found.map(|row| StandaloneReader::new().decode(&row));
        Ok(row.transpose().map_err(QueryError::from)?)
    }
}

/// The row that one actor had. What others have under this key is not looked at: whether they had it at this event nobody can
/// tell, and what is there now is another thing with each look.
fn own(view: &StateView<'_>, ids: VersionIds, lane: &Lane, key: &[u8]) -> Looked<Option<Vec<u8>>> {
    if !reaches(view, ids, lane.actor, lane.number())? {
        return Ok(Err(Gone));
    }
    let version = version_at(view, ids, key, lane.actor, lane.number())?;
    Ok(Ok(version.and_then(|version| version.row)))
}

/// The last of the actors that have a version of a row, below a bound.
fn owner(
    view: &StateView<'_>,
    ids: VersionIds,
    key: &[u8],
    upper: &Bound<Vec<u8>>,
) -> Result<Option<u16>, millstream_engine::state::StateError> {
    let first = version_prefix(key);
    let upper = upper.as_ref().map(Vec::as_slice);
    let page = view.page(ids.versions, Bound::Included(&first[..]), upper, 1, true)?;
    let found = page.rows.first();
    found.map(|(bytes, _)| Ok(version_of(bytes)?.1)).transpose()
}

/// The row that any actor had. It has one owner; of several, which the projection promised not to have, the one whose event
/// was recorded last.
fn of_any(
    view: &StateView<'_>,
    ids: VersionIds,
    lanes: &[Lane],
    key: &[u8],
) -> Looked<Option<Vec<u8>>> {
    let mut newest: Option<Version> = None;
    let mut upper = Bound::Included(version_key(key, u16::MAX, u64::MAX));
    while let Some(actor) = owner(view, ids, key, &upper)? {
        let number = lanes.get(usize::from(actor)).map_or(0, Lane::number);
        let place =
            |version: &Version| (version.stamp.recorded_at, version.stamp.position.partition);
        if let Some(found) = version_at(view, ids, key, actor, number)?
            && newest
                .as_ref()
                .is_none_or(|newest| place(newest) < place(&found))
        {
            newest = Some(found);
        }
        upper = Bound::Excluded(version_key(key, actor, 0));
    }
    // What was removed before the changes kept begin leaves nothing.
    for lane in lanes {
        if !reaches(view, ids, lane.actor, lane.number())? {
            return Ok(Err(Gone));
        }
    }
    Ok(Ok(newest.and_then(|version| version.row)))
}
