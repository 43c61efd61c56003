//! A table over a state of its own, without a log: what it costs whoever writes and asks, and nothing else.
//!
//! Threads: the caller's, and that of the state's writer. Rows are stored when the caller says so, and waited for.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use millstream_engine::state::{StateBatch, StateOptions, StateStore, StateWriterHandle};
use millstream_operators::projection::{
    HandedOver, Places, ProgressBoard, Row, Stamp, Table, TableReader, TableSet,
};

use crate::{DataFolder, Harness, Machine};

type Tables<R> = (Table<u64, R>,);

/// See the module's head. Its rows have numbers as keys.
pub struct StoredTable<R: Row> {
    machine: Machine,
    writers: <Tables<R> as TableSet>::Writers,
    reader: TableReader<u64, R>,
    board: Arc<ProgressBoard>,
    state: StateWriterHandle,
    thread: millstream_engine::state::StateWriterThread,
    _folder: DataFolder,
}

impl<R: Row> std::fmt::Debug for StoredTable<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredTable").finish_non_exhaustive()
    }
}

impl<R: Row> StoredTable<R> {
    /// An empty table in a folder of the harness, as the only one of a projection with this name.
    ///
    /// # Errors
    /// When the folder or the state in it cannot be opened.
    pub fn open(harness: &Harness, name: &'static str, table: Table<u64, R>) -> Result<Self> {
        let folder = harness.folder()?;
        let machine = harness.machine(&folder)?;
        let (store, writer) = StateStore::open(folder.path(), StateOptions::default())?;
        let (state, thread) = millstream_engine::state::start(writer)?;
        let tables: Tables<R> = (table,);
        let names = tables.stored_names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let registered = state.register_projection(name, 1, &names)?;
        let (hot, board) = (tables.hot(), ProgressBoard::new(name, 1));
        let readers = tables.readers(&registered.tables, &store, &hot, &board);
        let readers = readers.context("readers of the table")?;
        let reader = readers[0].1.as_any().downcast_ref();
        let reader: &TableReader<u64, R> = reader.context("a reader of the table")?;
        let writers = tables.writers(&Places {
            ids: &registered.tables,
            store: Some(&store),
            hot: &hot,
            is_complete: true,
            actor: 0,
        });
        Ok(Self {
            machine,
            writers: writers.context("a writer of the table")?,
            reader: reader.clone(),
            board,
            state,
            thread,
            _folder: folder,
        })
    }

    /// The machine when it was opened.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Whoever asks it.
    #[must_use]
    pub fn reader(&self) -> &TableReader<u64, R> {
        &self.reader
    }

    /// Where its positions are shown: none are.
    #[must_use]
    pub fn board(&self) -> &Arc<ProgressBoard> {
        &self.board
    }

    /// Says which event the next change is of, where versions are kept.
    pub fn begin(&mut self, stamp: &Stamp) {
        Tables::<R>::begin(&mut self.writers, stamp, None);
    }

    /// Changes a row; it is shown with the next [`publish`](Self::publish).
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn put(&mut self, key: u64, row: R) -> Result<()> {
        self.writers.0.put(&key, row);
        Ok(Tables::<R>::keep(&mut self.writers)?)
    }

    /// Rows that were changed and are not stored yet.
    #[must_use]
    pub fn unstored(&self) -> usize {
        Tables::<R>::unstored(&self.writers)
    }

    /// Shows what was changed.
    pub fn publish(&mut self) {
        Tables::<R>::publish(&mut self.writers);
    }

    /// Shows what was changed, and waits until it is stored.
    ///
    /// # Errors
    /// When the state takes nothing any more.
    pub fn store(&mut self) -> Result<()> {
        self.publish();
        let mut writes = Vec::new();
        let handed_over = Tables::<R>::store(&mut self.writers, &mut writes)?;
        let submitted = self.state.submit_blocking(StateBatch::new(writes));
        submitted.map_err(|refused| refused.reason)?;
        self.state.flush()?;
        handed_over.iter().for_each(HandedOver::settle);
        Ok(())
    }

    /// Lets go of rows in memory that are stored.
    pub fn shrink(&mut self) {
        Tables::<R>::shrink(&mut self.writers);
    }

    /// Ends the thread of its state.
    ///
    /// # Errors
    /// What the state's writer had failed with.
    pub fn close(self) -> Result<()> {
        drop((self.state, self.reader, self.writers));
        Ok(self.thread.close()?)
    }
}

/// Asks for as long as is wanted, so many questions between two looks at the clock; gives how many were asked, and seconds.
///
/// # Errors
/// When an answer is wrong, which `ask` says with `false`, or there is none.
pub fn questions(
    harness: &Harness,
    name: &str,
    at_once: u64,
    mut ask: impl FnMut() -> Result<bool>,
) -> Result<(u64, f64)> {
    let (start, mut asked) = (harness.now(), 0);
    loop {
        for _ in 0..at_once {
            ensure!(ask()?, "{name}: an answer is wrong");
        }
        asked += at_once;
        let elapsed = harness.now() - start;
        if elapsed >= harness.seconds() {
            return Ok((asked, elapsed.as_secs_f64()));
        }
    }
}
