//! The dataflows as an engine runs them beside the commands: without an end, from checkpoints, into tables.
//!
//! A row is there once the watermark has passed what it is about. So rows of the last days of a file are not there:
//! nothing says that no sale of these days is to come. A partition of the log without any sale holds all of them back.

use std::time::Duration;

use millstream_engine::flow::StageLoad;
use millstream_engine::time::Timestamp;
use millstream_operators::projection::QueryError;

use super::destination::InTables;
use super::refunds::REFUNDS;
use super::repeats::REPEATS;
use super::revenue::{REVENUE_BY_HOUR, REVENUE_OVER_7_DAYS, WEEK};
use super::sessions::SHOPPING_SESSIONS;
use super::top_products::TOP_PRODUCTS;
use super::{
    HOUR, RefundRow, RepeatRow, RevenueSpan, SalesRows, SessionRow, TopRow, declare_to, sales,
};
use crate::Engine;
use crate::catalog::shop::CustomerEvent;
use crate::dataflow::{DataflowHandle, Flow};

/// Name of the dataflow.
pub const NAME: &str = "sales";

/// Declares it. `disorder` is how far an event may be behind one before it in its partition of the log, in event time.
/// What is late is seen in the items of the stages `late-for-…`.
pub fn declare(flow: &Flow, disorder: Duration) {
    let sales = sales(flow.records::<CustomerEvent>(), disorder);
    declare_to(flow, sales, &InTables);
}

/// What it has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Event time up to which all of its stages have dealt with everything; `None` as long as there is none.
    pub watermark: Option<Timestamp>,
    /// Items that were late for a window, a join or the pattern since it was started.
    pub late: u64,
    /// Items that its stages took in since then: it gets on as long as this changes.
    pub items: u64,
}

/// Where it stands.
#[must_use]
pub fn standing(dataflow: &DataflowHandle) -> Standing {
    let loads = dataflow.loads();
    let is_late = |load: &&StageLoad| load.stage.contains("/late-for-");
    let items = |load: &StageLoad| load.items_total;
    Standing {
        watermark: loads.iter().map(|load| load.watermark).min().flatten(),
        late: loads.iter().filter(is_late).map(items).sum(),
        items: loads.iter().map(items).sum(),
    }
}

/// All rows of its tables, each sorted.
///
/// # Errors
/// [`QueryError`]: the engine does not run it, or cannot read them.
pub fn rows(engine: &Engine) -> Result<SalesRows, QueryError> {
    fn sorted<K, R: Ord>(rows: Vec<(K, R)>) -> Vec<R> {
        let mut rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
        rows.sort_unstable();
        rows
    }
    Ok(SalesRows {
        hourly: sorted(engine.table(&REVENUE_BY_HOUR)?.rows()?),
        weekly: sorted(engine.table(&REVENUE_OVER_7_DAYS)?.rows()?),
        sessions: sorted(engine.table(&SHOPPING_SESSIONS)?.rows()?),
        top_products: sorted(engine.table(&TOP_PRODUCTS)?.rows()?),
        refunds: sorted(engine.table(&REFUNDS)?.rows()?),
        repeats: sorted(engine.table(&REPEATS)?.rows()?),
    })
}

/// From which watermark on a row of each kind is there.
impl SalesRows {
    pub(in crate::catalog::shop) fn hourly_due(row: &RevenueSpan) -> Timestamp {
        row.start.saturating_add(HOUR)
    }

    pub(in crate::catalog::shop) fn weekly_due(row: &RevenueSpan) -> Timestamp {
        row.start.saturating_add(WEEK)
    }

    pub(in crate::catalog::shop) const fn session_due(row: &SessionRow) -> Timestamp {
        row.end
    }

    pub(in crate::catalog::shop) fn top_due(row: &TopRow) -> Timestamp {
        row.week.saturating_add(WEEK)
    }

    pub(in crate::catalog::shop) fn refund_due(row: &RefundRow) -> Timestamp {
        row.hour.saturating_add(HOUR)
    }

    /// Behind the last of the four: what has the time of the watermark may still have company.
    pub(in crate::catalog::shop) fn repeat_due(row: &RepeatRow) -> Timestamp {
        row.times[3].saturating_add(Duration::from_micros(1))
    }
}
