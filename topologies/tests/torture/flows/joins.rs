//! Dataflows of two inputs.

use millstream::dataflow::{Flow, Origin, Stream};
use millstream::prelude::*;
use millstream_engine::flow::Operator;
use millstream_operators::function::sum;
use millstream_operators::join::{Change, Update};
use millstream_operators::keyed::Ttl;

use super::{Row, Sinks, items};
use crate::plan::{Item, Plan, millis};

fn pair(key: &u16, left: Option<&Item>, right: Option<&Item>) -> Row {
    let serial = |item: Option<&Item>| item.map_or(-1, |item| item.serial);
    Row::of_pair(*key, serial(left), serial(right))
}

/// Pairs of items that are in the same window, or near each other.
pub(super) fn joins(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let left = items(plan, flow, 0).key_by(|item: &Item| item.key);
    let right = items(plan, flow, 1).key_by(|item: &Item| item.key);
    let size = millis(plan.size_ms);
    if plan.is_other {
        let pairs = left
            .named("pairs")
            .interval_join(right)
            .between(size / 2, size / 4);
        to_both(sinks, pairs.full(pair));
    } else {
        let pairs = left.named("pairs").join(right).window(Tumbling::of(size));
        to_both(sinks, pairs.full(pair).map(|window| window.value));
    }
}

fn to_both<P: Origin, O>(sinks: &Sinks<'_>, pairs: Stream<P, O>)
where
    O: Operator<P::Item, Out = Row> + Clone,
{
    let mut pairs = pairs.share(2).into_iter();
    sinks.to_log(pairs.next().unwrap());
    sinks.to_files(pairs.next().unwrap());
}

/// Every fourth item deletes a row.
fn update(item: Item) -> Update<u16, i64> {
    if item.number % 4 == 0 {
        Update::delete(item.own)
    } else {
        Update::upsert(item.own, item.serial)
    }
}

fn joined(key: &u16, left: Option<&i64>, right: Option<&i64>) -> Row {
    let serial = |serial: Option<&i64>| serial.copied().unwrap_or(-1);
    Row::of_pair(*key, serial(left), serial(right))
}

/// Rows of two tables, and sums so far of one input.
pub(super) fn tables(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let mut left = items(plan, flow, 0).share(2).into_iter();
    let sums = left
        .next()
        .unwrap()
        .key_by(|item: &Item| item.own)
        .named("sums")
        .aggregate_running(Ttl::Never, sum(|item: &Item| item.number))
        .map(|(own, sum)| Row::of_pair(own, sum as i64, 0));
    sinks.to_log_in_order(sums);
    let right = items(plan, flow, 1)
        .map(update)
        .key_by(|update: &Update<u16, i64>| update.key);
    let rows = left
        .next()
        .unwrap()
        .map(update)
        .key_by(|update: &Update<u16, i64>| update.key)
        .named("rows")
        .join_tables(right)
        .full(joined)
        .map(|update| match update.change {
            Change::Upsert(row) => row,
            Change::Delete => Row {
                is_taken_back: true,
                ..Row::of_pair(update.key, 0, 0)
            },
        });
    sinks.to_table(rows);
}
