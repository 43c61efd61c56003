//! Questions to tables: by key, by range, by index, in a snapshot; from memory and from the store.
//!
//! A table of so many rows, with an index that finds ten of them, is made and then asked on one thread, for which a figure
//! is per core. `hot` rows are in memory, `cold` ones in the store alone, and of `fresh` ones a part has been
//! shown and not stored, which ranges and indexes have to merge in. Each answer is compared with what was written.

use std::ops::RangeInclusive;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use millstream_engine::state::{StateBatch, StateOptions, StateStore, StateWriterHandle};
use millstream_operators::projection::{
    HandedOver, Index, Places, ProgressBoard, Snapshot, Table, TableReader, TableSet,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::{Case, Harness, Machine, SEED};

const SUITE: &str = "query";
/// Rows that the index finds at once, and rows of a page.
const GROUP: u64 = 10;
const PAGE: usize = 100;
/// Keys of a `get_many`.
const MANY: u64 = 100;
/// Rows that are written before they are stored.
const BATCH: usize = 100_000;
/// Questions between two looks at the clock.
const QUESTIONS: u64 = 64;
/// One row in so many is fresh.
const FRESH_EVERY: u64 = 100;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    group: u64,
    amount: i64,
    note: String,
}

const BY_GROUP: Index<u64, Row, u64> = Index::named("by-group", |_, row| Some(row.group));
const ROWS: Table<u64, Row> = Table::named("rows").indexed(&[&BY_GROUP]);

type Tables = (Table<u64, Row>,);
type Writers = <Tables as TableSet>::Writers;

/// How large the cases are.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Rows of the tables.
    pub rows: &'static [u64],
}

/// What is published; larger ones with `--keys`.
pub const FULL: Sizes = Sizes {
    rows: &[1_000, 100_000, 1_000_000],
};

/// What tests run.
pub const TINY: Sizes = Sizes { rows: &[1_000] };

/// Runs all cases that are wanted.
///
/// # Errors
/// When an answer is not what was written.
pub fn run(harness: &Harness, sizes: &Sizes) -> Result<()> {
    let asked = harness.options().keys;
    let rows = asked.as_ref().map_or(sizes.rows, std::slice::from_ref);
    for &rows in rows {
        let mut asked = Asked::make(harness, rows)?;
        asked.questions(harness, "hot")?;
        asked.freshen()?;
        asked.questions(harness, "fresh")?;
        asked.store()?;
        asked.shrink();
        asked.questions(harness, "cold")?;
        asked.close()?;
    }
    Ok(())
}

fn row(key: u64, amount: i64) -> Row {
    Row {
        group: key / GROUP,
        amount,
        note: format!("row {key}"),
    }
}

/// A table to be asked.
struct Asked {
    rows: u64,
    machine: Machine,
    writers: Writers,
    reader: TableReader<u64, Row>,
    board: Arc<ProgressBoard>,
    state: StateWriterHandle,
    thread: millstream_engine::state::StateWriterThread,
    random: SmallRng,
    _folder: crate::DataFolder,
}

impl Asked {
    fn make(harness: &Harness, rows: u64) -> Result<Self> {
        let folder = harness.folder()?;
        let machine = harness.machine(&folder)?;
        let (store, writer) = StateStore::open(folder.path(), StateOptions::default())?;
        let (state, thread) = millstream_engine::state::start(writer)?;
        let tables: Tables = (ROWS,);
        let names = tables.stored_names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let registered = state.register_projection("asked", 1, &names)?;
        let (hot, board) = (tables.hot(), ProgressBoard::new("asked", 1));
        let readers = tables.readers(&registered.tables, &store, &hot, &board);
        let readers = readers.context("readers of the table")?;
        let reader = readers[0]
            .1
            .as_any()
            .downcast_ref::<TableReader<u64, Row>>();
        let writers = tables.writers(&Places {
            ids: &registered.tables,
            store: Some(&store),
            hot: &hot,
            is_complete: true,
            actor: 0,
        });
        let mut asked = Self {
            rows,
            machine,
            writers: writers.context("a writer of the table")?,
            reader: reader.context("a reader of the table")?.clone(),
            board,
            state,
            thread,
            random: SmallRng::seed_from_u64(SEED),
            _folder: folder,
        };
        for key in 0..rows {
            asked.writers.0.put(&key, row(key, 0));
            Tables::keep(&mut asked.writers)?;
            if Tables::unstored(&asked.writers) >= BATCH {
                asked.store()?;
            }
        }
        asked.store()?;
        Ok(asked)
    }

    fn store(&mut self) -> Result<()> {
        Tables::publish(&mut self.writers);
        let mut writes = Vec::new();
        let handed_over = Tables::store(&mut self.writers, &mut writes)?;
        let submitted = self.state.submit_blocking(StateBatch::new(writes));
        submitted.map_err(|refused| refused.reason)?;
        self.state.flush()?;
        handed_over.iter().for_each(HandedOver::settle);
        Ok(())
    }

    /// Changes some rows, and shows them without storing them.
    fn freshen(&mut self) -> Result<()> {
        for key in (0..self.rows).step_by(FRESH_EVERY as usize) {
            self.writers.0.put(&key, row(key, 1));
            Tables::keep(&mut self.writers)?;
        }
        Tables::publish(&mut self.writers);
        Ok(())
    }

    fn shrink(&mut self) {
        Tables::shrink(&mut self.writers);
    }

    fn close(self) -> Result<()> {
        drop(self.state);
        Ok(self.thread.close()?)
    }

    fn questions(&mut self, harness: &Harness, rows: &str) -> Result<()> {
        let (reader, total) = (self.reader.clone(), self.rows);
        let amount = |key: u64| i64::from(rows != "hot" && key.is_multiple_of(FRESH_EVERY));
        let is_right = |key: u64, found: Option<&Row>| {
            found.is_some_and(|found| found.group == key / GROUP && found.amount == amount(key))
        };
        self.measure(harness, &format!("get-{rows}"), 1, |random| {
            let key = random.random_range(0..total);
            Ok(is_right(key, reader.get(&key)?.as_ref()))
        })?;
        self.measure(harness, &format!("get-many-{rows}"), MANY, |random| {
            let keys: Vec<_> = (0..MANY).map(|_| random.random_range(0..total)).collect();
            let found = reader.get_many(&keys)?;
            let mut pairs = keys.iter().zip(&found);
            Ok(pairs.all(|(key, row)| is_right(*key, row.as_ref())))
        })?;
        let page = (PAGE as u64).min(total);
        self.measure(harness, &format!("page-{rows}"), page, |random| {
            let first = random.random_range(0..=total - page);
            let found = reader.range(first..).page(PAGE)?.rows;
            Ok(found.len() as u64 == page && all_right(first..=first + page - 1, &found, is_right))
        })?;
        self.measure(harness, &format!("by-index-{rows}"), GROUP, |random| {
            let group = random.random_range(0..total / GROUP);
            let found = reader.by(&BY_GROUP, &group)?.all()?;
            let first = group * GROUP;
            Ok(all_right(first..=first + GROUP - 1, &found, is_right))
        })?;
        let readers = [(ROWS.name(), Arc::new(reader.clone()) as _)];
        let board = Arc::clone(&self.board);
        self.measure(harness, &format!("snapshot-{rows}"), 1, |random| {
            let key = random.random_range(0..total);
            let snapshot = Snapshot::of(&board, &readers, 1_000_000);
            Ok(is_right(key, snapshot.table(&ROWS)?.get(&key)?.as_ref()))
        })
    }

    /// Asks for as long as is wanted. An answer has so many rows.
    fn measure(
        &mut self,
        harness: &Harness,
        name: &str,
        rows: u64,
        mut ask: impl FnMut(&mut SmallRng) -> Result<bool>,
    ) -> Result<()> {
        if !harness.wants(name) {
            return Ok(());
        }
        let (start, mut asked) = (harness.now(), 0);
        let elapsed = loop {
            for _ in 0..QUESTIONS {
                ensure!(ask(&mut self.random)?, "{name}: an answer is wrong");
            }
            asked += QUESTIONS;
            let elapsed = harness.now() - start;
            if elapsed >= harness.seconds() {
                break elapsed.as_secs_f64();
            }
        };
        let case = Case::new(SUITE, name, self.machine)
            .with("rows", self.rows)
            .with("rows_per_answer", rows)
            .figure("queries_per_second", asked as f64 / elapsed)
            .figure("rows_per_second", (asked * rows) as f64 / elapsed)
            .figure("ns_per_query", elapsed * 1e9 / asked as f64);
        harness.report(case)
    }
}

fn all_right(
    keys: RangeInclusive<u64>,
    found: &[(u64, Row)],
    is_right: impl Fn(u64, Option<&Row>) -> bool,
) -> bool {
    keys.clone().count() == found.len()
        && keys
            .zip(found)
            .all(|(key, (own, row))| key == *own && is_right(key, Some(row)))
}
