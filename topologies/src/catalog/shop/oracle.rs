//! What a run over the file must come to: a direct pass over it, for comparison.
//!
//! Shares no code with the reader, the rules, the aggregates or the rows: columns by place, prices as
//! whole thousandths of a pound, days as the date's text, refunds by one map. So an error in either does
//! not hide in the other. It is made for the published file and refuses any other: a price with more
//! than 3 decimals or a row that is not as it should be ends the pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Why there are no totals.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OracleError {
    /// The file cannot be opened or read.
    #[error("cannot read the file: {0}")]
    Read(#[from] std::io::Error),
    /// It is not well-formed CSV.
    #[error("cannot read a row: {0}")]
    Csv(#[from] csv::Error),
    /// A field is not as the published file has it.
    #[error("line {line}, column {column} is not as published")]
    Field {
        /// Line in the file; the header is line 1.
        line: u64,
        /// Column, from 0.
        column: usize,
    },
}

/// Lines and revenue of one country or day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revenue {
    /// Invoice lines, those without effect on any customer not counted.
    pub lines: u64,
    /// Thousandths of a pound.
    pub milli: i64,
}

/// Lines, units and revenue of one stock code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goods {
    /// Invoice lines.
    pub lines: u64,
    /// The quantities' sum, bad debt not counted.
    pub units: i64,
    /// Thousandths of a pound.
    pub milli: i64,
}

/// Everything a run is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Invoice lines in the file.
    pub lines: u64,
    /// Revenue over all lines. Thousandths of a pound.
    pub milli: i64,
    /// By country.
    pub by_country: BTreeMap<String, Revenue>,
    /// By day, as `2010-12-01`.
    pub by_day: BTreeMap<String, Revenue>,
    /// By stock code.
    pub by_product: BTreeMap<String, Goods>,
    /// Lines that refund what their customer had not bought before, in order; line 1 is the header.
    pub unmatched_lines: Vec<u64>,
    /// What these lines pay back, zero or above. Thousandths of a pound.
    pub unmatched_milli: i64,
}

/// Adds up the file, plain or `.zst`.
///
/// # Errors
/// [`OracleError`]; there are no partial totals.
pub fn totals(path: &Path) -> Result<Totals, OracleError> {
    totals_without(path, &BTreeSet::new(), u64::MAX)
}

/// Adds up a part of the file: all up to line `through` (inclusive) but the lines in `skipped`.
///
/// # Errors
/// As [`totals`].
pub fn totals_without(
    path: &Path,
    skipped: &BTreeSet<u64>,
    through: u64,
) -> Result<Totals, OracleError> {
    let mut totals = Totals::default();
    let mut balance = HashMap::new();
    each_row(path, skipped, through, |record, line| {
        totals.lines += 1;
        totals.add(record, line, &mut balance)
    })?;
    Ok(totals)
}

/// Calls `take` with each row of a part of the file, as in [`totals_without`], and its line. `None` is for a row that
/// is not as it should be.
pub(super) fn each_row(
    path: &Path,
    skipped: &BTreeSet<u64>,
    through: u64,
    mut take: impl FnMut(&csv::ByteRecord, u64) -> Option<()>,
) -> Result<(), OracleError> {
    let file = File::open(path)?;
    let input: Box<dyn Read> = if path.extension().is_some_and(|end| end == "zst") {
        Box::new(zstd::Decoder::new(file)?)
    } else {
        Box::new(file)
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let mut record = csv::ByteRecord::new();
    // Asked before each read: behind the last line of a damaged file there is only an error.
    while reader.position().line() <= through && reader.read_byte_record(&mut record)? {
        let line = record.position().map_or(0, csv::Position::line);
        if skipped.contains(&line) || line > through {
            continue;
        }
        take(&record, line).ok_or_else(|| OracleError::Field {
            line,
            column: (0..8)
                .find(|&column| text(&record, column).is_none())
                .unwrap_or(3),
        })?;
    }
    Ok(())
}

impl Totals {
    fn add(
        &mut self,
        record: &csv::ByteRecord,
        line: u64,
        balance: &mut HashMap<(String, String), i64>,
    ) -> Option<()> {
        let units: i64 = text(record, 3)?.parse().ok()?;
        let price = milli(text(record, 5)?)?;
        let paid = units.checked_mul(price)?;
        let (invoice, code, who) = (text(record, 0)?, text(record, 1)?, text(record, 6)?);
        self.milli = self.milli.checked_add(paid)?;

        let goods = self.by_product.entry(code.to_owned()).or_default();
        goods.lines += 1;
        // Bad debt is money: its quantity of 1 is no unit of anything.
        let money_only = invoice.starts_with('A') || price < 0 || units == 0;
        goods.units += if money_only { 0 } else { units };
        goods.milli += paid;
        let country = self
            .by_country
            .entry(text(record, 7)?.to_owned())
            .or_default();
        let day = self
            .by_day
            .entry(text(record, 4)?.get(..10)?.to_owned())
            .or_default();
        // In the published file such a line always has the price zero and no customer.
        let written_off = !money_only && units < 0 && !invoice.starts_with('C') && price == 0;
        for revenue in [country, day] {
            revenue.lines += u64::from(!written_off);
            revenue.milli += paid;
        }

        let held = balance
            .entry((who.to_owned(), code.to_owned()))
            .or_default();
        if money_only {
            return Some(());
        }
        if invoice.starts_with('C') && units < 0 {
            if who.is_empty() || *held + units < 0 {
                self.unmatched_lines.push(line);
                self.unmatched_milli -= paid;
            } else {
                *held += units;
            }
        } else if units > 0 {
            *held += units;
        }
        Some(())
    }
}

pub(super) fn text(record: &csv::ByteRecord, column: usize) -> Option<&str> {
    std::str::from_utf8(record.get(column)?).ok()
}

/// `-12.3` as -12300.
pub(super) fn milli(price: &str) -> Option<i64> {
    let (sign, digits) = price
        .strip_prefix('-')
        .map_or((1, price), |digits| (-1, digits));
    let (pounds, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.len() > 3 {
        return None;
    }
    let part: i64 = format!("{part:0<3}").parse().ok()?;
    Some(
        sign * (pounds
            .parse::<i64>()
            .ok()?
            .checked_mul(1_000)?
            .checked_add(part)?),
    )
}
