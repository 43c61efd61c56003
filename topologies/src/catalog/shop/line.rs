//! Reads the invoice lines of the UCI Online Retail file.
//!
//! Place: `table` -> **`line`** -> [`rules`](super::rules). Invariant: a line that parses is within the
//! limits of [`trade`], so its amount and sums over millions of such lines are exact. Local
//! shop time is taken as UTC: the file has no zone, and days must be those that the shop printed.
//! Failure: a line that does not parse is answered as [`BadLine`], the next line follows.

use std::io::Read;
use std::path::Path;

use compact_str::CompactString;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::catalog::table::{BadField, BadLine, Row, Table, TableError};
use crate::money::Money;

use super::trade;

/// The columns of the file, in order.
pub const COLUMNS: [&str; 8] = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
];

/// Longest invoice number, stock code, customer id and country. Bytes.
pub const ID_BYTES_MAX: usize = 64;

/// Longest description. Bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 1_024;

/// How the ids of customers begin that the file does not name; no id in the file may begin so.
pub const GUEST_PREFIX: &str = "guest.";

/// One line of one invoice, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InvoiceLine {
    /// Line in the file, from 1; the first invoice line is 2.
    pub number: u64,
    /// Invoice number; `C` before it marks a cancellation, `A` an adjustment.
    pub invoice: CompactString,
    /// What was sold; compared byte by byte, so `m` is not `M`.
    pub stock_code: CompactString,
    /// Its description, if there is one.
    pub description: Option<CompactString>,
    /// Units; negative for what came back.
    pub quantity: i64,
    /// The invoice's minute. Microseconds since 1970, UTC.
    pub at_us: i64,
    /// Price of one unit in pounds.
    pub unit_price: Money,
    /// Who bought, if known.
    pub customer: Option<CompactString>,
    /// Where the customer lives.
    pub country: CompactString,
}

/// The file's lines, in order. After any error other than [`TableError::Bad`] it is at its end.
#[derive(Debug)]
pub struct InvoiceLines {
    table: Table,
}

impl InvoiceLines {
    /// Opens a `.csv` or `.csv.zst` file.
    ///
    /// # Errors
    /// See [`Table::open`]; a wrong header is named column by column.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        Ok(Self {
            table: Table::open(path, b',', &COLUMNS)?,
        })
    }

    /// Reads from `inner`, which errors will call `file`.
    ///
    /// # Errors
    /// See [`Table::from_reader`].
    pub fn from_reader(file: &str, inner: impl Read + Send + 'static) -> Result<Self, TableError> {
        Ok(Self {
            table: Table::from_reader(file, Box::new(inner), b',', &COLUMNS)?,
        })
    }
}

impl Iterator for InvoiceLines {
    type Item = Result<InvoiceLine, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.table.next_row() {
            Ok(row) => row.map(|row| parse(row).map_err(TableError::from)),
            Err(error) => Some(Err(error)),
        }
    }
}

fn parse(row: Row<'_>) -> Result<InvoiceLine, BadLine> {
    Ok(InvoiceLine {
        number: row.line(),
        invoice: row.id(0, ID_BYTES_MAX)?.into(),
        stock_code: row.id(1, ID_BYTES_MAX)?.into(),
        description: description(row)?,
        quantity: quantity(row)?,
        at_us: row.parse(4, minute_us, |found| BadField::NotADate { found })?,
        unit_price: unit_price(row)?,
        customer: customer(row)?,
        country: row.id(7, ID_BYTES_MAX)?.into(),
    })
}

fn description(row: Row<'_>) -> Result<Option<CompactString>, BadLine> {
    let text = row.text(2)?;
    if text.len() > DESCRIPTION_BYTES_MAX {
        return Err(row.bad(
            2,
            BadField::TooLong {
                bytes_max: DESCRIPTION_BYTES_MAX,
            },
        ));
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

fn quantity(row: Row<'_>) -> Result<i64, BadLine> {
    let quantity: i64 = row.number(3)?;
    let range = -trade::UNITS_MAX..=trade::UNITS_MAX;
    row.parse(
        3,
        |_| range.contains(&quantity).then_some(quantity),
        |found| BadField::OutOfRange { found },
    )
}

fn unit_price(row: Row<'_>) -> Result<Money, BadLine> {
    let price: Money = row.number(5)?;
    let fits = trade::price_fits(price);
    row.parse(
        5,
        |_| fits.then_some(price),
        |found| BadField::OutOfRange { found },
    )
}

fn customer(row: Row<'_>) -> Result<Option<CompactString>, BadLine> {
    if row.text(6)?.is_empty() {
        return Ok(None);
    }
    let id = row.id(6, ID_BYTES_MAX)?;
    if id.starts_with(GUEST_PREFIX) {
        return Err(row.bad(
            6,
            BadField::Reserved {
                prefix: GUEST_PREFIX,
            },
        ));
    }
    Ok(Some(id.into()))
}

/// `2010-12-01 08:26` as microseconds since 1970.
fn minute_us(text: &str) -> Option<i64> {
    let minute = DateTime::strptime("%Y-%m-%d %H:%M", text).ok()?;
    Some(TimeZone::UTC.to_timestamp(minute).ok()?.as_microsecond())
}
