//! Rows of the shop's read models, and how an event changes them: pure functions.
//!
//! Revenue by country, day and product is made of customers' events, units and the ledger's amount of
//! products' events. All add up to the same total, the sum over all lines of the file. Every row's
//! change is a sum, so rows may be fed from many partitions in any order.

use compact_str::CompactString;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::customer::CustomerEvent;
use super::product::ProductEvent;
use crate::money::Money;

/// Revenue of one country, day or product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevenueRow {
    /// Invoice lines; write-offs without a price are in none.
    pub lines: u64,
    /// Sold minus refunded, plus adjustments. Pounds.
    pub amount: Money,
}

/// Key of the table "revenue by country".
#[must_use]
pub fn country(event: &CustomerEvent) -> &str {
    match event {
        CustomerEvent::Purchased(trade)
        | CustomerEvent::Refunded(trade)
        | CustomerEvent::RefundUnmatched { refund: trade, .. } => &trade.country,
        CustomerEvent::Adjusted(adjustment) => &adjustment.country,
    }
}

/// Key of the table "revenue by day": the invoice's day, UTC. A moment outside of the calendar, which no
/// file gives, has the calendar's first or last day.
#[must_use]
pub fn day(event: &CustomerEvent) -> Date {
    let at_us = match event {
        CustomerEvent::Purchased(trade)
        | CustomerEvent::Refunded(trade)
        | CustomerEvent::RefundUnmatched { refund: trade, .. } => trade.at_us,
        CustomerEvent::Adjusted(adjustment) => adjustment.at_us,
    };
    let beyond = || {
        if at_us < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        }
    };
    let moment = Timestamp::from_microsecond(at_us).unwrap_or_else(|_| beyond());
    TimeZone::UTC.to_datetime(moment).date()
}

/// Key of the table "revenue by product".
#[must_use]
pub fn bought_code(event: &CustomerEvent) -> &str {
    match event {
        CustomerEvent::Purchased(trade)
        | CustomerEvent::Refunded(trade)
        | CustomerEvent::RefundUnmatched { refund: trade, .. } => &trade.stock_code,
        CustomerEvent::Adjusted(adjustment) => &adjustment.stock_code,
    }
}

/// What a customer's event adds to revenue. Pounds.
#[must_use]
pub fn customer_amount(event: &CustomerEvent) -> Money {
    match event {
        CustomerEvent::Purchased(trade) => trade.amount(),
        CustomerEvent::Refunded(trade) | CustomerEvent::RefundUnmatched { refund: trade, .. } => {
            -trade.amount()
        }
        CustomerEvent::Adjusted(adjustment) => adjustment.amount,
    }
}

impl RevenueRow {
    /// Adds one event.
    pub fn apply(&mut self, event: &CustomerEvent) {
        self.lines += 1;
        self.amount += customer_amount(event);
    }
}

/// Revenue and units of one product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRow {
    /// Invoice lines, of every kind.
    pub lines: u64,
    /// Units sold.
    pub sold: i64,
    /// Units returned.
    pub returned: i64,
    /// Units written off.
    pub written_off: i64,
    /// Sold minus returned, plus adjustments. Pounds.
    pub amount: Money,
}

/// Key of the table "products".
#[must_use]
pub fn stock_code(event: &ProductEvent) -> &str {
    match event {
        ProductEvent::Sold(trade)
        | ProductEvent::Returned(trade)
        | ProductEvent::WrittenOff(trade) => &trade.stock_code,
        ProductEvent::Adjusted(adjustment) => &adjustment.stock_code,
    }
}

impl ProductRow {
    /// Adds one event.
    pub fn apply(&mut self, event: &ProductEvent) {
        self.lines += 1;
        match event {
            ProductEvent::Sold(trade) => {
                self.sold += trade.units;
                self.amount += trade.amount();
            }
            ProductEvent::Returned(trade) => {
                self.returned += trade.units;
                self.amount -= trade.amount();
            }
            ProductEvent::WrittenOff(trade) => {
                self.written_off += trade.units;
                self.amount -= trade.amount();
            }
            ProductEvent::Adjusted(adjustment) => self.amount += adjustment.amount,
        }
    }

    /// Units that moved, as the file's quantities add up: sold minus returned minus written off.
    #[must_use]
    pub fn units(&self) -> i64 {
        self.sold - self.returned - self.written_off
    }
}

/// One refund without a purchase; the table's key is the line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedRefundRow {
    /// Line in the file.
    pub line: u64,
    /// Number of the invoice.
    pub invoice: CompactString,
    /// What went back.
    pub stock_code: CompactString,
    /// Units that went back.
    pub asked: i64,
    /// Units that the customer had.
    pub bought: i64,
    /// What was paid back, zero or above. Pounds.
    pub amount: Money,
    /// When. Microseconds since 1970, UTC.
    pub at_us: i64,
}

impl UnmatchedRefundRow {
    /// The row that an event makes; `None` for events that make none.
    #[must_use]
    pub fn of(event: &CustomerEvent) -> Option<Self> {
        let CustomerEvent::RefundUnmatched { refund, bought } = event else {
            return None;
        };
        Some(Self {
            line: refund.line,
            invoice: refund.invoice.clone(),
            stock_code: refund.stock_code.clone(),
            asked: refund.units,
            bought: *bought,
            amount: refund.amount(),
            at_us: refund.at_us,
        })
    }
}
