//! Revenue per country: by hour in windows that follow each other, and over seven days in windows that slide by a day.
//!
//! State: per country one sum per slice (an hour, a day) that the watermark has not left behind. Hours and days are
//! UTC, as the file's times are read.

use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use millstream_operators::function::{count, sum};
use millstream_operators::projection::Table;
use millstream_operators::window::{Sliding, Tumbling, Windowed};
use serde::{Deserialize, Serialize};

use super::{DAY, Destination, HOUR, Late, Sale};
use crate::dataflow::{Branch, Flow};
use crate::money::Money;

/// What the sliding windows span.
pub(super) const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Revenue by country and hour; the hour's start is in the key.
pub const REVENUE_BY_HOUR: Table<(CompactString, Timestamp), RevenueSpan> =
    Table::named("revenue_by_hour");
/// Revenue by country and seven days; the start of the first day is in the key.
pub const REVENUE_OVER_7_DAYS: Table<(CompactString, Timestamp), RevenueSpan> =
    Table::named("revenue_over_7_days");

/// Revenue of one country in one window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RevenueSpan {
    /// The country.
    pub country: CompactString,
    /// Start of the window.
    pub start: Timestamp,
    /// Lines in it.
    pub lines: u64,
    /// Sold minus refunded, plus adjustments. Pounds.
    pub amount: Money,
}

/// Its key in either table.
fn key(row: &RevenueSpan) -> (CompactString, Timestamp) {
    (row.country.clone(), row.start)
}

/// The same from a window's result.
fn row(result: Windowed<CompactString, (u64, Money)>) -> RevenueSpan {
    let (lines, amount) = result.value;
    RevenueSpan {
        country: result.key,
        start: result.window.start,
        lines,
        amount,
    }
}

/// Per country and hour; hours without a line have no row.
pub(super) fn hourly<D: Destination>(
    flow: &Flow,
    sales: Branch<Sale>,
    late: &Late,
    to: &D,
) -> D::Kept<RevenueSpan> {
    let side = flow.side_output("late-for-hours");
    let rows = sales
        .key_by(|sale: &Sale| sale.country.clone())
        .named("hours")
        .window(Tumbling::of(HOUR))
        .late_to(&side)
        .aggregate((count(), sum(|sale: &Sale| sale.amount)))
        .stage_named("hours")
        .map(row);
    late.count(flow, &side);
    to.keep(rows, &REVENUE_BY_HOUR, key)
}

/// Per country and seven days, a row for each day that such a span begins at and has a line in it.
pub(super) fn weekly<D: Destination>(
    flow: &Flow,
    sales: Branch<Sale>,
    late: &Late,
    to: &D,
) -> D::Kept<RevenueSpan> {
    let side = flow.side_output("late-for-weeks");
    let rows = sales
        .key_by(|sale: &Sale| sale.country.clone())
        .named("weeks")
        .window(Sliding::of(WEEK).every(DAY))
        .late_to(&side)
        .aggregate((count(), sum(|sale: &Sale| sale.amount)))
        .stage_named("weeks")
        .map(row);
    late.count(flow, &side);
    to.keep(rows, &REVENUE_OVER_7_DAYS, key)
}
