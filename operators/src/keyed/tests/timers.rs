//! Timers, driven directly.

use std::collections::BTreeSet;
use std::convert::Infallible;

use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::{at, state, turn};
use crate::keyed::*;

type Out = Vec<(Timestamp, String)>;

/// What an item asks of the process below.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Set(i64),
    Delete(i64),
    SetProcessing(i64),
    /// At the timer set another one this much later.
    Chain(i64, i64),
    Clear,
}

/// Does what it is asked and tells each timer.
#[derive(Clone)]
struct Obey;

impl KeyedProcess<u8, (u8, Ask)> for Obey {
    type State = i64;
    type Out = String;
    type Side = Infallible;

    fn item(
        &mut self,
        key: &u8,
        chain: &mut i64,
        time: Timestamp,
        (_, ask): (u8, Ask),
        ctx: &mut Context<'_, String>,
    ) {
        match ask {
            Ask::Set(time) => ctx.set_event_timer(at(time)),
            Ask::Delete(time) => ctx.delete_event_timer(at(time)),
            Ask::SetProcessing(time) => ctx.set_processing_timer(at(time)),
            Ask::Chain(time, later) => {
                *chain = later;
                ctx.set_event_timer(at(time));
            }
            Ask::Clear => ctx.clear_state(),
        }
        ctx.emit(format!("item {key} {}", time.0));
    }

    fn timer(&mut self, key: &u8, chain: &mut i64, timer: Timer, ctx: &mut Context<'_, String>) {
        match timer {
            Timer::Event(time) => {
                ctx.emit(format!("event {key} {}", time.0));
                if *chain > 0 {
                    ctx.set_event_timer(at(time.0 + *chain));
                }
            }
            Timer::Processing(time) => ctx.emit(format!("processing {key} {}", time.0)),
        }
    }
}

type Obeying = Process<(u8, Ask), u8, fn(&(u8, Ask)) -> u8, Obey>;

fn obeying() -> Obeying {
    Process::new(|item| item.0, Obey, NoSide)
}

fn texts(out: &mut Out) -> Vec<String> {
    out.drain(..).map(|(_, text)| text).collect()
}

#[test]
fn timers_fire_in_time_order_once_and_before_later_items() {
    let (mut process, mut out) = (obeying(), Out::new());
    let mut emit = |time, text| out.push((time, text));
    for ask in [
        Ask::Set(30),
        Ask::Set(10),
        Ask::Set(30),
        Ask::Set(20),
        Ask::Delete(20),
    ] {
        process.item(at(1), (1, ask), &mut emit);
    }
    process.item(at(2), (2, Ask::Set(15)), &mut emit);
    process.watermark(at(29), &mut emit);
    process.item(at(29), (1, Ask::Set(5)), &mut emit); // Reached already: fires at once.
    process.watermark(at(30), &mut emit);
    assert_eq!(process.table.timers_len(), 0);
    let tail: Vec<_> = texts(&mut out).split_off(6);
    assert_eq!(
        tail,
        [
            "event 1 10",
            "event 2 15",
            "item 1 29",
            "event 1 5",
            "event 1 30"
        ]
    );
}

#[test]
fn a_timer_set_by_a_timer_fires_in_its_turn_but_not_after_the_end() {
    let (mut process, mut out) = (obeying(), Out::new());
    let mut emit = |time, text| out.push((time, text));
    process.item(at(0), (1, Ask::Chain(10, 10)), &mut emit);
    process.item(at(0), (2, Ask::Set(15)), &mut emit);
    process.watermark(at(25), &mut emit);
    process.watermark(Timestamp::MAX, &mut emit);
    assert_eq!(state(&process), [0, 0]);
    let found = texts(&mut out).split_off(2);
    assert_eq!(
        found,
        ["event 1 10", "event 2 15", "event 1 20", "event 1 30"]
    );
}

#[test]
fn processing_timers_wait_for_the_clock_and_fire_at_the_end() {
    let (mut process, mut out) = (obeying(), Out::new());
    let mut emit = |time, text| out.push((time, text));
    turn(&mut process, 100, &mut emit);
    for due in [130, 120, 150, 90] {
        process.item(at(1), (1, Ask::SetProcessing(due)), &mut emit);
    }
    assert_eq!(process.next_due(), Some(at(120)));
    turn(&mut process, 119, &mut emit);
    turn(&mut process, 130, &mut emit);
    turn(&mut process, 120, &mut emit); // The clock was set back.
    process.watermark(Timestamp::MAX, &mut emit);
    let found: Vec<_> = texts(&mut out)
        .into_iter()
        .filter(|text| text.starts_with("processing"))
        .collect();
    let expected = [90, 120, 130, 150].map(|due| format!("processing 1 {due}"));
    assert_eq!(found, expected);
}

#[test]
fn timers_that_are_moved_again_and_again_do_not_pile_up() {
    let mut process = obeying();
    let mut emit = |_, _| {};
    for time in 0..10_000 {
        process.item(at(0), (1, Ask::Set(time + 1)), &mut emit);
        process.item(at(0), (1, Ask::Delete(time)), &mut emit);
    }
    assert_eq!(process.table.timers_len(), 1);
    let entries = process.table.timers(crate::window::TimeDomain::Event);
    assert!(entries.entries() < 200, "{}", entries.entries());
    process.item(at(0), (1, Ask::Delete(10_000)), &mut emit);
    process.item(at(0), (1, Ask::Clear), &mut emit);
    assert_eq!(state(&process), [0, 0]);
}

proptest! {
    #[test]
    fn timers_agree_with_a_sorted_set(
        steps in prop::collection::vec((0u8..4, 0u8..3, 0i64..40), 1..120)
    ) {
        let (mut process, mut found) = (obeying(), Out::new());
        let mut emit = |time, text| found.push((time, text));
        let (mut set, mut watermark, mut expected) = (BTreeSet::new(), -1, Vec::new());
        for (kind, key, time) in steps {
            match kind {
                0 | 1 => {
                    process.item(at(0), (key, Ask::Set(time)), &mut emit);
                    expected.push(format!("item {key} 0"));
                    set.insert((time, key));
                }
                2 => {
                    process.item(at(0), (key, Ask::Delete(time)), &mut emit);
                    expected.push(format!("item {key} 0"));
                    set.remove(&(time, key));
                }
                _ => {
                    watermark = watermark.max(time);
                    process.watermark(at(watermark), &mut emit);
                }
            }
            while let Some(&(time, key)) = set.first().filter(|(time, _)| *time <= watermark) {
                set.pop_first();
                expected.push(format!("event {key} {time}"));
            }
        }
        // Which key comes first of those due at one time is free.
        let sorted = |mut texts: Vec<String>| {
            let place = |text: &String| text.starts_with("item");
            texts.chunk_by_mut(|a, b| !place(a) && !place(b)).for_each(<[String]>::sort);
            texts
        };
        prop_assert_eq!(sorted(texts(&mut found)), sorted(expected));
    }
}

/// More timers than are looked through one after the other, of both kinds, set and taken off again.
#[test]
fn many_timers_of_one_key_fire_in_order() {
    let mut out = Out::new();
    let mut obey = obeying();
    let mut fired = BTreeSet::new();
    for number in 0..1_000i64 {
        let time = number * 7_919 % 1_000 + 1;
        obey.item(at(0), (1, Ask::Set(time)), &mut |_, _| {});
        fired.insert(time);
        if number % 3 == 0 {
            obey.item(at(0), (1, Ask::Delete(time)), &mut |_, _| {});
            fired.remove(&time);
        }
    }
    assert_eq!(state::<(u8, Ask), _>(&obey), [1, fired.len()]);
    obey.watermark(at(1_000), &mut |time, text| out.push((time, text)));
    let times: Vec<_> = out.iter().map(|(time, _)| time.0).collect();
    assert_eq!(times, fired.into_iter().collect::<Vec<_>>());
}
