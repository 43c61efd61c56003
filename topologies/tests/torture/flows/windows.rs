//! Dataflows of windows.

use std::time::Duration;

use millstream::dataflow::Flow;
use millstream::prelude::*;
use millstream_operators::function::{count, sum};

use super::{Row, Sinks, items};
use crate::plan::{Item, Plan, millis};

fn key(item: &Item) -> u16 {
    item.key
}

fn row(result: Windowed<u16, i128>) -> Row {
    Row::of_window(&Windowed {
        key: result.key,
        window: result.window,
        value: result.value as i64,
        revision: result.revision,
    })
}

/// Sums, with items that are late but allowed, and files of those that are too late.
pub(super) fn tumbling(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let late = flow.side_output("late");
    let sums = items(plan, flow, 0)
        .filter(|item| item.number % 7 != 0)
        .key_by(key)
        .named("sums")
        .window(Tumbling::of(millis(plan.size_ms)).allowed_lateness(millis(plan.lateness_ms)))
        .late_to(&late)
        .aggregate(sum(|item: &Item| item.number));
    sinks.to_table(sums.map(row));
    let late = flow
        .side(&late)
        .map(|item: Item| Row::of_pair(item.key, item.serial, item.number));
    sinks.to_files(late);
}

/// Counts of windows, summed up in longer ones that overlap.
pub(super) fn nested(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let counts = items(plan, flow, 0)
        .key_by(key)
        .named("counts")
        .window(Tumbling::of(millis(plan.size_ms)))
        .aggregate(count())
        .map(|window| (window.key % 2, window.value as i64));
    let totals = counts
        .key_by(|(half, _): &(u16, i64)| *half)
        .named("totals")
        .window(Sliding::of(millis(plan.size_ms * 4)).every(millis(plan.size_ms * 2)))
        .aggregate(sum(|(_, count): &(u16, i64)| *count))
        .map(row);
    let mut totals = totals.share(2).into_iter();
    sinks.to_table(totals.next().unwrap());
    sinks.to_log_in_order(totals.next().unwrap());
}

/// Sessions, which join and are taken back when an item comes between them.
pub(super) fn sessions(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let session = Session::gap(millis(plan.size_ms / 2)).allowed_lateness(millis(plan.lateness_ms));
    // How often a session is revised depends on batches: what is left of it does not.
    let session = if plan.is_other || plan.lateness_ms > 0 {
        session.retracting()
    } else {
        session
    };
    let sessions = items(plan, flow, 0)
        .key_by(key)
        .named("sessions")
        .window(session)
        .aggregate(sum(|item: &Item| item.number))
        .map(row);
    let mut sessions = sessions.share(2).into_iter();
    sinks.to_table(sessions.next().unwrap());
    sinks.to_log(sessions.next().unwrap());
}

/// Results before their time, by the clock and by count, taken back by later ones; what is too late becomes dead letters.
pub(super) fn early(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let trigger = Trigger::at_watermark()
        .early_count(3)
        .early_every(Duration::from_millis(8))
        .late_each();
    let window = Sliding::of(millis(plan.size_ms * 2))
        .every(millis(plan.size_ms))
        .allowed_lateness(millis(plan.lateness_ms));
    let sums = items(plan, flow, 0)
        .key_by(key)
        .named("sums")
        .window(window)
        .late_to_dead_letters()
        .trigger(trigger)
        .retracting()
        .aggregate(sum(|item: &Item| item.number))
        .map(row);
    let mut sums = sums.share(2).into_iter();
    sinks.to_table(sums.next().unwrap());
    sinks.to_log(sums.next().unwrap());
}
