//! What waits for early results by the clock.

use std::time::Duration;

use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;

use super::super::{
    CountLate, Revision, Session, SessionWindows, Trigger, Triggered, TriggeredWindows, Tumbling,
    Windowed,
};
use crate::function::count;
use crate::restart::Saves;

const fn itself(item: &u64) -> u64 {
    *item
}

fn trigger() -> Trigger {
    Trigger::at_watermark().early_every(Duration::from_secs(3600))
}

/// The most that is held while ten thousand windows with a key each pass, and the clock stands still.
fn held_at_most<O>(mut operator: O) -> usize
where
    O: Operator<u64, Out = Windowed<u64, u64>>,
{
    let (mut most, mut counted) = (0, 0);
    for second in 0..10_000 {
        let mut out = |_: Timestamp, result: Windowed<u64, u64>| counted += result.value;
        let time = Timestamp::from_seconds(second);
        operator.item(time, second.unsigned_abs(), &mut out);
        operator.watermark(time, &mut out);
        let mut counts = Vec::new();
        operator.state_items(&mut counts);
        let due = counts.iter().find(|(kind, _)| *kind == "early results due");
        assert!(due.is_some_and(|(_, items)| *items > 0));
        most = most.max(counts.iter().map(|(_, items)| items).sum());
    }
    assert_eq!(counted, 9_999, "all but the last, once");
    most
}

/// Story: what waited for an early result did so until that was due, also if its window had long been given out: an entry
/// per window and key for the whole period.
#[test]
fn what_has_ended_waits_for_no_early_result() {
    let window = Triggered::new(Tumbling::of(Duration::from_secs(1)), trigger());
    let operator = TriggeredWindows::new(window, itself, count(), CountLate::new());
    assert_eq!(held_at_most(operator), 2, "a window, and that it waits");
    let window = Triggered::new(Session::gap(Duration::from_secs(1)), trigger());
    let operator = SessionWindows::triggered(window, itself, count(), CountLate::new());
    // The one before may still be joined, and waits until that is over.
    assert_eq!(held_at_most(operator), 4, "two sessions, and their keys");
}

/// What waits goes through a checkpoint, but for what has ended, and is given out when it is due.
#[test]
fn what_has_not_ended_is_given_out_early_after_a_restart() {
    let window = Triggered::new(Tumbling::of(Duration::from_secs(10)), trigger());
    let make = || TriggeredWindows::new(window, itself, count(), CountLate::new());
    let (mut before, mut saves) = (make(), Saves::default());
    for second in [5, 15] {
        before.item(Timestamp::from_seconds(second), 7, &mut |_, _| {});
    }
    before.watermark(Timestamp::from_seconds(12), &mut |_, _| {});
    saves.save(&mut before);
    let mut after = make();
    saves.restore(&mut after);
    let due = after.next_due().unwrap();
    assert_eq!(before.next_due(), Some(due));
    let mut given = Vec::new();
    after.processing_time(due, &mut |_, result: Windowed<u64, u64>| {
        given.push((result.window.start, result.revision));
    });
    assert_eq!(given, [(Timestamp::from_seconds(10), Revision::Early)]);
    assert_eq!(after.next_due(), None);
}
