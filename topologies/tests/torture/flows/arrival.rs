//! A dataflow whose results depend on the order in which items come: its sinks have to agree with each other.

use millstream::dataflow::Flow;
use millstream_operators::keyed::Ttl;

use super::{Row, Sinks, items};
use crate::plan::{Item, Plan};

/// Numbers the items of each key as they come, for sinks of all kinds.
pub(super) fn arrival(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let numbered = items(plan, flow, 0)
        .key_by(|item: &Item| item.key)
        .named("numbers")
        .fold(Ttl::Never, (0, 0), |last: &mut (i64, i64), item: &Item| {
            *last = (last.0 + 1, item.serial);
        })
        .map(|(key, (number, serial))| Row {
            // Part of its key in a table.
            start: number,
            end: serial,
            ..Row::of_pair(key, serial, number)
        });
    let mut copies = numbered.share(4).into_iter();
    sinks.to_table(copies.next().unwrap());
    sinks.to_log(copies.next().unwrap());
    sinks.to_files(copies.next().unwrap());
    sinks.deliver(copies.next().unwrap());
}
