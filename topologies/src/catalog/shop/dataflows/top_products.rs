//! The ten stock codes of each week, Monday to Sunday, with the most units: bought minus brought back in that week.
//!
//! Two windows of the same weeks: units per code, then the greatest of them. Of equal units the lesser code comes
//! first. State: one number per code and week, and ten codes per week, until the watermark has passed the week.

use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use millstream_operators::function::{sum, top_k};
use millstream_operators::projection::Table;
use millstream_operators::window::Tumbling;
use serde::{Deserialize, Serialize};

use super::revenue::WEEK;
use super::{DAY, Destination, Late, Sale, SaleKind};
use crate::dataflow::{Branch, Flow};

/// Codes of each week.
pub(super) const RANKS: usize = 10;
/// The epoch was a Thursday.
const FIRST_MONDAY: Duration = Duration::from_secs(4 * DAY.as_secs());

/// The best of each week, by week and place.
pub const TOP_PRODUCTS: Table<(Timestamp, u64), TopRow> = Table::named("top_products");

/// One place of one week.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopRow {
    /// The Monday on which the week begins.
    pub week: Timestamp,
    /// The place, from 1.
    pub rank: usize,
    /// What was bought.
    pub stock_code: CompactString,
    /// Units; zero or below only where fewer than ten codes have more.
    pub units: i128,
}

/// Units of one code. The order is that of codes: among equal units the lesser is to win.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Units {
    stock_code: CompactString,
    units: i128,
}

/// Declares it.
pub(super) fn top_products<D: Destination>(
    flow: &Flow,
    sales: Branch<Sale>,
    late: &Late,
    to: &D,
) -> D::Kept<TopRow> {
    let weeks = || Tumbling::of(WEEK).offset(FIRST_MONDAY);
    let (late_sales, late_units) = (
        flow.side_output("late-for-units"),
        flow.side_output("late-for-ranks"),
    );
    let rows = sales
        .filter(|sale| sale.kind != SaleKind::Adjustment)
        .key_by(|sale: &Sale| sale.stock_code.clone())
        .named("units")
        .window(weeks())
        .late_to(&late_sales)
        .aggregate(sum(|sale: &Sale| sale.units))
        .stage_named("units")
        .map(|result| Units {
            stock_code: result.key,
            units: result.value,
        })
        .window_all(weeks())
        .named("ranks")
        .late_to(&late_units)
        .aggregate(top_k(RANKS, |units: &Units| units.units))
        .stage_named("ranks")
        .flat_map(|result| {
            let week = result.window.start;
            let places = result.value.into_iter().enumerate();
            places.map(move |(place, best)| TopRow {
                week,
                rank: place + 1,
                stock_code: best.stock_code,
                units: best.units,
            })
        });
    late.count(flow, &late_sales);
    late.count(flow, &late_units);
    to.keep(rows, &TOP_PRODUCTS, |row| (row.week, row.rank as u64))
}
