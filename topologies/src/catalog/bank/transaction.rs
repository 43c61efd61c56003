//! One row of the Berka `trans` table: Czech words, YYMMDD dates and amounts made into an [`Entry`].
//!
//! Place: `table` -> **`transaction`** -> [`berka`](super::berka). A word or a combination of words that the
//! published table does not have is an error, never a guess.

use jiff::civil::Date;

use super::account::{Channel, Fee};
use super::cents::Cents;
use crate::catalog::table::{BadField, BadLine, Row};

/// Columns of the `trans` table, in order.
pub const TRANS_COLUMNS: [&str; 10] = [
    "trans_id",
    "account_id",
    "date",
    "type",
    "operation",
    "amount",
    "balance",
    "k_symbol",
    "bank",
    "account",
];

/// Columns of the order table, in order.
pub const ORDER_COLUMNS: [&str; 6] = [
    "seq",
    "account_id",
    "trans_id",
    "date",
    "file_row",
    "deviation_hundredths",
];

/// What a transaction is to its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Paid in.
    Deposit(Channel),
    /// Taken out.
    Withdrawal(Channel),
    /// Interest paid by the bank.
    Interest,
    /// Charged by the bank.
    Fee(Fee),
}

/// One transaction, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Line in the `trans` file; the header is line 1.
    pub line: u64,
    /// The bank's number of the transaction, unique.
    pub id: u64,
    /// The account's number.
    pub account: u32,
    /// Day.
    pub date: Date,
    /// What it is.
    pub entry: Entry,
    /// How much, above zero.
    pub amount: Cents,
    /// The account's balance after it, as recorded.
    pub balance: Cents,
    /// Recorded balance minus the balance before with the amount; at most 0.10 either way.
    pub rounding: Cents,
}

/// Reads a row of the `trans` table; the rounding is left zero.
pub(super) fn parse(row: Row<'_>) -> Result<Transaction, BadLine> {
    let number = |found| BadField::NotANumber { found };
    let amount: Cents = row.parse(5, |text| text.parse().ok(), number)?;
    Ok(Transaction {
        line: row.line(),
        id: row.number(0)?,
        account: row.number(1)?,
        date: row.parse(2, day, |found| BadField::NotADate { found })?,
        entry: entry(row)?,
        amount: row.parse(
            5,
            |_| amount.is_positive().then_some(amount),
            |found| BadField::OutOfRange { found },
        )?,
        balance: row.parse(6, |text| text.parse().ok(), number)?,
        rounding: Cents::ZERO,
    })
}

/// `930101` as 1993-01-01: the bank's years are all of the twentieth century.
fn day(text: &str) -> Option<Date> {
    if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, month, day) = (
        text[..2].parse::<i16>(),
        text[2..4].parse(),
        text[4..].parse(),
    );
    Date::new(1900 + year.ok()?, month.ok()?, day.ok()?).ok()
}

/// What the columns `type`, `operation` and `k_symbol` say together.
fn entry(row: Row<'_>) -> Result<Entry, BadLine> {
    let unknown = |found| BadField::UnknownWord { found };
    let credit = row.parse(
        3,
        |word| match word {
            "PRIJEM" => Some(true),
            "VYDAJ" | "VYBER" => Some(false),
            _ => None,
        },
        unknown,
    )?;
    // What it was for; household, pension, insurance and loan payments are movements like any other.
    let booked = row.parse(
        7,
        |word| match (word.trim(), credit) {
            ("UROK", true) => Some(Some(Entry::Interest)),
            ("SLUZBY", false) => Some(Some(Entry::Fee(Fee::Service))),
            ("SANKC. UROK", false) => Some(Some(Entry::Fee(Fee::OverdraftInterest))),
            ("" | "SIPO" | "DUCHOD" | "POJISTNE" | "UVER", _) => Some(None),
            _ => None,
        },
        unknown,
    )?;
    if let Some(booked) = booked {
        return Ok(booked);
    }
    row.parse(
        4,
        |word| match (word, credit) {
            ("VKLAD", true) => Some(Entry::Deposit(Channel::Cash)),
            ("PREVOD Z UCTU", true) => Some(Entry::Deposit(Channel::Transfer)),
            ("VYBER", false) => Some(Entry::Withdrawal(Channel::Cash)),
            ("VYBER KARTOU", false) => Some(Entry::Withdrawal(Channel::Card)),
            ("PREVOD NA UCET", false) => Some(Entry::Withdrawal(Channel::Transfer)),
            _ => None,
        },
        unknown,
    )
}
