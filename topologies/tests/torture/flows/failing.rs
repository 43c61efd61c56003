//! A dataflow that fails on some of its items, some of which become dead letters and are redriven: its sinks have to agree
//! with each other, and each key's items to be numbered without a gap.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::Flow;
use millstream_engine::time::Timestamp;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::keyed::{Context, TryKeyedProcess};

use super::{Row, Sinks, items};
use crate::plan::{Item, Plan};

/// Numbers the items of each key. One in seven fails once to three times in each process, whatever it has come to before,
/// one in five of them by a panic.
#[derive(Clone, Default)]
struct Numbers {
    failures: Arc<Mutex<HashMap<i64, i64>>>,
}

impl TryKeyedProcess<u16, Item> for Numbers {
    type State = (i64, ());
    type Out = Row;
    type Side = Infallible;
    type Error = String;

    fn item(
        &mut self,
        key: &u16,
        (number, ()): &mut (i64, ()),
        _time: Timestamp,
        item: &Item,
        ctx: &mut Context<'_, Row>,
    ) -> Result<(), String> {
        *number += 1;
        ctx.emit(Row {
            // Part of its key in a table.
            start: *number,
            end: item.serial,
            ..Row::of_pair(*key, item.serial, *number)
        });
        if item.serial % 7 != 0 {
            return Ok(());
        }
        let mut failures = self.failures.lock().unwrap();
        let failed = failures.entry(item.serial).or_default();
        *failed += 1;
        let is_over = *failed > 1 + item.serial % 3;
        drop(failures);
        assert!(is_over || item.serial % 5 != 0, "it is a panic");
        is_over
            .then_some(())
            .ok_or_else(|| "it is an error".to_owned())
    }
}

/// Of those that fail one in three is well after a second try, the others are to be redriven once or twice.
pub(super) fn failing(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let policy = ItemPolicy::dead_letter().attempts(2, Duration::from_millis(1));
    let numbered = items(plan, flow, 0)
        .key_by(|item: &Item| item.key)
        .named("numbers")
        .try_process(policy, Numbers::default());
    let mut copies = numbered.share(4).into_iter();
    sinks.to_table(copies.next().unwrap());
    sinks.to_log(copies.next().unwrap());
    sinks.to_files(copies.next().unwrap());
    sinks.deliver(copies.next().unwrap());
}
