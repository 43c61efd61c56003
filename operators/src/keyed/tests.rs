//! Timers, times to live and what is built on them, driven directly.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use millstream_engine::flow::{Operator, Turn, stateless};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::function::sum;

type Out = Vec<(Timestamp, String)>;

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

/// Remembers values for a while, and tells for each item which it remembers.
#[derive(Clone)]
struct Remember(Ttl);

type Memory = (ExpiringMap<u8, i64>, ExpiringList<i64>, Expiring<i64>);

impl KeyedProcess<u8, (u8, u8)> for Remember {
    type State = Memory;
    type Out = (usize, usize, bool);
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u8,
        (map, list, value): &mut Memory,
        time: Timestamp,
        (_, field): (u8, u8),
        ctx: &mut Context<'_, Self::Out>,
    ) {
        let seen = (
            map.iter(ctx).count(),
            list.iter(ctx).count(),
            value.get(ctx).is_some(),
        );
        ctx.emit(seen);
        map.insert(field, time.0, self.0, ctx);
        list.push(time.0, self.0, ctx);
        value.set(time.0, self.0, ctx);
    }
}

proptest! {
    #[test]
    fn what_is_over_is_neither_seen_nor_kept(
        steps in prop::collection::vec((0i64..6, 0u8..3, 0u8..3, any::<bool>()), 1..80),
        ttl in 1i64..10,
        by_event_time in any::<bool>(),
    ) {
        let span = micros(ttl as u64);
        let span = if by_event_time { Ttl::Event(span) } else { Ttl::Processing(span) };
        let mut process = Process::new(|item: &(u8, u8)| item.0, Remember(span), NoSide);
        let mut found = Vec::new();
        let mut emit = |_, item| found.push(item);
        let (mut now, mut model, mut expected) = (0, Vec::<(u8, u8, i64)>::new(), Vec::new());
        for (forward, key, field, mark) in steps {
            now += forward;
            turn(&mut process, now, &mut emit);
            if mark || !by_event_time {
                process.watermark(at(now), &mut emit);
                let kept = |key: u8| model.iter().any(|one| one.0 == key && one.2 + ttl > now);
                prop_assert_eq!(state(&process)[0], (0..3).filter(|key| kept(*key)).count());
            }
            let seen: Vec<_> = model.iter().filter(|one| one.0 == key && one.2 + ttl > now).collect();
            let fields: BTreeMap<_, _> = seen.iter().map(|one| (one.1, ())).collect();
            expected.push((fields.len(), seen.len(), !seen.is_empty()));
            process.item(at(now), (key, field), &mut emit);
            model.push((key, field, now));
        }
        process.watermark(Timestamp::MAX, &mut emit);
        prop_assert_eq!(state(&process), [0, 0]);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_two_that_pass_are_near_and_none_is_dropped_without_one(
        steps in prop::collection::vec((0i64..5, -6i64..1, 0u8..3, any::<bool>()), 1..80),
        within in 1i64..10,
    ) {
        let key = |item: &(u8, i64)| item.0;
        let mut dedup = Process::new(key, Dedup::new(micros(within as u64)), Collect::default());
        let mut found = Vec::new();
        let mut emit = |_, item: (u8, i64)| found.push(item);
        let (mut now, mut limit) = (0, i64::MIN);
        let (mut expected, mut late) = (Vec::<(u8, i64)>::new(), Vec::new());
        for (forward, jitter, key, mark) in steps {
            now += forward;
            if mark {
                limit = limit.max(now - 3);
                dedup.watermark(at(limit), &mut emit);
            }
            let time = now + jitter;
            dedup.late_before(at(limit));
            dedup.item(at(time), (key, time), &mut emit);
            if time + within <= limit {
                late.push((key, time));
            } else if !expected.iter().any(|one| one.0 == key && (one.1 - time).abs() < within) {
                expected.push((key, time));
            }
        }
        dedup.watermark(at(now + 3 * within), &mut emit);
        prop_assert_eq!(state(&dedup), [0, 0]);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(&dedup.side().0, &late);
    }

    #[test]
    fn a_throttle_passes_the_first_of_each_span(
        steps in prop::collection::vec((0i64..4, -6i64..1, 0u8..2, any::<bool>()), 1..80),
        items in 0u64..4,
        per in 1i64..12,
    ) {
        let key = |item: &(u8, i64)| item.0;
        let throttle = Throttle::new(items, micros(per as u64));
        let mut throttle = Process::new(key, throttle, Collect::default());
        let mut found = Vec::new();
        let mut emit = |_, item: (u8, i64)| found.push(item);
        let (mut now, mut limit) = (0, i64::MIN);
        let (mut counts, mut expected, mut others) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (forward, jitter, key, mark) in steps {
            now += forward;
            if mark {
                limit = limit.max(now - 3);
                throttle.watermark(at(limit), &mut emit);
            }
            let time = now + jitter;
            throttle.late_before(at(limit));
            throttle.item(at(time), (key, time), &mut emit);
            let span = time.div_euclid(per);
            let count = counts.entry((key, span)).or_insert(0);
            if *count < items && (span + 1) * per > limit {
                *count += 1;
                expected.push((key, time));
            } else {
                others.push((key, time));
            }
        }
        throttle.watermark(at(now + 2 * per), &mut emit);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(&throttle.side().0, &others);
        if items > 0 {
            prop_assert_eq!(state(&throttle), [0, 0]);
        }
    }
}

/// A side output in memory.
#[derive(Default)]
struct Collect(Vec<(u8, i64)>);

impl Operator<(u8, i64)> for Collect {
    type Out = Infallible;

    fn item<E: millstream_engine::flow::Emit<Infallible>>(
        &mut self,
        _time: Timestamp,
        item: (u8, i64),
        _out: &mut E,
    ) {
        self.0.push(item);
    }

    stateless!();
}

#[test]
fn running_aggregates_give_the_value_after_each_item_and_forget_silent_keys() {
    let ttl = Ttl::Event(micros(10));
    let running = Running::new(sum(|item: &(u8, i64)| item.1), ttl);
    let mut running = Process::new(|item: &(u8, i64)| item.0, running, NoSide);
    let mut found = Vec::new();
    let mut emit = |time: Timestamp, item| found.push((time.0, item));
    for (time, key, value) in [(0, 1, 5), (5, 1, 6), (6, 2, 1), (15, 1, 7), (15, 2, 2)] {
        running.item(at(time), (key, value), &mut emit);
    }
    running.watermark(at(25), &mut emit);
    assert_eq!(state(&running), [0, 0]);
    let expected = [
        (0, (1, 5)),
        (5, (1, 11)),
        (6, (2, 1)),
        (15, (1, 7)),
        (15, (2, 3)),
    ];
    assert_eq!(found, expected);

    let reducing = Reducing::new(|a: (u8, i64), b: (u8, i64)| a.max(b), Ttl::Never);
    let mut reducing = Process::new(|item: &(u8, i64)| item.0, reducing, NoSide);
    let mut found = Vec::new();
    let mut emit = |_, (key, item): (u8, (u8, i64))| found.push((key, item.1));
    for value in [3, 2, 9] {
        reducing.item(at(0), (1, value), &mut emit);
    }
    assert_eq!(found, [(1, 3), (1, 3), (1, 9)]);
}

/// What is kept of a key expires before a timer of the key does.
#[derive(Clone)]
struct Outlived;

impl KeyedProcess<u8, u8> for Outlived {
    type State = Expiring<u8>;
    type Out = ();
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u8,
        state: &mut Expiring<u8>,
        time: Timestamp,
        item: u8,
        ctx: &mut Context<'_, ()>,
    ) {
        state.set(item, Ttl::Event(micros(10)), ctx);
        ctx.set_event_timer(Timestamp(time.0 + 20));
    }
}

/// Keeps nothing.
#[derive(Clone)]
struct Stateless;

impl KeyedProcess<u8, u8> for Stateless {
    type State = ();
    type Out = u8;
    type Side = Infallible;

    fn item(
        &mut self,
        key: &u8,
        (): &mut (),
        _time: Timestamp,
        item: u8,
        ctx: &mut Context<'_, u8>,
    ) {
        if item == 0 {
            ctx.set_event_timer(at(100));
            ctx.delete_event_timer(at(100));
        }
        ctx.emit(*key);
    }
}

#[test]
fn a_key_of_which_nothing_is_left_is_forgotten() {
    let mut none = |_: Timestamp, ()| {};
    let mut outlived = Process::new(|item: &u8| *item, Outlived, NoSide);
    for key in 0..10 {
        outlived.item(at(0), key, &mut none);
    }
    outlived.watermark(at(15), &mut none);
    assert_eq!(state::<u8, _>(&outlived), [10, 10]);
    outlived.watermark(at(20), &mut none);
    assert_eq!(state::<u8, _>(&outlived), [0, 0]);

    let mut given = Vec::new();
    let mut stateless = Process::new(|item: &u8| *item, Stateless, NoSide);
    for key in 0..10 {
        stateless.item(at(0), key, &mut |_, key| given.push(key));
    }
    assert_eq!(given, (0..10).collect::<Vec<_>>());
    assert_eq!(state::<u8, _>(&stateless), [0, 0]);
}

/// The second item is out of order: without it the sum would live until 110.
#[test]
fn an_item_out_of_order_does_not_shorten_a_life() {
    let mut sums = Vec::new();
    let running = Running::new(sum(|item: &(u8, i64)| item.1), Ttl::Event(micros(10)));
    let mut running = Process::new(|item: &(u8, i64)| item.0, running, NoSide);
    let reducing = Reducing::new(
        |one: (u8, i64), two: (u8, i64)| (one.0, one.1 + two.1),
        Ttl::Event(micros(10)),
    );
    let mut reducing = Process::new(|item: &(u8, i64)| item.0, reducing, NoSide);
    let mut reduced = Vec::new();
    for (time, value) in [(100, 1), (92, 2), (109, 4), (119, 8)] {
        running.item(at(time), (1, value), &mut |_, (_, sum)| sums.push(sum));
        reducing.item(at(time), (1, value), &mut |_, (_, (_, sum))| {
            reduced.push(sum)
        });
    }
    assert_eq!(reduced, [1, 3, 7, 8]);
    assert_eq!(sums, [1, 3, 7, 8]);
    running.watermark(at(128), &mut |_, _| {});
    assert_eq!(state::<(u8, i64), _>(&running)[0], 1);
    running.watermark(at(129), &mut |_, _| {});
    assert_eq!(state::<(u8, i64), _>(&running)[0], 0);
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
