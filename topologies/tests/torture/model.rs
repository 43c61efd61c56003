//! What some of the dataflows must come to, computed from their input without the engine.

use std::collections::BTreeMap;

use millstream::prelude::*;

use crate::flows::{Kind, Row};
use crate::outcome::{Outcome, same};
use crate::plan::{Item, Plan};

/// Compares the outcome of an undisturbed run with the model, for the dataflows that have one.
pub(crate) fn check(plan: &Plan, outcome: &Outcome) {
    match Kind::of(plan) {
        Kind::Tumbling => tumbling(plan, outcome),
        Kind::Nested => nested(plan, outcome),
        Kind::Joins if !plan.is_other => joins(plan, outcome),
        Kind::Tables => sums(plan, outcome),
        Kind::Arrival | Kind::Failing => outcome.agree(plan),
        _ => {}
    }
}

/// Items of a category with the beginnings of their windows, or with none if they are late for it: behind the latest time
/// of their partition less the bound.
fn in_windows<'a>(
    plan: &'a Plan,
    category: &'a str,
    lateness_ms: i64,
) -> impl Iterator<Item = (&'a Item, Option<i64>)> {
    plan.items(category).flat_map(move |items| {
        let mut watermark = i64::MIN;
        items.map(move |(time, item)| {
            let time = time.as_millis();
            let start = time.div_euclid(plan.size_ms) * plan.size_ms;
            let is_late = start + plan.size_ms + lateness_ms <= watermark;
            watermark = watermark.max(time - plan.bound_ms);
            (item, (!is_late).then_some(start))
        })
    })
}

fn row(key: u16, start: i64, length: i64, value: i64) -> Row {
    Row {
        start,
        end: start + length,
        ..Row::of_pair(key, value, 0)
    }
}

fn table(rows: impl Iterator<Item = Row>) -> Vec<(String, Row)> {
    let rows: BTreeMap<_, _> = rows.map(|row| (row.place(), row)).collect();
    rows.into_iter().collect()
}

fn tumbling(plan: &Plan, outcome: &Outcome) {
    let (mut sums, mut late) = (BTreeMap::<_, i64>::new(), Vec::new());
    for (item, start) in in_windows(plan, "a", plan.lateness_ms) {
        if item.number % 7 == 0 {
            continue;
        }
        match start {
            Some(start) => *sums.entry((item.key, start)).or_default() += item.number,
            None => late.push(Row::of_pair(item.key, item.serial, item.number)),
        }
    }
    late.sort();
    let sums = sums.into_iter();
    let rows = table(sums.map(|((key, start), sum)| row(key, start, plan.size_ms, sum)));
    same("the table, by the model", &outcome.table, &rows);
    same("late items, by the model", &outcome.files, &late);
}

fn nested(plan: &Plan, outcome: &Outcome) {
    let mut counts = BTreeMap::<_, i64>::new();
    for (item, start) in in_windows(plan, "a", 0) {
        if let Some(start) = start {
            *counts.entry((item.key, start)).or_default() += 1;
        }
    }
    let (length, slide) = (plan.size_ms * 4, plan.size_ms * 2);
    let mut totals = BTreeMap::<_, i64>::new();
    for ((key, start), count) in counts {
        // The last moment of the window, and the two windows that it is in.
        let time = start + plan.size_ms - 1;
        let last = time.div_euclid(slide) * slide;
        for start in [last - slide, last] {
            *totals.entry((key % 2, start)).or_default() += count;
        }
    }
    let totals = || {
        totals
            .iter()
            .map(|(&(key, start), &total)| row(key, start, length, total))
    };
    same("the table, by the model", &outcome.table, &table(totals()));
    let mut events = BTreeMap::<String, Vec<_>>::new();
    for row in totals() {
        let time = Timestamp::from_millis(row.end).0 - 1;
        let stream = format!("out-{}", row.key);
        events.entry(stream).or_default().push((time, row));
    }
    assert_eq!(outcome.events, events);
}

fn joins(plan: &Plan, outcome: &Outcome) {
    let mut windows = BTreeMap::<_, [Vec<i64>; 2]>::new();
    for (side, category) in ["a", "b"].into_iter().enumerate() {
        for (item, start) in in_windows(plan, category, 0) {
            if let Some(start) = start {
                windows.entry((item.key, start)).or_default()[side].push(item.serial);
            }
        }
    }
    let mut pairs = Vec::new();
    for ((key, _), sides) in windows {
        let [left, right] = sides.map(|mut serials| {
            if serials.is_empty() {
                serials.push(-1);
            }
            serials
        });
        for &left in &left {
            pairs.extend(right.iter().map(|&right| Row::of_pair(key, left, right)));
        }
    }
    pairs.sort();
    same("files, by the model", &outcome.files, &pairs);
    let events = outcome.events.values().flatten();
    let mut events: Vec<_> = events.map(|(_, row)| row.clone()).collect();
    events.sort();
    same("events, by the model", &events, &pairs);
}

/// Sums so far of each key that only one partition has.
fn sums(plan: &Plan, outcome: &Outcome) {
    let mut sums = BTreeMap::<u16, i64>::new();
    let mut events = BTreeMap::<String, Vec<_>>::new();
    for (time, item) in plan.items("a").flatten() {
        let sum = sums.entry(item.own).or_default();
        *sum += item.number;
        let row = Row::of_pair(item.own, *sum, 0);
        let stream = format!("out-{}", item.own);
        events.entry(stream).or_default().push((time.0, row));
    }
    assert_eq!(outcome.events, events);
}
