//! What a line is, and what is dirty about it: every irregularity has a stated rule and is counted.
//!
//! Place: `line` -> **`rules`** -> [`commands`](super::commands). Invariant: no line is dropped. A line
//! that cannot be read is counted with its reason; every other becomes commands, dirty or not, and its
//! amount is in the totals. Cost: [`Findings`] remembers one 64-bit digest per line, 9 MB for the file.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use compact_str::CompactString;

use super::line::InvoiceLine;
use crate::catalog::table::{BadLine, TableError};

/// Line numbers and bad lines that [`Findings`] keeps of each kind; [`lines_with`] lists all.
pub const LISTED_MAX: usize = 20;

/// Codes that are no goods: postage, carriage, manual entries, discounts, samples, fees, bad debt,
/// charity.
const SERVICE_CODES: [&str; 11] = [
    "POST",
    "DOT",
    "C2",
    "M",
    "m",
    "D",
    "S",
    "B",
    "BANK CHARGES",
    "AMAZONFEE",
    "CRUK",
];

/// What a line does. Decided in this order: adjustment, refund, write-off, purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// Goods go to a customer: every line that is nothing else.
    Purchase,
    /// Goods come back from a customer: negative units on a `C` invoice.
    Refund,
    /// Goods are gone: negative units on any other invoice.
    WriteOff,
    /// Money without goods: an `A` invoice, a negative price or zero units.
    Adjustment,
}

/// Says what a line does.
#[must_use]
pub fn kind(line: &InvoiceLine) -> LineKind {
    if line.invoice.starts_with('A') || line.unit_price.is_negative() || line.quantity == 0 {
        LineKind::Adjustment
    } else if line.quantity > 0 {
        LineKind::Purchase
    } else if line.invoice.starts_with('C') {
        LineKind::Refund
    } else {
        LineKind::WriteOff
    }
}

/// One kind of dirt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Dirt {
    /// No customer id.
    NoCustomer,
    /// No description.
    NoDescription,
    /// A unit price of zero.
    ZeroPrice,
    /// A unit price below zero.
    NegativePrice,
    /// Negative units outside of a `C` invoice.
    NegativeQuantity,
    /// Zero units.
    ZeroQuantity,
    /// On a `C` invoice.
    Cancellation,
    /// On a `C` invoice, but with units above zero.
    PositiveCancellation,
    /// Every field equals an earlier line.
    Duplicate,
    /// The first line of an invoice that has another minute than the invoice's first line.
    SecondMinute,
    /// A code that is no goods.
    ServiceCode,
    /// A code with a lower-case letter.
    LowerCaseCode,
}

impl Dirt {
    /// Every kind, in the order in which findings list them.
    pub const ALL: [Self; 12] = [
        Self::NoCustomer,
        Self::NoDescription,
        Self::ZeroPrice,
        Self::NegativePrice,
        Self::NegativeQuantity,
        Self::ZeroQuantity,
        Self::Cancellation,
        Self::PositiveCancellation,
        Self::Duplicate,
        Self::SecondMinute,
        Self::ServiceCode,
        Self::LowerCaseCode,
    ];

    /// Its name in commands and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCustomer => "no-customer",
            Self::NoDescription => "no-description",
            Self::ZeroPrice => "zero-price",
            Self::NegativePrice => "negative-price",
            Self::NegativeQuantity => "negative-quantity",
            Self::ZeroQuantity => "zero-quantity",
            Self::Cancellation => "cancellation",
            Self::PositiveCancellation => "positive-cancellation",
            Self::Duplicate => "duplicate",
            Self::SecondMinute => "second-minute",
            Self::ServiceCode => "service-code",
            Self::LowerCaseCode => "lower-case-code",
        }
    }

    /// What is done with such a line, as one sentence.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::NoCustomer => {
                "belongs to a guest of this one invoice, and a guest's refund never matches a purchase"
            }
            Self::NoDescription => "is kept; the stock code alone says what it is",
            Self::ZeroPrice => "is kept: its units move, its amount is zero",
            Self::NegativePrice => "is an adjustment: money without goods",
            Self::NegativeQuantity => "is a write-off of the product; no customer takes part",
            Self::ZeroQuantity => "is an adjustment of zero",
            Self::Cancellation => {
                "is a refund of units that the same customer bought before; else it is rejected and \
                 recorded as a refund without a purchase"
            }
            Self::PositiveCancellation => "is a purchase: the sign of the units decides",
            Self::Duplicate => "is kept and counted: the published total has it",
            Self::SecondMinute => "keeps its own minute",
            Self::ServiceCode => "has a ledger like goods, so that revenue by product adds up",
            Self::LowerCaseCode => "is another code than its upper-case spelling",
        }
    }

    /// Whether a line has this dirt by itself; `None` where only the lines before it can tell.
    fn of(self, line: &InvoiceLine) -> Option<bool> {
        let cancelled = line.invoice.starts_with('C');
        Some(match self {
            Self::NoCustomer => line.customer.is_none(),
            Self::NoDescription => line.description.is_none(),
            Self::ZeroPrice => line.unit_price.is_zero(),
            Self::NegativePrice => line.unit_price.is_negative(),
            Self::NegativeQuantity => line.quantity < 0 && !cancelled,
            Self::ZeroQuantity => line.quantity == 0,
            Self::Cancellation => cancelled,
            Self::PositiveCancellation => cancelled && line.quantity > 0,
            Self::ServiceCode => is_service(&line.stock_code),
            Self::LowerCaseCode => line
                .stock_code
                .bytes()
                .any(|byte| byte.is_ascii_lowercase()),
            Self::Duplicate | Self::SecondMinute => return None,
        })
    }
}

/// Whether a stock code is no goods: the shop's service codes, and gift vouchers.
#[must_use]
pub fn is_service(stock_code: &str) -> bool {
    SERVICE_CODES.contains(&stock_code) || stock_code.starts_with("gift_")
}

/// How many, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Lines found.
    pub count: u64,
    /// The first [`LISTED_MAX`] line numbers, in order.
    pub first: Vec<u64>,
}

/// What was found in the lines so far.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Lines that were read.
    pub lines: u64,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// The first [`LISTED_MAX`] of them.
    pub unreadable_first: Vec<BadLine>,
    by_dirt: [Finding; Dirt::ALL.len()],
    invoices: HashMap<CompactString, Invoice>,
}

/// What must be remembered of an invoice to find repeats and a second minute.
#[derive(Clone, Debug)]
struct Invoice {
    at_us: i64,
    second_minute: bool,
    // Digests are compared within an invoice only (1,114 lines at most in the file), so a false
    // repeat has a chance of 10^-13 in it.
    digests: Vec<u64>,
}

impl Findings {
    /// Counts a line and answers its dirt.
    pub fn add(&mut self, line: &InvoiceLine) -> Vec<Dirt> {
        self.lines += 1;
        let (duplicate, second_minute) = self.compare(line);
        let mut found = Vec::new();
        for (dirt, finding) in Dirt::ALL.into_iter().zip(&mut self.by_dirt) {
            let by_context = if dirt == Dirt::Duplicate {
                duplicate
            } else {
                second_minute
            };
            if !dirt.of(line).unwrap_or(by_context) {
                continue;
            }
            found.push(dirt);
            finding.count += 1;
            if finding.first.len() < LISTED_MAX {
                finding.first.push(line.number);
            }
        }
        found
    }

    /// Counts a line that could not be read.
    pub fn add_unreadable(&mut self, line: BadLine) {
        self.unreadable += 1;
        if self.unreadable_first.len() < LISTED_MAX {
            self.unreadable_first.push(line);
        }
    }

    /// What was found of one kind.
    #[must_use]
    pub fn of(&self, dirt: Dirt) -> &Finding {
        // `ALL` lists the variants in the order of their numbers; a test holds it to that.
        &self.by_dirt[dirt as usize]
    }

    /// Whether the line repeats another, and whether it is its invoice's first with another minute.
    fn compare(&mut self, line: &InvoiceLine) -> (bool, bool) {
        let mut hasher = DefaultHasher::new();
        InvoiceLine {
            number: 0,
            ..line.clone()
        }
        .hash(&mut hasher);
        let digest = hasher.finish();
        let invoice = self
            .invoices
            .entry(line.invoice.clone())
            .or_insert_with(|| Invoice {
                at_us: line.at_us,
                second_minute: false,
                digests: Vec::new(),
            });
        let duplicate = invoice.digests.contains(&digest);
        if !duplicate {
            invoice.digests.push(digest);
        }
        let second_minute = !invoice.second_minute && invoice.at_us != line.at_us;
        invoice.second_minute |= second_minute;
        (duplicate, second_minute)
    }
}

/// All lines with one kind of dirt, however many: reads `lines` again, from the first on, as asked for.
/// What cannot be read is passed on as the error it is.
pub fn lines_with(
    dirt: Dirt,
    lines: impl Iterator<Item = Result<InvoiceLine, TableError>>,
) -> impl Iterator<Item = Result<InvoiceLine, TableError>> {
    let mut findings = Findings::default();
    lines.filter(move |line| {
        line.as_ref()
            .map_or(true, |line| findings.add(line).contains(&dirt))
    })
}
