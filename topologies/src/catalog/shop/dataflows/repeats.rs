//! Customers who buy and bring back, and then again: a pattern.
//!
//! For each purchase line of a known customer: the first refund of the same stock code that is later, the first
//! purchase of that code later than this refund, and the first refund later than this purchase, where the last is
//! less than 30 days after the first. "Later" means a later minute: the file does not order what happens within one.
//! State: per customer and code what is not 30 days old.

use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use millstream_operators::pattern::Pattern;
use millstream_operators::projection::Table;
use serde::{Deserialize, Serialize};

use super::{DAYS_30, Destination, Late, Sale, SaleKind};
use crate::dataflow::{Branch, Flow};

/// The last of the four is less than this after the first.
pub(super) const WITHIN: Duration = DAYS_30;

/// Who bought and brought back twice, by the line of the first purchase.
pub const REPEATS: Table<u64, RepeatRow> = Table::named("bought_and_returned_twice");

/// Bought, brought back, bought and brought back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RepeatRow {
    /// Who.
    pub customer: CompactString,
    /// What.
    pub stock_code: CompactString,
    /// Line of the first purchase.
    pub line: u64,
    /// When each of the four happened.
    pub times: [Timestamp; 4],
}

/// What the pattern needs of a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Deal {
    customer: CompactString,
    stock_code: CompactString,
    line: u64,
    at: Timestamp,
    is_refund: bool,
}

/// Names of the steps.
const STEPS: [&str; 4] = ["bought", "returned", "bought again", "returned again"];

fn pattern() -> Pattern<Deal> {
    let [bought, returned, bought_again, returned_again] = STEPS;
    Pattern::begin(bought, |deal: &Deal| !deal.is_refund)
        .followed_by(returned, |deal| deal.is_refund)
        .given(move |deal, before| before.last(bought).is_some_and(|last| deal.at > last.at))
        .followed_by(bought_again, |deal| !deal.is_refund)
        .given(move |deal, before| before.last(returned).is_some_and(|last| deal.at > last.at))
        .followed_by(returned_again, |deal| deal.is_refund)
        .given(move |deal, before| {
            let last = before.last(bought_again);
            last.is_some_and(|last| deal.at > last.at)
        })
        .within(WITHIN)
}

/// Declares it.
pub(super) fn repeats<D: Destination>(
    flow: &Flow,
    sales: Branch<Sale>,
    late: &Late,
    to: &D,
) -> D::Kept<RepeatRow> {
    let side = flow.side_output("late-for-repeats");
    let rows = sales
        .filter(|sale| sale.kind != SaleKind::Adjustment && sale.is_known_customer())
        .map(|sale| Deal {
            customer: sale.customer,
            stock_code: sale.stock_code,
            line: sale.line,
            at: sale.at,
            is_refund: sale.kind == SaleKind::Refund,
        })
        .key_by(|deal: &Deal| (deal.customer.clone(), deal.stock_code.clone()))
        .named("repeats")
        .pattern(pattern())
        .late_to(&side)
        .matches()
        .stage_named("repeats")
        .filter_map(|found| {
            let mut times = [Timestamp::EPOCH; 4];
            for (time, step) in times.iter_mut().zip(STEPS) {
                *time = found.items(step).first()?.at;
            }
            let line = found.items(STEPS[0]).first()?.line;
            let (customer, stock_code) = found.key;
            Some(RepeatRow {
                customer,
                stock_code,
                line,
                times,
            })
        });
    late.count(flow, &side);
    to.keep(rows, &REPEATS, |row| row.line)
}
