//! Shopping sessions: purchases of one customer with less than 30 days from one to the next.
//!
//! Customers whom the file does not name have none. State: per customer the sessions that may still grow, and the
//! numbers of their invoices.

use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use millstream_operators::function::{count, distinct, sum};
use millstream_operators::window::Session;

use super::{DAYS_30, Late, Sale, SaleKind};
use crate::dataflow::{Branch, Collected, Flow};
use crate::money::Money;

/// A customer who buys nothing for this long, or longer, begins a new session.
pub(super) const GAP: Duration = DAYS_30;

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionRow {
    /// Who bought.
    pub customer: CompactString,
    /// The first purchase.
    pub start: Timestamp,
    /// The last purchase plus the gap.
    pub end: Timestamp,
    /// Invoices.
    pub invoices: u64,
    /// Lines.
    pub lines: u64,
    /// What was bought. Pounds.
    pub amount: Money,
}

/// Declares it.
pub(super) fn sessions(flow: &Flow, sales: Branch<Sale>, late: &Late) -> Collected<SessionRow> {
    let side = flow.side_output("late-for-sessions");
    let rows = sales
        .filter(|sale| sale.kind == SaleKind::Purchase && sale.is_known_customer())
        .key_by(|sale: &Sale| sale.customer.clone())
        .named("sessions")
        .window(Session::gap(GAP))
        .late_to(&side)
        .aggregate((
            distinct(|sale: &Sale| sale.invoice.clone()),
            count(),
            sum(|sale: &Sale| sale.amount),
        ))
        .map(|result| {
            let (invoices, lines, amount) = result.value;
            SessionRow {
                customer: result.key,
                start: result.window.start,
                end: result.window.end,
                invoices,
                lines,
                amount,
            }
        })
        .collect();
    late.count(flow, &side);
    rows
}
