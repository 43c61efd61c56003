//! Processes that are saved and restored between any two steps: state of all kinds with times to live, and timers.

use std::convert::Infallible;

use millstream_engine::flow::{Operator, Side};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::function::{count, sum};
use crate::pattern::{Pattern, PatternMatcher, Skip};
use crate::restart::{Item, Saves, assert_survives, item, key, micros, steps};
use crate::window::CountLate;

/// Keeps something of every kind, sets and deletes timers of both kinds, and tells all it knows.
#[derive(Clone)]
struct Everything;

type Kept = (
    Expiring<i64>,
    ExpiringMap<i64, String>,
    ExpiringList<i64>,
    Vec<i64>,
);

impl Everything {
    fn tell(
        (value, map, list, all): &Kept,
        what: &str,
        ctx: &mut Context<'_, (String, Vec<i64>), String>,
    ) {
        let mut known: Vec<_> = map
            .iter(ctx)
            .map(|(key, value)| format!("{key}{value}"))
            .collect();
        known.sort();
        let listed = list.iter(ctx).copied().chain(all.iter().copied()).collect();
        ctx.emit_side(known.concat());
        ctx.emit((format!("{what} {:?}", value.get(ctx)), listed));
    }
}

impl KeyedProcess<String, Item> for Everything {
    type State = Kept;
    type Out = (String, Vec<i64>);
    type Side = String;

    fn item(
        &mut self,
        _key: &String,
        state: &mut Kept,
        time: Timestamp,
        (_, number): Item,
        ctx: &mut Context<'_, Self::Out, String>,
    ) {
        let later = Timestamp(time.0 + number);
        match number {
            0 => state.0.set(time.0, Ttl::Event(micros(9)), ctx),
            1 => state.0.set(time.0, Ttl::Processing(micros(9)), ctx),
            2 => state
                .1
                .insert(time.0 % 4, "a".to_owned(), Ttl::Event(micros(12)), ctx),
            3 => state
                .1
                .insert(time.0 % 4, "b".to_owned(), Ttl::Processing(micros(5)), ctx),
            4 => state.2.push(time.0, Ttl::Event(micros(15)), ctx),
            5 => state.2.push(time.0, Ttl::Processing(micros(7)), ctx),
            6 => (0..6).for_each(|more| ctx.set_event_timer(Timestamp(later.0 + more))),
            7 => ctx.set_processing_timer(Timestamp(ctx.now().0 + number)),
            8 => ctx.delete_event_timer(Timestamp(time.0 + 6)),
            _ => ctx.clear_state(),
        }
        state.3.push(number);
        Self::tell(state, "item", ctx);
    }

    fn timer(
        &mut self,
        _key: &String,
        state: &mut Kept,
        timer: Timer,
        ctx: &mut Context<'_, Self::Out, String>,
    ) {
        Self::tell(state, &format!("{timer:?}"), ctx);
        state.3.pop();
    }
}

/// Lets the first item of each key pass. That there was one was forgotten at a restart: a unit is written as nothing.
#[derive(Clone)]
struct FirstOfKey;

impl KeyedProcess<String, Item> for FirstOfKey {
    type State = Option<()>;
    type Out = i64;
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &String,
        seen: &mut Option<()>,
        _time: Timestamp,
        (_, number): Item,
        ctx: &mut Context<'_, i64>,
    ) {
        if seen.replace(()).is_none() {
            ctx.emit(number);
        }
        if number == 9 {
            ctx.clear_state();
        }
    }
}

/// Tells each item what the one before was, which may have been no number, and how many there were.
#[derive(Clone)]
struct Before;

impl KeyedProcess<String, Item> for Before {
    type State = (u64, Option<Option<i64>>);
    type Out = (u64, Option<Option<i64>>);
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &String,
        state: &mut Self::State,
        _time: Timestamp,
        (_, number): Item,
        ctx: &mut Context<'_, Self::Out>,
    ) {
        ctx.emit(*state);
        *state = (state.0 + 1, Some((number > 4).then_some(number)));
    }
}

/// Takes what goes to the side, and nothing more.
#[derive(Clone, Default)]
struct Ignore;

impl<T: Send + 'static> Operator<T> for Ignore {
    type Out = Infallible;

    fn item<E: millstream_engine::flow::Emit<Infallible>>(
        &mut self,
        _time: Timestamp,
        _item: T,
        _out: &mut E,
    ) {
    }

    millstream_engine::flow::stateless!();
}

proptest! {
    #[test]
    fn processes_go_on_as_if_nothing_had_happened(steps in steps()) {
        assert_survives(|| Process::new(key, Everything, Ignore), item, &steps)?;
    }

    #[test]
    fn something_of_nothing_is_kept(steps in steps()) {
        assert_survives(|| Process::new(key, FirstOfKey, NoSide), item, &steps)?;
        assert_survives(|| Process::new(key, Before, NoSide), item, &steps)?;
    }

    #[test]
    fn what_is_built_on_them_does_too(steps in steps()) {
        let dedup = || Process::new(key, Dedup::new(micros(6)), CountLate::new());
        assert_survives(dedup, item, &steps)?;
        let throttle = || Process::new(key, Throttle::new(2, micros(10)), Ignore);
        assert_survives(throttle, item, &steps)?;
        let number = |item: &Item| item.1;
        for ttl in [Ttl::Event(micros(11)), Ttl::Processing(micros(11)), Ttl::Never] {
            let running = || Process::new(key, Running::new(sum(number), ttl), NoSide);
            assert_survives(running, item, &steps)?;
            let combine = |one: Item, two: Item| (one.0, one.1.max(two.1));
            let reducing = || Process::new(key, Reducing::new(combine, ttl), NoSide);
            assert_survives(reducing, item, &steps)?;
        }
    }

    #[test]
    fn patterns_go_on_as_if_nothing_had_happened(steps in steps()) {
        let pattern = |skip| {
            Pattern::begin("low", |item: &Item| item.1 < 5)
                .one_or_more()
                .not_followed_by(|item| item.1 == 7)
                .followed_by_any("high", |item| item.1 > 5)
                .given(|item, matched| matched.last("low").is_some_and(|low| low.1 + 2 < item.1))
                .within(micros(20))
                .skip(skip)
        };
        for skip in [Skip::Nothing, Skip::ToNext, Skip::PastLast] {
            let matcher = || PatternMatcher::new(pattern(skip)).unwrap();
            assert_survives(|| Process::new(key, matcher(), CountLate::new()), item, &steps)?;
        }
        let quiet = || {
            let pattern = Pattern::begin("one", |item: &Item| item.1 < 5)
                .not_followed_by(|item| item.1 > 6)
                .within(micros(8));
            Process::new(key, PatternMatcher::new(pattern).unwrap(), CountLate::new())
        };
        assert_survives(quiet, item, &steps)?;
    }
}

fn saved<T>(operator: &mut impl Operator<T>) -> Saves {
    let mut saves = Saves::default();
    saves.save(operator);
    saves
}

#[test]
fn keys_go_to_their_partition_with_their_timers() {
    let make = || Process::new(key, Running::new(count(), Ttl::Event(micros(100))), NoSide);
    let mut out = |_, _| {};
    let (mut one, mut two) = (make(), make());
    for number in 0..20 {
        one.item(Timestamp(number), (number as u8, 0), &mut out);
        two.item(Timestamp(number), (100 + number as u8, 0), &mut out);
    }
    let saves = vec![saved(&mut one), saved(&mut two)];
    let (mut keys, mut timers) = (Vec::new(), Vec::new());
    for partition in 0..3 {
        let mut operator = make();
        Saves::restore_of(&saves, &mut operator, partition, 3);
        keys.push(operator.table.len());
        timers.push(operator.table.timers_len());
        operator.watermark(Timestamp(119), &mut out);
        assert_eq!(operator.table.len(), 0, "all is over");
    }
    assert_eq!(keys.iter().sum::<usize>(), 40);
    assert_eq!(keys, timers);
    assert!(keys.iter().all(|&keys| keys > 0), "{keys:?}");
}

#[test]
fn each_partition_takes_what_another_stream_had_made() {
    let make = || {
        let control = |rates: &mut Vec<i64>, rate| rates.push(rate);
        let function = |rates: &Vec<i64>, item: i64| Some(rates.iter().sum::<i64>() * item);
        BroadcastJoin::<_, _, _, i64>::new(Vec::new(), control, function)
    };
    let mut one = make();
    let mut out = |_, _| {};
    one.item(Timestamp(1), Side::<i64, i64>::Right(3), &mut out);
    one.item(Timestamp(1), Side::Right(4), &mut out);
    let saves = vec![saved::<Side<i64, i64>>(&mut one)];
    for partition in 0..2 {
        let mut operator = make();
        Saves::restore_of::<Side<i64, i64>>(&saves, &mut operator, partition, 2);
        let mut given = Vec::new();
        let mut out = |_, item| given.push(item);
        operator.item(Timestamp(2), Side::<i64, i64>::Left(10), &mut out);
        assert_eq!(given, [70]);
    }
}
