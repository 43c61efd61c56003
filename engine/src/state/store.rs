//! The read side.

mod opening;

use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;

use super::{
    DeadLetter, DeadLetterId, Progress, ProjectionId, RegisteredProjection, Row, RowsSize,
    Snapshot, StateError, StateView, TableId, chain,
};
use crate::event::{PartitionId, StreamId};
use crate::store::{Environment, StoreError, Table};

const NAMES: [&str; 5] = ["catalog", "dead_letters", "progress", "rows", "snapshots"];
/// Rows of one page of a walk, and keys counted by one read: each well under a millisecond.
const WALK_ROWS: usize = 1_024;
const COUNT_ROWS: u64 = 65_536;

/// The databases of the environment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Databases {
    pub catalog: Table,
    pub dead_letters: Table,
    pub progress: Table,
    pub rows: Table,
    pub snapshots: Table,
}

impl Databases {
    fn of(environment: &Environment) -> Result<Self, StoreError> {
        let [catalog, dead_letters, progress, rows, snapshots] = NAMES;
        Ok(Self {
            catalog: environment.table(catalog)?,
            dead_letters: environment.table(dead_letters)?,
            progress: environment.table(progress)?,
            rows: environment.table(rows)?,
            snapshots: environment.table(snapshots)?,
        })
    }

    pub(super) fn named(&self) -> [(&'static str, Table); 5] {
        let [catalog, dead_letters, progress, rows, snapshots] = NAMES;
        [
            (catalog, self.catalog),
            (dead_letters, self.dead_letters),
            (progress, self.progress),
            (rows, self.rows),
            (snapshots, self.snapshots),
        ]
    }
}

/// The read side of the state: clones share it, and none waits for the writer.
///
/// Each call is one short read of its own; [`view`](Self::view) answers several questions at one moment.
#[derive(Clone, Debug)]
pub struct StateStore {
    environment: Environment,
    databases: Databases,
}

impl StateStore {
    pub(super) fn databases(&self) -> Databases {
        self.databases
    }

    /// The data file and what LMDB says of it.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Runs `with` on one moment of all tables. Keep it short and never wait inside: pages that it sees are not
    /// reused meanwhile, and the file grows.
    ///
    /// # Errors
    /// What `with` gives; [`StateError::Store`] when no reader slot is free.
    pub fn view<T>(
        &self,
        with: impl FnOnce(&StateView<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let databases = self.databases;
        self.environment
            .read(|reader| with(&StateView { reader, databases }))?
    }

    /// The row under `key`; `None` when there is none.
    ///
    /// # Errors
    /// As [`StateView::get`].
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.view(|view| Ok(view.get(table, key)?.map(<[u8]>::to_vec)))
    }

    /// One page of rows in the order of their keys, as [`StateView::scan`]. To go on, pass the last key as
    /// `Bound::Excluded`.
    ///
    /// # Errors
    /// As [`StateView::scan`].
    pub fn scan(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StateError> {
        self.scan_range(table, from, Bound::Unbounded, limit)
    }

    /// One page of the rows between the bounds, as [`StateView::scan`].
    ///
    /// # Errors
    /// As [`StateView::scan`].
    pub fn scan_range(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StateError> {
        self.view(|view| view.scan(table, from, to, limit))
    }

    /// Keys in their order, at most `limit`, as [`StateView::keys`].
    ///
    /// # Errors
    /// As [`StateView::keys`].
    pub fn keys(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StateError> {
        self.view(|view| view.keys(table, from, limit))
    }

    /// Hands each row to `each` in the order of their keys, until it breaks. Short reads of 1,024 rows: what is
    /// written meanwhile may or may not be seen, no row is seen twice, and `each` may take its time.
    ///
    /// # Errors
    /// As [`StateView::scan`].
    pub fn for_each(
        &self,
        table: TableId,
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let mut from = None;
        loop {
            let page = self.scan(table, behind(&from), WALK_ROWS)?;
            for (key, value) in &page {
                if each(key, value).is_break() {
                    return Ok(());
                }
            }
            match page.into_iter().next_back() {
                Some((last, _)) => from = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Number of rows. Cost: a walk over their keys in short reads, so it is exact only at rest.
    ///
    /// # Errors
    /// As [`StateView::scan`].
    pub fn count(&self, table: TableId) -> Result<u64, StateError> {
        Ok(self.size(table)?.rows)
    }

    /// Number and bytes of rows, at the same cost as [`count`](Self::count).
    ///
    /// # Errors
    /// As [`StateView::scan`].
    pub fn size(&self, table: TableId) -> Result<RowsSize, StateError> {
        self.size_between(table, Bound::Unbounded, Bound::Unbounded)
    }

    /// The same of the rows between two bounds.
    ///
    /// # Errors
    /// As [`StateView::scan`].
    pub fn size_between(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<RowsSize, StateError> {
        let (mut size, mut from) = (RowsSize::default(), from.map(<[u8]>::to_vec));
        loop {
            let begin = from.as_ref().map(Vec::as_slice);
            let slice = self.view(|view| view.count_slice(table, begin, to, COUNT_ROWS))?;
            size.rows += slice.0.rows;
            size.bytes += slice.0.bytes;
            match slice.1 {
                Some(last) => from = Bound::Excluded(last),
                None => return Ok(size),
            }
        }
    }

    /// How far a projection has come in a partition; `None` before it began.
    ///
    /// # Errors
    /// As [`StateView::progress`].
    pub fn progress(
        &self,
        projection: ProjectionId,
        partition: PartitionId,
    ) -> Result<Option<Progress>, StateError> {
        self.view(|view| view.progress(projection, partition))
    }

    /// The last snapshot of a stream. One that cannot be read is `None`, with a warning in the log of the
    /// program: the events are there, reading them takes longer.
    pub fn snapshot(&self, stream: &StreamId) -> Option<Snapshot> {
        match self.view(|view| view.links(stream)) {
            Ok(links) => chain::read_or_warn(stream, &links),
            Err(error) => {
                tracing::warn!(%stream, %error, "a snapshot could not be read, its events are");
                None
            }
        }
    }

    /// The newest stored snapshot of a stream for which `fits` holds; it is shown heads, which have no state. For
    /// questions about the past: besides the last one, [earlier ones](super::StateOptions::snapshot_earlier_max) are kept.
    /// `None` also, with a warning, when it cannot be read. Cost: a look at each newer one.
    pub fn snapshot_fitting(
        &self,
        stream: &StreamId,
        fits: impl Fn(&Snapshot) -> bool,
    ) -> Option<Snapshot> {
        let found = self.view(|view| {
            let mut links = view.links(stream)?;
            match chain::last_fitting(stream, &links, &fits) {
                Some(last) => links.truncate(last + 1),
                None => {
                    let earlier = view.earlier_link(stream, &fits)?;
                    links = earlier.into_iter().map(|link| (0, link)).collect();
                }
            }
            Ok(links)
        });
        match found {
            Ok(links) => chain::read_or_warn(stream, &links),
            Err(error) => {
                tracing::warn!(%stream, %error, "a snapshot could not be read, its events are");
                None
            }
        }
    }

    /// All registered projections, by name and version.
    ///
    /// # Errors
    /// As [`StateView::projections`].
    pub fn projections(&self) -> Result<Vec<RegisteredProjection>, StateError> {
        self.view(|view| view.projections())
    }

    /// The projection of this name and version, if it was registered.
    ///
    /// # Errors
    /// As [`StateView::projection`].
    pub fn projection(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<RegisteredProjection>, StateError> {
        self.view(|view| view.projection(name, version))
    }

    /// Id of a registered projection.
    ///
    /// # Errors
    /// As [`StateView::projection`].
    pub fn projection_id(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<ProjectionId>, StateError> {
        Ok(self.projection(name, version)?.map(|found| found.id))
    }

    /// Id of a table of a registered projection.
    ///
    /// # Errors
    /// As [`StateView::projection`].
    pub fn table_id(
        &self,
        projection: &str,
        version: u32,
        table: &str,
    ) -> Result<Option<TableId>, StateError> {
        let found = self.projection(projection, version)?;
        Ok(found.and_then(|found| found.table(table)))
    }

    /// One page of dead letters, as [`StateView::dead_letters`]. To go on, pass the last one's id.
    ///
    /// # Errors
    /// As [`StateView::dead_letters`].
    pub fn dead_letters(
        &self,
        projection: Option<ProjectionId>,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StateError> {
        self.view(|view| view.dead_letters(projection, after, limit))
    }

    /// The dead letter with this id.
    ///
    /// # Errors
    /// As [`StateView::dead_letter`].
    pub fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StateError> {
        self.view(|view| view.dead_letter(id))
    }

    /// Number of dead letters of one projection, or of all.
    ///
    /// # Errors
    /// As [`StateView::dead_letter_count`].
    pub fn dead_letter_count(&self, projection: Option<ProjectionId>) -> Result<u64, StateError> {
        self.view(|view| view.dead_letter_count(projection))
    }
}

fn behind(last: &Option<Vec<u8>>) -> Bound<&[u8]> {
    last.as_deref().map_or(Bound::Unbounded, Bound::Excluded)
}

/// Where a damaged state was put, for whoever opened it.
pub(super) type SetAside = Option<PathBuf>;
