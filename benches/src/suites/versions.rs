//! Versioned tables: what versions cost whoever writes, and what questions about the past and the feed of changes take.
//!
//! Events change one row each, key after key, round after round, so that each row has as many versions as there are rounds.
//! `write-plain` and `write-versioned` apply and store the same events to a table without versions and with them, without
//! a log: what is left is the table's own cost. The other cases ask the versioned table, from the store, on one thread.
//! Each answer is compared with what was written.

use anyhow::{Context, Result};
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::time::Timestamp;
use millstream_operators::projection::{ChangesFrom, Retention, Stamp, Table, TableAt};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::stored::{StoredTable, questions};
use crate::{Case, Harness, SEED};

const SUITE: &str = "query";
/// Events between two stores.
const BATCH: u64 = 65_536;
/// Questions between two looks at the clock.
const QUESTIONS: u64 = 64;
const PARTITION: PartitionId = PartitionId(0);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    amount: u64,
    note: String,
}

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Rows of the table.
    pub keys: u64,
    /// Versions of each.
    pub versions: u64,
}

/// What is published; other numbers of rows with `--keys`.
pub const FULL: Sizes = Sizes {
    keys: 100_000,
    versions: 10,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    keys: 200,
    versions: 3,
};

/// Runs all cases that are wanted.
///
/// # Errors
/// When an answer is not what was written.
pub fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let sizes = Sizes { keys, ..sizes };
    if harness.wants("write-plain") {
        let plain = Written::make(harness, sizes, Table::named("plain"))?;
        plain.report(harness, "write-plain")?;
        plain.table.close()?;
    }
    let versioned = Table::named("versioned").versioned(Retention::FOREVER);
    let mut versioned = Written::make(harness, sizes, versioned)?;
    versioned.report(harness, "write-versioned")?;
    versioned.rows(harness)?;
    versioned.whole(harness)?;
    versioned.changes(harness)?;
    versioned.table.close()
}

/// A table that was written.
struct Written {
    sizes: Sizes,
    seconds: f64,
    table: StoredTable<Row>,
    random: SmallRng,
}

impl Written {
    fn make(harness: &Harness, sizes: Sizes, table: Table<u64, Row>) -> Result<Self> {
        let mut written = Self {
            sizes,
            seconds: 0.0,
            table: StoredTable::open(harness, "written", table)?,
            random: SmallRng::seed_from_u64(SEED),
        };
        let start = harness.now();
        written.write()?;
        written.seconds = (harness.now() - start).as_secs_f64();
        Ok(written)
    }

    fn events(&self) -> u64 {
        self.sizes.keys * self.sizes.versions
    }

    fn write(&mut self) -> Result<()> {
        for event in 0..self.events() {
            let stamp = Stamp {
                position: Position {
                    partition: PARTITION,
                    offset: Offset(event),
                },
                recorded_at: Timestamp(event as i64),
                event_time: Timestamp(event as i64),
            };
            self.table.begin(&stamp);
            let (key, amount) = (event % self.sizes.keys, event / self.sizes.keys);
            let note = format!("row {key}");
            self.table.put(key, Row { amount, note })?;
            if (event + 1) % BATCH == 0 {
                self.table.store()?;
            }
        }
        self.table.store()
    }

    fn case(&self, name: &str) -> Case {
        Case::new(SUITE, name, self.table.machine())
            .with("keys", self.sizes.keys)
            .with("versions_per_key", self.sizes.versions)
    }

    fn report(&self, harness: &Harness, name: &str) -> Result<()> {
        if !harness.wants(name) {
            return Ok(());
        }
        let events = self.events() as f64;
        let case = self
            .case(name)
            .figure("events_per_second", events / self.seconds)
            .figure("ns_per_event", self.seconds * 1e9 / events);
        harness.report(case)
    }

    /// What a row's amount was before event `end`.
    fn amount(&self, key: u64, end: u64) -> Option<u64> {
        let versions = (end + self.sizes.keys - 1 - key) / self.sizes.keys;
        versions.checked_sub(1)
    }

    /// Rows at random moments, and all versions of rows.
    fn rows(&mut self, harness: &Harness) -> Result<()> {
        let (keys, events, reader) = (self.sizes.keys, self.events(), self.table.reader().clone());
        let mut random = self.random.clone();
        self.measure(harness, "row-at", 1, |this| {
            let (key, end) = (
                random.random_range(0..keys),
                random.random_range(0..=events),
            );
            let then = TableAt::before(&reader, &[(PARTITION, Offset(end))])?;
            let row = then.context("versions reach back")?.get(&key)?;
            Ok(row.map(|row| row.amount) == this.amount(key, end))
        })?;
        let versions = self.sizes.versions;
        let mut random = self.random.clone();
        self.measure(harness, "history", versions, |_| {
            let history = reader.history(&random.random_range(0..keys))?;
            let amounts = history.map(|version| Ok(version?.row.context("a row")?.amount));
            let amounts: Vec<u64> = amounts.collect::<Result<_>>()?;
            Ok(amounts.into_iter().eq(0..versions))
        })
    }

    /// The whole table in the middle.
    fn whole(&mut self, harness: &Harness) -> Result<()> {
        let (keys, end, reader) = (
            self.sizes.keys,
            self.events() / 2,
            self.table.reader().clone(),
        );
        self.measure(harness, "table-at", keys, |this| {
            let then = TableAt::before(&reader, &[(PARTITION, Offset(end))])?;
            let (mut rows, mut is_right) = (0, true);
            let then = then.context("versions reach back")?;
            then.scan().for_each(|key, row| {
                rows += 1;
                is_right &= Some(row.amount) == this.amount(key, end);
            })?;
            Ok(is_right && rows == keys)
        })
    }

    /// The feed from its beginning to its end.
    fn changes(&mut self, harness: &Harness) -> Result<()> {
        let (events, keys, reader) = (self.events(), self.sizes.keys, self.table.reader().clone());
        self.measure(harness, "changes", events, |_| {
            let mut changes = reader.changes(ChangesFrom::Oldest)?;
            for event in 0..events {
                let change = changes.try_next()?.context("a change")?;
                let amount = change.row.map(|row| row.amount);
                if (change.key, amount) != (event % keys, Some(event / keys)) {
                    return Ok(false);
                }
            }
            Ok(changes.try_next()?.is_none())
        })
    }

    /// Asks for as long as is wanted. An answer has so many items.
    fn measure(
        &mut self,
        harness: &Harness,
        name: &str,
        items: u64,
        mut ask: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        if !harness.wants(name) {
            return Ok(());
        }
        let at_once = if items > 1_000 { 1 } else { QUESTIONS };
        let (asked, elapsed) = questions(harness, name, at_once, || ask(self))?;
        let case = self
            .case(name)
            .with("items_per_answer", items)
            .figure("queries_per_second", asked as f64 / elapsed)
            .figure("items_per_second", (asked * items) as f64 / elapsed)
            .figure("us_per_query", elapsed * 1e6 / asked as f64);
        harness.report(case)
    }
}
