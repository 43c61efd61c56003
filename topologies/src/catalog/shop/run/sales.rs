//! Runs the dataflows over what is durable and compares their rows with those that come from the file directly.
//!
//! Invariant: the watermark is behind by the greatest disorder that the reader found possible, so that nothing is late;
//! a dataflow for which something is late does not pass its check, even if its rows are right.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use millstream_engine::time::{Clock, SystemClock};

use super::ShopError;
use super::checks::{direct, impossible};
use super::report::{Check, ShopReport};
use crate::Engine;
use crate::catalog::shop::dataflows::{self, SalesRows};
use crate::dataflow::RunDataflowError;
use crate::dataflow::home::Home;

/// A check per dataflow; notes how long they took.
pub(super) async fn compare(
    engine: &Engine,
    path: &Path,
    report: &mut ShopReport,
) -> Result<Vec<Check>, ShopError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let start = clock.monotonic();
    let (dataflow, output) = dataflows::over_the_log(report.disorder)?;
    let resources = engine.clone();
    let running = dataflow
        .start_in(Home::with_resources(Arc::clone(&clock), move || {
            resources.resources()
        }))
        .await
        .map_err(RunDataflowError::from)?;
    running.wait().await.map_err(RunDataflowError::from)?;
    report.seconds.dataflows = clock.monotonic().saturating_sub(start);
    let (found, late) = output.take();
    Ok(match direct(path, report, dataflows::direct::rows).await {
        Ok(expected) => checks(&expected, &found, late),
        Err(error) => vec![impossible(&error)],
    })
}

fn checks(expected: &SalesRows, found: &SalesRows, late: [u64; 6]) -> Vec<Check> {
    vec![
        check(
            "revenue by country and hour",
            &expected.hourly,
            &found.hourly,
            late[0],
        ),
        check(
            "revenue by country over 7 days",
            &expected.weekly,
            &found.weekly,
            late[1],
        ),
        check(
            "shopping sessions",
            &expected.sessions,
            &found.sessions,
            late[2],
        ),
        check(
            "top products by week",
            &expected.top_products,
            &found.top_products,
            late[3],
        ),
        check(
            "refunds and their sales",
            &expected.refunds,
            &found.refunds,
            late[4],
        ),
        check(
            "bought and returned twice",
            &expected.repeats,
            &found.repeats,
            late[5],
        ),
    ]
}

/// Compares row by row; of rows that differ the first is shown.
fn check<R: PartialEq + Debug>(
    name: &'static str,
    expected: &[R],
    found: &[R],
    late: u64,
) -> Check {
    let equal = expected
        .iter()
        .zip(found)
        .take_while(|(one, two)| one == two)
        .count();
    if equal < expected.len().max(found.len()) {
        let shown =
            |row: Option<&R>| row.map_or_else(|| "no row".to_owned(), |row| format!("{row:?}"));
        return Check {
            name,
            expected: shown(expected.get(equal)),
            found: shown(found.get(equal)),
            ok: false,
        };
    }
    let late_too = if late == 0 {
        String::new()
    } else {
        format!(", {late} late")
    };
    Check {
        name,
        expected: format!("{} rows", expected.len()),
        found: format!("{} equal rows{late_too}", found.len()),
        ok: late == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_check_fails_for_each_difference_and_for_what_was_late() {
        let holds = |found: &[u32], late| check("rows", &[1, 2, 3], found, late).ok;
        assert!(holds(&[1, 2, 3], 0));
        assert!(!holds(&[1, 2, 3], 1));
        for found in [&[1, 2, 4][..], &[1, 2], &[1, 2, 3, 3], &[2, 3], &[]] {
            assert!(!holds(found, 0), "{found:?}");
        }
        let missing = check("rows", &[1, 2, 3], &[1, 2], 0);
        assert_eq!((&*missing.expected, &*missing.found), ("3", "no row"));
        let late = check("rows", &[1], &[1], 2);
        assert_eq!(late.found, "1 equal rows, 2 late");
    }
}
