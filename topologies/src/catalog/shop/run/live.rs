//! Waits for dataflows that go on until they have come as far as the file lets them, and compares their tables with the rows
//! that come from the file directly.
//!
//! Rows of windows that may still get something are not there yet: what is there must be right, and all that the
//! watermark has passed must be there. Failure: a dataflow that failed is an error; one that does not get on any more,
//! and what was late, does not pass its check.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use millstream_engine::time::{Clock, SystemClock, Timestamp};

use super::checks::{direct, impossible, single};
use super::report::{Check, ShopReport};
use super::{ShopError, TABLES_STALL};
use crate::Engine;
use crate::catalog::shop::dataflows::live::{self, Standing, standing};
use crate::catalog::shop::dataflows::{self, SalesRows};
use crate::dataflow::{DataflowHandle, DataflowStatus, RunDataflowError};

/// How often it is looked how far they are.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Checks of where they stand, and one for each of them; notes how long they took.
pub(super) async fn compare(
    engine: &Engine,
    path: &Path,
    report: &mut ShopReport,
) -> Result<Vec<Check>, ShopError> {
    let clock = SystemClock::new();
    let start = clock.monotonic();
    let dataflow = engine.dataflow(live::NAME);
    let found = come_to(&dataflow, report.watermark_due, &clock).await?;
    // Behind its barrier all rows that were given out are in the tables.
    dataflow.checkpoint().await?;
    report.seconds.dataflows = clock.monotonic().saturating_sub(start);
    report.watermark = found.watermark;
    let shown = |time: Option<Timestamp>| {
        time.map_or_else(|| "none yet".to_owned(), |time| time.to_string())
    };
    let mut checks = vec![
        single(
            "event time of the dataflows",
            shown(report.watermark_due),
            shown(found.watermark),
        ),
        single("late for the dataflows", 0, found.late),
    ];
    let rows = live::rows(engine)?;
    match direct(path, report, dataflows::direct::rows).await {
        Ok(expected) => checks.extend(of_rows(&expected, &rows, found.watermark)),
        Err(error) => checks.push(impossible(&error)),
    }
    Ok(checks)
}

/// Waits until the dataflow has come to the watermark `due`, for as long as it gets on.
async fn come_to(
    dataflow: &DataflowHandle,
    due: Option<Timestamp>,
    clock: &SystemClock,
) -> Result<Standing, ShopError> {
    let (mut last, mut since) = (standing(dataflow), clock.monotonic());
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        if let DataflowStatus::Failed(failure) = dataflow.status() {
            return Err(RunDataflowError::from(failure).into());
        }
        let (now, at) = (standing(dataflow), clock.monotonic());
        if now.watermark >= due || at.saturating_sub(since) > TABLES_STALL {
            return Ok(now);
        }
        if now != last {
            (last, since) = (now, at);
        }
    }
}

fn of_rows(expected: &SalesRows, found: &SalesRows, watermark: Option<Timestamp>) -> Vec<Check> {
    vec![
        check(
            "revenue by country and hour",
            (&expected.hourly, &found.hourly),
            (SalesRows::hourly_due, watermark),
        ),
        check(
            "revenue by country over 7 days",
            (&expected.weekly, &found.weekly),
            (SalesRows::weekly_due, watermark),
        ),
        check(
            "shopping sessions",
            (&expected.sessions, &found.sessions),
            (SalesRows::session_due, watermark),
        ),
        check(
            "top products by week",
            (&expected.top_products, &found.top_products),
            (SalesRows::top_due, watermark),
        ),
        check(
            "refunds and their sales",
            (&expected.refunds, &found.refunds),
            (SalesRows::refund_due, watermark),
        ),
        check(
            "bought and returned twice",
            (&expected.repeats, &found.repeats),
            (SalesRows::repeat_due, watermark),
        ),
    ]
}

/// Compares rows that are sorted: each that was found must be expected, and each that is due be found. The first that is
/// not so is shown.
fn check<R: Ord + Debug>(
    name: &'static str,
    (expected, found): (&[R], &[R]),
    (due, watermark): (fn(&R) -> Timestamp, Option<Timestamp>),
) -> Check {
    let is_due = |row: &R| Some(due(row)) <= watermark;
    let fails = |expected: String, found: String| Check {
        name,
        expected,
        found,
        ok: false,
    };
    let (mut found_rows, mut count_due) = (found.iter().peekable(), 0);
    for row in expected {
        if let Some(wrong) = found_rows.next_if(|found| *found < row) {
            return fails("no such row".to_owned(), format!("{wrong:?}"));
        }
        count_due += usize::from(is_due(row));
        if found_rows.next_if(|found| *found == row).is_none() && is_due(row) {
            return fails(format!("{row:?}"), "no such row".to_owned());
        }
    }
    if let Some(wrong) = found_rows.next() {
        return fails("no such row".to_owned(), format!("{wrong:?}"));
    }
    Check {
        name,
        expected: format!("{count_due} rows of {}", expected.len()),
        found: format!("{} equal rows", found.len()),
        ok: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_wants_what_is_due_and_nothing_else() {
        let seconds = |row: &i64| Timestamp::from_seconds(*row);
        let holds = |found: &[i64], watermark: Option<i64>| {
            let watermark = watermark.map(Timestamp::from_seconds);
            check("rows", (&[1, 2, 3, 4], found), (seconds, watermark))
        };
        for (found, watermark) in [
            (&[1, 2][..], Some(2)),
            (&[1, 2, 3], Some(2)),
            (&[1, 2, 4], Some(2)),
            (&[1, 2, 3, 4], Some(9)),
            (&[], Some(0)),
            (&[], None),
        ] {
            let check = holds(found, watermark);
            assert!(check.ok, "{found:?} {watermark:?} {check:?}");
        }
        for (found, watermark) in [
            (&[1][..], Some(2)),
            (&[2], Some(2)),
            (&[0, 1, 2], Some(2)),
            (&[1, 1, 2], Some(2)),
            (&[1, 2, 5], Some(2)),
            (&[1, 2, 3, 4, 4], Some(9)),
            (&[], Some(1)),
        ] {
            let check = holds(found, watermark);
            assert!(!check.ok, "{found:?} {watermark:?} {check:?}");
        }
        assert_eq!(holds(&[1, 2, 3], Some(2)).expected, "2 rows of 4");
    }
}
