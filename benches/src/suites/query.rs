//! Questions to tables: by key, by range, by index, in a snapshot; from memory and from the store.
//!
//! A table of so many rows, with an index that finds ten of them, is made and then asked on one thread, for which a figure
//! is per core. `hot` rows are in memory, `cold` ones in the store alone, and of `fresh` ones a part has been
//! shown and not stored, which ranges and indexes have to merge in. Each answer is compared with what was written.

use std::ops::RangeInclusive;
use std::sync::Arc;

use anyhow::Result;
use millstream_operators::projection::{Index, Snapshot, Table};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::stored::{StoredTable, questions};
use crate::{Case, Harness, SEED};

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
        asked.table.store()?;
        asked.table.shrink();
        asked.questions(harness, "cold")?;
        asked.table.close()?;
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
    table: StoredTable<Row>,
    random: SmallRng,
}

impl Asked {
    fn make(harness: &Harness, rows: u64) -> Result<Self> {
        let mut table = StoredTable::open(harness, "asked", ROWS)?;
        for key in 0..rows {
            table.put(key, row(key, 0))?;
            if table.unstored() >= BATCH {
                table.store()?;
            }
        }
        table.store()?;
        Ok(Self {
            rows,
            table,
            random: SmallRng::seed_from_u64(SEED),
        })
    }

    /// Changes some rows, and shows them without storing them.
    fn freshen(&mut self) -> Result<()> {
        for key in (0..self.rows).step_by(FRESH_EVERY as usize) {
            self.table.put(key, row(key, 1))?;
        }
        self.table.publish();
        Ok(())
    }

    fn questions(&mut self, harness: &Harness, rows: &str) -> Result<()> {
        let (reader, total) = (self.table.reader().clone(), self.rows);
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
        let board = Arc::clone(self.table.board());
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
        let random = &mut self.random;
        let (asked, elapsed) = questions(harness, name, QUESTIONS, || ask(random))?;
        let case = Case::new(SUITE, name, self.table.machine())
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
