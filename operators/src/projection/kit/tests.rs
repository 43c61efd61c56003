//! The kit tells right from wrong.

use super::*;
use crate::projection::ProjectedEvent;
use crate::projection::{Rows, TableMut, Wanted};
use millstream_engine::codec::Event;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Added(i64);
impl Event for Added {}

#[derive(Debug, thiserror::Error)]
#[error("cannot bear {0}")]
struct CannotBear(i64);

/// A row that forgets a part of itself when it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    sum: i64,
    #[serde(skip)]
    forgotten: bool,
}

const SUMS: Table<String, Sum> = Table::named("sums");
const TIMES: Table<u64, Timestamp> = Table::named("times");

struct Sums;
impl Projection for Sums {
    const NAME: &'static str = "sums";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "sum";
    type Event = Added;
    type Tables = (Table<String, Sum>, Table<u64, Timestamp>);
    type Error = CannotBear;

    fn tables(&self) -> Self::Tables {
        (SUMS, TIMES)
    }

    /// Changes rows before it fails, which must not count.
    fn project(
        &self,
        event: &ProjectedEvent<'_, Added>,
        (sums, times): &mut (TableMut<String, Sum>, TableMut<u64, Timestamp>),
    ) -> Result<(), CannotBear> {
        let by = event.payload.0;
        sums.update(&event.id.to_owned(), |row| {
            row.sum += by;
            row.forgotten = by == 99;
        });
        times.put(&event.position.offset.0, event.recorded_at);
        if by == 7 {
            times.put(&event.version, event.event_time);
        }
        match by {
            666 => Err(CannotBear(by)),
            _ => Ok(()),
        }
    }
}

fn sum(sum: i64) -> Sum {
    Sum {
        sum,
        forgotten: false,
    }
}

#[test]
fn rows_go_on_from_event_to_event() {
    project(Sums)
        .events("a", [Added(1), Added(2)])
        .then_row(&SUMS, "a", sum(3))
        .then_no_row(&SUMS, "b")
        .at(Timestamp(5))
        .events("b", [Added(3)])
        .then_rows(&SUMS, [("b", sum(3)), ("a", sum(3))])
        .then_row(&TIMES, 1_u64, Timestamp::EPOCH)
        .then_row(&TIMES, 2_u64, Timestamp(5));
}

#[test]
fn a_failing_event_leaves_nothing() {
    project(Sums)
        .events("a", [Added(1)])
        .failing("a", Added(666), "cannot bear")
        .failing("new", Added(666), "666")
        .then_rows(&SUMS, [("a", sum(1))])
        .then_no_row(&TIMES, 1_u64)
        .events("a", [Added(1)])
        .then_row(&SUMS, "a", sum(2))
        .then_row(&TIMES, 1_u64, Timestamp::EPOCH);
}

#[test]
#[should_panic(expected = "event 1 of sum-a failed: cannot bear 666")]
fn a_failure_is_not_passed_over() {
    project(Sums).events("a", [Added(1), Added(666)]);
}

#[test]
#[should_panic(expected = "the event was applied")]
fn an_applied_event_is_not_taken_for_a_failure() {
    project(Sums).failing("a", Added(1), "");
}

#[test]
#[should_panic(expected = "for another reason: cannot bear 666")]
fn other_failures_are_told_apart() {
    project(Sums).failing("a", Added(666), "too heavy");
}

#[test]
#[should_panic(expected = "another row under \"a\" in sums")]
fn other_rows_are_told_apart() {
    project(Sums)
        .events("a", [Added(1)])
        .then_row(&SUMS, "a", sum(2));
}

#[test]
#[should_panic(expected = "there is no row")]
fn a_missing_row_is_told() {
    project(Sums).then_row(&SUMS, "a", sum(0));
}

#[test]
#[should_panic(expected = "expected no row")]
fn a_row_too_many_is_told() {
    project(Sums)
        .events("a", [Added(1)])
        .then_no_row(&SUMS, "a");
}

#[test]
#[should_panic(expected = "other rows in sums")]
fn rows_that_were_not_named_are_told() {
    project(Sums)
        .events("a", [Added(1)])
        .events("b", [Added(1)])
        .then_rows(&SUMS, [("a", sum(1))]);
}

#[test]
#[should_panic(expected = "not read back as it was written")]
fn a_row_that_is_not_stored_whole_is_told() {
    let forgotten = true;
    project(Sums)
        .events("a", [Added(99)])
        .then_row(&SUMS, "a", Sum { sum: 99, forgotten });
}

#[test]
#[should_panic(expected = "no table \"other\"")]
fn a_table_of_another_projection_is_told() {
    const OTHER: Table<String, Sum> = Table::named("other");
    project(Sums).then_no_row(&OTHER, "a");
}

const PLACES: Table<String, Vec<u64>> = Table::named("places");

/// Where the events of each stream lie; fails on some, and wants none at odd places beyond a few.
struct Places;
impl Projection for Places {
    const NAME: &'static str = "places";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "sum";
    type Event = Added;
    type Tables = (Table<String, Vec<u64>>,);
    type Error = CannotBear;
    const BATCH: usize = 8;

    fn tables(&self) -> Self::Tables {
        (PLACES,)
    }

    fn wanted(&self) -> Wanted {
        Wanted::all()
            .filter(|event| event.position.offset.0 < 20 || event.position.offset.0 % 2 == 0)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Added>,
        tables: &mut (TableMut<String, Vec<u64>>,),
    ) -> Result<(), CannotBear> {
        self.project_batch(std::slice::from_ref(event), tables)
    }

    fn project_batch(
        &self,
        events: &[ProjectedEvent<'_, Added>],
        (places,): &mut (TableMut<String, Vec<u64>>,),
    ) -> Result<(), CannotBear> {
        for event in events {
            places.update(&event.id.to_owned(), |places| {
                places.push(event.position.offset.0)
            });
            if event.payload.0 == 666 {
                return Err(CannotBear(666));
            }
        }
        Ok(())
    }
}

/// An event that failed, and those of its stream behind it, had no place of their own one by one and had one in batches: those of
/// other streams lay elsewhere, and a projection that looks at positions was said to break the law. A filter saw all events of
/// a batch where the first one lies.
#[test]
fn events_lie_at_the_same_places_however_they_are_cut_and_whichever_fail() {
    let streams = ["a", "b", "c", "d", "e"];
    let value = |n: usize| if matches!(n, 3 | 11 | 12) { 666 } else { 1 };
    let events = (0..40).map(|n| (streams[n % streams.len()], Added(value(n))));
    same_in_batches(|| Places, events);
}
