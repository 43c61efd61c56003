//! Shopping sessions: purchases of one customer with less than 30 days from one to the next.
//!
//! Customers whom the file does not name have none. State: per customer the sessions that may still grow, and the
//! numbers of their invoices.

use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use millstream_operators::function::{count, distinct, sum};
use millstream_operators::projection::Table;
use millstream_operators::window::Session;
use serde::{Deserialize, Serialize};

use super::{DAYS_30, Destination, Late, Sale, SaleKind};
use crate::dataflow::{Branch, Flow};
use crate::money::Money;

/// A customer who buys nothing for this long, or longer, begins a new session.
pub(super) const GAP: Duration = DAYS_30;

/// Shopping sessions by customer and first purchase. None is ever taken back: that takes an item behind the watermark
/// which is not late, and each split has a watermark of its own.
pub const SHOPPING_SESSIONS: Table<(CompactString, Timestamp), SessionRow> =
    Table::named("shopping_sessions");

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
pub(super) fn sessions<D: Destination>(
    flow: &Flow,
    sales: Branch<Sale>,
    late: &Late,
    to: &D,
) -> D::Kept<SessionRow> {
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
        .stage_named("sessions")
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
        });
    late.count(flow, &side);
    to.keep(rows, &SHOPPING_SESSIONS, |row| {
        (row.customer.clone(), row.start)
    })
}
