//! Compares every table with the totals of a direct pass over the file, row by row; then the dataflows, which ran over all of it ([`sales`]) or go on
//! ([`live`]).
//!
//! Invariant: nothing of what is compared with comes from the engine or its reader, but the numbers of the
//! lines that the reader could not read, which the direct pass leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use millstream_operators::projection::QueryError;

use super::report::{Check, ShopReport};
use super::{ShopError, live, sales};
use crate::Engine;
use crate::catalog::shop::oracle::{self, OracleError, Totals};
use crate::catalog::shop::rows::RevenueRow;
use crate::catalog::shop::tables::{
    PRODUCTS, REVENUE_BY_COUNTRY, REVENUE_BY_DAY, REVENUE_BY_PRODUCT, UNMATCHED_REFUNDS,
};
use crate::money::Money;

/// BLAKE3 of the published file, as this repository has it.
const PUBLISHED_FILE: &str = "cfd887965df4b4be176a2a03c42f381e21586bb89dcb895775ca4505dc15b772";
/// Its revenue as published. Thousandths of a pound.
const PUBLISHED_MILLI: i128 = 9_747_747_934;

/// A row of either side. What a table does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    lines: Option<u64>,
    units: Option<i64>,
    /// `None` for an amount that is not in whole thousandths.
    milli: Option<i128>,
}

type Rows = BTreeMap<String, Sums>;

impl Sums {
    fn of(lines: Option<u64>, amount: Money) -> Self {
        Self {
            lines,
            units: None,
            milli: milli(amount),
        }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lines) = self.lines {
            write!(f, "{lines} lines, ")?;
        }
        if let Some(units) = self.units {
            write!(f, "{units} units, ")?;
        }
        f.write_str(&pounds(self.milli))
    }
}

fn pounds(milli: Option<i128>) -> String {
    let amount = milli.and_then(|milli| Money::new(milli, 3));
    amount.map_or_else(|| "an odd amount".to_owned(), |amount| amount.to_string())
}

fn milli(amount: Money) -> Option<i128> {
    let (thousandths, unit) = (
        amount.mantissa().checked_mul(1_000)?,
        10i128.pow(amount.scale()),
    );
    (thousandths % unit == 0).then_some(thousandths / unit)
}

/// All checks, in the order in which a report shows them; notes how long the dataflows took.
pub(super) async fn compare(
    engine: &Engine,
    path: &Path,
    digest: &[u8; 32],
    report: &mut ShopReport,
) -> Result<Vec<Check>, ShopError> {
    let passed = direct(path, report, oracle::totals_without).await;
    let totals = match passed {
        Ok(totals) => totals,
        Err(error) => {
            return Ok(vec![impossible(&error)]);
        }
    };
    let mut checks = Vec::new();
    if blake3::Hash::from_bytes(*digest).to_hex().as_str() == PUBLISHED_FILE {
        let published = Some(PUBLISHED_MILLI);
        let found = milli(report.revenue());
        checks.push(single(
            "revenue as published",
            pounds(published),
            pounds(found),
        ));
    }
    checks.extend(revenue(engine, &totals)?);
    checks.push(products(engine, &totals)?);
    checks.extend(refunds(engine, &totals)?);
    let customer_lines: u64 = totals.by_country.values().map(|row| row.lines).sum();
    // One event per customer's line, one per product's, and the notes of the file.
    let events = customer_lines + totals.lines + report.notes;
    checks.push(single("events in the log", events, report.log_events));
    checks.extend(if report.live_dataflows {
        live::compare(engine, path, report).await?
    } else {
        sales::compare(engine, path, report).await?
    });
    Ok(checks)
}

/// Passes over what was read of the file, on a thread that may block.
pub(super) async fn direct<T: Send + 'static>(
    path: &Path,
    report: &ShopReport,
    pass: fn(&Path, &BTreeSet<u64>, u64) -> Result<T, OracleError>,
) -> Result<T, OracleError> {
    let (path, skipped) = (path.to_path_buf(), report.unreadable_lines.clone());
    let through = match &report.broken_off {
        None => u64::MAX,
        Some(_) => report.last_line,
    };
    tokio::task::spawn_blocking(move || pass(&path, &skipped, through))
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// The check that there is something to compare with.
pub(super) fn impossible(error: &OracleError) -> Check {
    Check {
        name: "a direct pass over the file",
        expected: "totals".to_owned(),
        found: error.to_string(),
        ok: false,
    }
}

fn revenue(engine: &Engine, totals: &Totals) -> Result<Vec<Check>, QueryError> {
    let countries = engine.table(&REVENUE_BY_COUNTRY)?.rows()?;
    let days = engine.table(&REVENUE_BY_DAY)?.rows()?;
    let products = engine.table(&REVENUE_BY_PRODUCT)?.rows()?;
    let all: Money = countries.iter().map(|(_, row)| row.amount).sum();
    let found = |key: String, row: &RevenueRow| (key, Sums::of(Some(row.lines), row.amount));
    let expected = |rows: &BTreeMap<String, oracle::Revenue>| {
        let sums = |row: &oracle::Revenue| Sums {
            lines: Some(row.lines),
            units: None,
            milli: Some(row.milli.into()),
        };
        rows.iter()
            .map(|(key, row)| (key.clone(), sums(row)))
            .collect::<Rows>()
    };
    // Lines of a product without a customer are in no customer's event. Their amount is zero, so amounts
    // are compared here, and lines with the product's own table.
    let bought = products
        .iter()
        .map(|(key, row)| (key.to_string(), Sums::of(None, row.amount)));
    let sold = totals.by_product.iter().map(|(key, row)| {
        let milli = Some(row.milli.into());
        let sums = Sums {
            milli,
            ..Sums::default()
        };
        (key.clone(), sums)
    });
    Ok(vec![
        single(
            "revenue in total",
            pounds(Some(totals.milli.into())),
            pounds(milli(all)),
        ),
        rows(
            "revenue by country",
            &expected(&totals.by_country),
            &countries
                .iter()
                .map(|(key, row)| found(key.to_string(), row))
                .collect(),
        ),
        rows(
            "revenue by day",
            &expected(&totals.by_day),
            &days
                .iter()
                .map(|(key, row)| found(key.to_string(), row))
                .collect(),
        ),
        rows(
            "revenue by product",
            &sold.filter(|(_, row)| row.milli != Some(0)).collect(),
            &bought.filter(|(_, row)| row.milli != Some(0)).collect(),
        ),
    ])
}

fn products(engine: &Engine, totals: &Totals) -> Result<Check, QueryError> {
    let expected = totals.by_product.iter().map(|(key, row)| {
        let sums = Sums {
            lines: Some(row.lines),
            units: Some(row.units),
            milli: Some(row.milli.into()),
        };
        (key.clone(), sums)
    });
    let found = engine.table(&PRODUCTS)?.rows()?;
    let found = found.iter().map(|(key, row)| {
        let units = Some(row.units());
        let sums = Sums {
            units,
            ..Sums::of(Some(row.lines), row.amount)
        };
        (key.to_string(), sums)
    });
    Ok(rows(
        "units and amounts of products",
        &expected.collect(),
        &found.collect(),
    ))
}

fn refunds(engine: &Engine, totals: &Totals) -> Result<Vec<Check>, QueryError> {
    let found = engine.table(&UNMATCHED_REFUNDS)?.rows()?;
    let by_line = |line: u64| (format!("line {line}"), Sums::default());
    let amount: Money = found.iter().map(|(_, row)| row.amount).sum();
    Ok(vec![
        rows(
            "refunds without a purchase",
            &totals
                .unmatched_lines
                .iter()
                .copied()
                .map(by_line)
                .collect(),
            &found.iter().map(|(line, _)| by_line(*line)).collect(),
        ),
        single(
            "amount of these refunds",
            pounds(Some(totals.unmatched_milli.into())),
            pounds(milli(amount)),
        ),
    ])
}

pub(super) fn single<T: ToString + PartialEq>(name: &'static str, expected: T, found: T) -> Check {
    Check {
        name,
        ok: expected == found,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// Compares row by row; of rows that differ the first is shown.
fn rows(name: &'static str, expected: &Rows, found: &Rows) -> Check {
    let mut keys = expected.keys().chain(found.keys());
    let Some(key) = keys.find(|&key| expected.get(key) != found.get(key)) else {
        let count = expected.len();
        return Check {
            name,
            expected: format!("{count} rows"),
            found: format!("{count} equal rows"),
            ok: true,
        };
    };
    let shown = |row: Option<&Sums>| {
        row.map_or_else(|| format!("{key}: no row"), |row| format!("{key}: {row}"))
    };
    Check {
        name,
        expected: shown(expected.get(key)),
        found: shown(found.get(key)),
        ok: false,
    }
}
