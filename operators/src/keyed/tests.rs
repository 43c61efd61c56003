//! Timers, times to live and what is built on them, driven directly.

mod lives;
mod operators;
mod timers;

use std::time::Duration;

use millstream_engine::flow::{Operator, Turn};
use millstream_engine::time::Timestamp;

fn at(time: i64) -> Timestamp {
    Timestamp(time)
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn state<T, O: Operator<T>>(operator: &O) -> Vec<usize> {
    let mut items = Vec::new();
    operator.state_items(&mut items);
    items.into_iter().map(|(_, items)| items).collect()
}

fn turn<T, O: Operator<T>>(operator: &mut O, now: i64, out: &mut impl FnMut(Timestamp, O::Out)) {
    let monotonic = micros(now as u64);
    let now = at(now);
    operator.begin(&Turn { now, monotonic });
    if operator.next_due().is_some_and(|due| due <= now) {
        operator.processing_time(now, out);
    }
}
