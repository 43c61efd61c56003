//! Projections over the aggregate, and what their tables must hold.

use std::collections::BTreeMap;

use millstream::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Happened, PATIENCE, Streams};

/// Row per tally.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SumRow {
    pub(crate) sum: i64,
    pub(crate) events: u64,
}

impl SumRow {
    /// Adds what happened to the tally, or to one of several.
    pub(crate) fn add(&mut self, event: &Happened) {
        self.events += 1;
        if let Happened::Added { by } = event {
            self.sum += by;
        }
    }
}

pub(crate) const SUMS: Table<String, SumRow> = Table::named("sums");

/// Makes a type a projection with a row per tally, owned by its partition, in one table. Stores know a projection by its name
/// and version, so that tests need several of them that do the same.
macro_rules! sums_of_tallies {
    ($projection:ident $(<const $given:ident: $kind:ident>)?: $name:expr, $version:expr, $table:expr) => {
        impl $(<const $given: $kind>)? Projection for $projection $(<$given>)? {
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;
            const ROWS: Rows = Rows::ByPartition;
            const CATEGORY: &'static str = "tally";
            type Event = Happened;
            type Tables = (Table<String, SumRow>,);
            type Error = std::convert::Infallible;

            fn tables(&self) -> Self::Tables {
                ($table,)
            }

            fn project(
                &self,
                event: &ProjectedEvent<'_, Happened>,
                (sums,): &mut (TableMut<String, SumRow>,),
            ) -> Result<(), Self::Error> {
                sums.update(&event.id.to_owned(), |row| row.add(event.payload));
                Ok(())
            }
        }
    };
}

pub(crate) use sums_of_tallies;

/// A row per tally, owned by its partition.
pub(crate) struct Sums;

sums_of_tallies!(Sums: "sums", 1, SUMS);

pub(crate) const DIGITS: Table<u64, i64> = Table::named("digits");
pub(crate) const OPEN: Table<String, u64> = Table::named("open");

/// Two tables over all partitions: how often each last digit was added, and the tallies with an odd number of
/// events (so that rows come and go).
pub(crate) struct Digits;

impl Projection for Digits {
    const NAME: &'static str = "digits";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<u64, i64>, Table<String, u64>);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (DIGITS, OPEN)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (digits, open): &mut (TableMut<u64, i64>, TableMut<String, u64>),
    ) -> Result<(), Self::Error> {
        if let Happened::Added { by } = event.payload {
            let digit = by.rem_euclid(10) as u64;
            let count = digits.get(&digit).copied().unwrap_or(0);
            digits.put(&digit, count + 1);
        }
        let id = event.id.to_owned();
        if event.version.is_multiple_of(2) {
            open.put(&id, event.version);
        } else {
            open.remove(&id);
        }
        Ok(())
    }
}

/// Rows of the three tables, as a fold over all events gives them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tables {
    pub(crate) sums: BTreeMap<String, SumRow>,
    pub(crate) digits: BTreeMap<u64, i64>,
    pub(crate) open: BTreeMap<String, u64>,
}

impl Tables {
    pub(crate) fn of(streams: &Streams) -> Self {
        let mut tables = Self::default();
        for (stream, events) in streams {
            let Some(id) = stream.strip_prefix("tally-") else {
                continue;
            };
            for (version, event) in (0u64..).zip(events) {
                let row = tables.sums.entry(id.to_owned()).or_default();
                row.events += 1;
                if let Happened::Added { by } = event {
                    row.sum += by;
                    *tables.digits.entry(by.rem_euclid(10) as u64).or_default() += 1;
                }
                if version.is_multiple_of(2) {
                    tables.open.insert(id.to_owned(), version);
                } else {
                    tables.open.remove(id);
                }
            }
        }
        tables
    }

    /// The rows as queries give them, once everything durable is in them.
    pub(crate) async fn queried(engine: &Engine) -> Self {
        let token = engine.durable();
        let sums = engine
            .query(&SUMS)
            .at_least(&token)
            .deadline(PATIENCE)
            .rows()
            .await
            .unwrap();
        let digits = engine
            .query(&DIGITS)
            .at_least(&token)
            .deadline(PATIENCE)
            .rows()
            .await
            .unwrap();
        let open = engine
            .query(&OPEN)
            .at_least(&token)
            .deadline(PATIENCE)
            .rows()
            .await
            .unwrap();
        Self {
            sums: sums.into_iter().collect(),
            digits: digits.into_iter().collect(),
            open: open.into_iter().collect(),
        }
    }
}
