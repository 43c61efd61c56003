//! Processes, what is built on them, patterns and broadcast state over crashes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use millstream::dataflow::{Feed, Flow};
use millstream_engine::time::Timestamp;
use millstream_operators::function::sum;
use millstream_operators::keyed::{Context, KeyedProcess, KeyedState, Left, Now, Timer, Ttl};
use millstream_operators::pattern::{Pattern, Skip};
use serde::{Deserialize, Serialize};

use crate::settle::{Row, totals};
use crate::simulation::{Item, Outside, seeds, simulate, simulate_in_order, simulate_settled};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key(item: &Item) -> u8 {
    item.0
}

/// Runs many seeds, in the same number of partitions and in others.
macro_rules! simulated {
    ($($name:ident: $simulate:ident($declare:ident $(, $settle:ident)?);)*) => {
        $(
            #[test]
            pub(crate) fn $name() {
                for seed in seeds(40) {
                    $simulate(seed, $declare, false $(, $settle)?);
                    $simulate(1_000 + seed, $declare, true $(, $settle)?);
                }
            }
        )*
    };
}

/// Sums by begin of their span of five seconds.
#[derive(Default, Serialize, Deserialize)]
struct Spans(BTreeMap<i64, i128>);

impl KeyedState for Spans {
    fn expire(&mut self, _now: &Now) -> Left {
        if self.0.is_empty() {
            Left::NOTHING
        } else {
            Left::kept()
        }
    }
}

const SPAN_MICROS: i64 = 5_000_000;

/// Tells the sum of each span when it is over.
#[derive(Clone)]
struct SumSpans;

impl KeyedProcess<u8, Item> for SumSpans {
    type State = Spans;
    type Out = Row;
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u8,
        spans: &mut Spans,
        time: Timestamp,
        (_, number): Item,
        ctx: &mut Context<'_, Row>,
    ) {
        if ctx.is_late() {
            return;
        }
        let span = time.0.div_euclid(SPAN_MICROS);
        *spans.0.entry(span).or_default() += i128::from(number);
        ctx.set_event_timer(Timestamp((span + 1) * SPAN_MICROS));
    }

    fn timer(&mut self, key: &u8, spans: &mut Spans, timer: Timer, ctx: &mut Context<'_, Row>) {
        if let Timer::Event(end) = timer {
            let span = end.0 / SPAN_MICROS - 1;
            let sum = spans.0.remove(&span).unwrap_or_default();
            ctx.emit((*key, span, 0, sum, false));
        }
    }
}

/// Tells every few milliseconds of the clock what has come since.
#[derive(Clone)]
struct SumByClock;

impl KeyedProcess<u8, Item> for SumByClock {
    type State = i128;
    type Out = Row;
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u8,
        sum: &mut i128,
        _time: Timestamp,
        (_, number): Item,
        ctx: &mut Context<'_, Row>,
    ) {
        *sum += i128::from(number);
        ctx.set_processing_timer(ctx.now().saturating_add(Duration::from_millis(7)));
    }

    fn timer(&mut self, key: &u8, sum: &mut i128, _timer: Timer, ctx: &mut Context<'_, Row>) {
        ctx.emit((*key, 0, 0, *sum, false));
        ctx.clear_state();
        *sum = 0;
    }
}

/// Lets pass what is not late. Whether a time to live is over for a late item depends on how far the watermark has come
/// where it is kept.
#[derive(Clone)]
struct InTime;

impl KeyedProcess<u8, Item> for InTime {
    type State = ();
    type Out = Item;
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u8,
        _state: &mut (),
        _time: Timestamp,
        item: Item,
        ctx: &mut Context<'_, Item>,
    ) {
        if !ctx.is_late() {
            ctx.emit(item);
        }
    }
}

/// A dataflow of one operator by key, and what rows are made of its results.
macro_rules! keyed {
    ($name:ident: $row:ty, $key:expr $(, .$more:ident($($argument:expr),*))*) => {
        fn $name(flow: &Flow, feed: &Feed<Item>, outside: &Outside<$row>) {
            let outside = outside.clone();
            flow.source("items", feed.clone())
                .partitions(1)
                .stream()
                .key_by($key)
                $(.$more($($argument),*))*
                .deliver(move |delivery| outside.take(delivery));
        }
    };
}

keyed!(by_event_time: Row, key, .process(SumSpans));
keyed!(by_clock: Row, key, .process(SumByClock));
keyed!(running: (u8, i128), key, .named("in time"), .process(InTime), .key_by(key), .named("running"),
    .aggregate_running(Ttl::Event(seconds(6)), sum(|item: &Item| item.1)));
keyed!(reduced: (u8, Item), key, .reduce(Ttl::Never, |one, two| (two.0, one.1.max(two.1))));
keyed!(folded: (u8, String), key, .named("in time"), .process(InTime), .key_by(key), .named("folded"),
.fold(Ttl::Event(seconds(9)), String::new(), |all: &mut String, item: &Item| {
    all.push_str(&item.1.to_string());
}));
keyed!(deduplicated: Item, |item: &Item| (item.0, item.1 % 3), .dedup(seconds(3)));
keyed!(repeats_of_one_time: Item, |item: &Item| *item, .dedup(seconds(1)));

simulated! {
    timers_of_event_time: simulate(by_event_time);
    timers_of_the_clock_lose_nothing: simulate_settled(by_clock, totals);
    running_aggregates_with_a_time_to_live: simulate_in_order(running);
    reduced_in_order: simulate_in_order(reduced);
    folded_in_order: simulate_in_order(folded);
    repeats_are_dropped_in_order: simulate_in_order(deduplicated);
    repeats_of_one_time_are_dropped: simulate(repeats_of_one_time);
    throttled_in_order: simulate_in_order(throttled);
    patterns_in_order: simulate_in_order(patterns);
    patterns_that_end_in_a_negation: simulate_in_order(unanswered);
    broadcast_state_loses_no_item: simulate(steered);
}

/// Those that pass and those that do not.
fn throttled(flow: &Flow, feed: &Feed<Item>, outside: &Outside<(bool, Item)>) {
    let (passed, others) = (outside.clone(), outside.clone());
    let too_many = flow.side_output::<Item>("too many");
    flow.source("items", feed.clone())
        .partitions(1)
        .stream()
        .key_by(key)
        .throttle(2, seconds(5), &too_many)
        .map(|item| (true, item))
        .deliver(move |delivery| passed.take(delivery));
    flow.side(&too_many)
        .map(|item| (false, item))
        .deliver(move |delivery| others.take(delivery));
}

type Match = (u8, i64, Vec<Item>);

/// A small number and then larger ones.
fn patterns(flow: &Flow, feed: &Feed<Item>, outside: &Outside<Match>) {
    let outside = outside.clone();
    let pattern = Pattern::begin("low", |item: &Item| item.1 < 40)
        .times_range(1..=2)
        .followed_by_any("high", |item| item.1 > 60)
        .given(|item, matched| matched.last("low").is_some_and(|low| low.1 + 30 < item.1))
        .not_next(|item| item.1 % 5 == 0)
        .followed_by("end", |item| item.1 > 20)
        .within(seconds(20))
        .skip(Skip::ToNext);
    flow.source("items", feed.clone())
        .partitions(1)
        .stream()
        .key_by(key)
        .pattern(pattern)
        .matches()
        .map(|found| {
            let items = found.steps.into_iter().flat_map(|step| step.items);
            (found.key, found.start.as_millis(), items.collect())
        })
        .deliver(move |delivery| outside.take(delivery));
}

/// A small number that no large one follows in time.
fn unanswered(flow: &Flow, feed: &Feed<Item>, outside: &Outside<Match>) {
    let outside = outside.clone();
    let pattern = Pattern::begin("low", |item: &Item| item.1 < 50)
        .not_followed_by(|item| item.1 > 70)
        .within(seconds(6));
    flow.source("items", feed.clone())
        .partitions(1)
        .stream()
        .key_by(key)
        .pattern(pattern)
        .matches()
        .map(|found| {
            let items = found.items("low").to_vec();
            (found.key, found.start.as_millis(), items)
        })
        .deliver(move |delivery| outside.take(delivery));
}

/// What steers depends on timing, so that only the items are told.
fn steered(flow: &Flow, feed: &Feed<Item>, outside: &Outside<Item>) {
    let outside = outside.clone();
    let items = flow.source("items", feed.clone()).partitions(1).stream();
    let mut copies = items.share(2).into_iter();
    let (items, rules) = (copies.next().unwrap(), copies.next().unwrap());
    let seen: BTreeMap<u8, i64> = BTreeMap::new();
    items
        .join_broadcast(
            rules,
            seen,
            |seen, (key, number)| *seen.entry(key).or_default() += number,
            |seen, item: Item| (seen.len() < 100).then_some(item),
        )
        .deliver(move |delivery| outside.take(delivery));
}
