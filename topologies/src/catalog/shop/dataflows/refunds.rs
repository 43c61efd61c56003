//! Refunds and the sales that they may undo: those of the same customer and stock code, of the same minute or earlier
//! by at most 365 days.
//!
//! A refund is taken to undo the latest of them. One that has none (its sale was before the file begins, it never was,
//! or it is a guest's, whom no other invoice names) gives a row all the same: the join is an outer one. State: each
//! sale for 365 days of event time, 70 bytes and its share of the key; a refund only as long as the watermark allows
//! for a sale that came behind it.

use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use millstream_operators::function::{max, sum};
use millstream_operators::projection::Table;
use millstream_operators::window::Tumbling;
use serde::{Deserialize, Serialize};

use super::{DAY, Destination, HOUR, Late, Sale, SaleKind};
use crate::dataflow::{Branch, Flow};

/// How much earlier a sale may be, inclusive.
pub(super) const LOOK_BACK: Duration = Duration::from_secs(365 * DAY.as_secs());

/// Refunds by their line.
pub const REFUNDS: Table<u64, RefundRow> = Table::named("refunds");

/// One refund.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RefundRow {
    /// The refund's line in the file.
    pub line: u64,
    /// Start of the hour in which it was.
    pub hour: Timestamp,
    /// The latest sale that it may undo, of several in one minute the one furthest down in the file.
    pub sale: Option<u64>,
    /// How many sales it may undo.
    pub sales: u64,
}

/// What both sides of the join need of a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Deal {
    customer: CompactString,
    stock_code: CompactString,
    line: u64,
    at: Timestamp,
}

fn deal(sale: Sale) -> Deal {
    Deal {
        customer: sale.customer,
        stock_code: sale.stock_code,
        line: sale.line,
        at: sale.at,
    }
}

/// A refund and one sale, if there is one.
#[derive(Clone, Debug)]
struct Pair {
    refund: u64,
    sale: Option<(Timestamp, u64)>,
}

/// Declares it. `sales` and `refunds` are the same stream twice.
pub(super) fn refunds<D: Destination>(
    flow: &Flow,
    refunds: Branch<Sale>,
    sales: Branch<Sale>,
    late: &Late,
    to: &D,
) -> D::Kept<RefundRow> {
    let (late_sides, late_pairs) = (
        flow.side_output("late-for-refunds"),
        flow.side_output("late-for-undone"),
    );
    let key = |deal: &Deal| (deal.customer.clone(), deal.stock_code.clone());
    let bought = sales
        .filter(|sale| sale.kind == SaleKind::Purchase)
        .map(deal)
        .key_by(key);
    let rows = refunds
        .filter(|sale| sale.kind == SaleKind::Refund)
        .map(deal)
        .key_by(key)
        .interval_join(bought)
        .between(LOOK_BACK, Duration::ZERO)
        .named("undone")
        .late_to(&late_sides)
        .left(|_, refund, sale| Pair {
            refund: refund.line,
            sale: sale.map(|sale| (sale.at, sale.line)),
        })
        .stage_named("undone")
        // No pair is later than its refund, so all pairs of a refund have the refund's time.
        .key_by(|pair: &Pair| pair.refund)
        .named("latest")
        .window(Tumbling::of(HOUR))
        .late_to(&late_pairs)
        .aggregate((
            sum(|pair: &Pair| u32::from(pair.sale.is_some())),
            max(|pair: &Pair| pair.sale),
        ))
        .stage_named("latest")
        .map(|result| RefundRow {
            line: result.key,
            hour: result.window.start,
            sale: result.value.1.flatten().map(|(_, line)| line),
            sales: result.value.0,
        });
    late.count(flow, &late_sides);
    late.count(flow, &late_pairs);
    to.keep(rows, &REFUNDS, |row| row.line)
}
