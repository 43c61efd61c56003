//! The read side, and opening.

use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

use super::{
    DeadLetter, DeadLetterId, Progress, ProjectionId, RegisteredProjection, Row, RowsSize,
    Snapshot, StateError, StateOptions, StateView, StateWriter, TableId, chain, layout,
};
use crate::event::{PartitionId, StreamId};
use crate::store::{
    Durability, Environment, EnvironmentOptions, FolderLock, SimulatedDisk, StoreError, Table,
    open_or_reset, reset,
};

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
    /// Opens or creates the state in `folder`. A damaged one is set aside beside it and made anew: it
    /// is rebuilt from the log. One of the layout before is converted, which earlier programs do not read any more.
    ///
    /// # Errors
    /// [`StateError::Store`]: the folder is held by another process, or the disk fails.
    /// [`StateError::Layout`]: another version of this program wrote it.
    pub fn open(
        folder: &Path,
        options: StateOptions,
    ) -> Result<(StateStore, StateWriter), StateError> {
        let mut lock = FolderLock::acquire(folder)?;
        let mut opened = open_or_reset(folder, environment_options(&options))?;
        let mut store = Self::of(opened.environment)?;
        let content = store.convert();
        let content = content.and_then(|()| store.check(options.check_bytes_max));
        if let Err(damage @ StateError::Format { .. }) = content {
            drop(store); // One environment per folder.
            opened = reset(folder, environment_options(&options), &damage)?;
            store = Self::of(opened.environment)?;
        } else {
            content?;
        }
        if opened.set_aside.is_some() {
            // The lock went away with the folder that was set aside.
            lock = FolderLock::acquire(folder)?;
        }
        store.with_writer(options, Some(lock), opened.set_aside)
    }

    /// The same on a simulated disk, where nothing is set aside.
    ///
    /// # Errors
    /// [`StateError::Store`]: the disk fails. [`StateError::Format`]: it is damaged. [`StateError::Layout`].
    pub fn open_simulated(
        disk: &SimulatedDisk,
        options: StateOptions,
    ) -> Result<(StateStore, StateWriter), StateError> {
        let store = Self::of(Environment::simulated(disk, &environment_options(&options)))?;
        store.convert()?;
        store.check(options.check_bytes_max)?;
        store.with_writer(options, None, None)
    }

    fn with_writer(
        self,
        options: StateOptions,
        lock: Option<FolderLock>,
        set_aside: SetAside,
    ) -> Result<(StateStore, StateWriter), StateError> {
        let mut writer = self.environment.writer()?;
        if !self.is_begun()? {
            let mut txn = writer.begin()?;
            layout::put(&self.databases, &mut txn)?;
            txn.commit()?;
        }
        let writer = StateWriter::new(self.clone(), writer, options, lock, set_aside)?;
        Ok((self, writer))
    }

    /// Opens a state for reading alone, also beside the process that writes it. Nothing is created.
    ///
    /// # Errors
    /// [`StateError::Missing`] when there is none; [`StateError::Store`] or [`StateError::Format`] when it is damaged, the former
    /// also when it is open in this process; [`StateError::Layout`], also of the one before, which is not converted here.
    pub fn open_beside(folder: &Path) -> Result<StateStore, StateError> {
        if !folder.join("data.mdb").is_file() {
            return Err(StateError::Missing {
                folder: folder.to_path_buf(),
            });
        }
        let options = EnvironmentOptions {
            read_only: true,
            ..environment_options(&StateOptions::default())
        };
        let store = Self::of(Environment::open(folder, options)?)?;
        store.is_begun()?;
        Ok(store)
    }

    fn of(environment: Environment) -> Result<Self, StateError> {
        let databases = Databases::of(&environment)?;
        Ok(Self {
            environment,
            databases,
        })
    }

    /// Looks for entries that no writer of ours made; those of another layout are not looked at.
    fn check(&self, bytes_max: u64) -> Result<(), StateError> {
        if self.is_begun()? {
            self.view(|view| view.check(bytes_max))?;
        }
        Ok(())
    }

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
    /// questions about the past: besides the last one, [earlier ones](StateOptions::snapshot_earlier_max) are kept.
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

fn environment_options(options: &StateOptions) -> EnvironmentOptions {
    EnvironmentOptions {
        map_bytes_max: options.map_bytes_max,
        preallocate_step_bytes: options.preallocate_step_bytes,
        durability: Durability::NoMetaSync,
        max_readers: options.max_readers,
        check_bytes_max: options.check_bytes_max,
        ..EnvironmentOptions::with_databases(&NAMES)
    }
}

/// Where a damaged state was put, for whoever opened it.
pub(super) type SetAside = Option<PathBuf>;
