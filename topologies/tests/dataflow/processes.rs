//! Processes, running aggregates, removal of repeats and throttling in dataflows of random shape.

use std::collections::BTreeMap;
use std::convert::Infallible;

use millstream::dataflow::{Dataflow, DataflowFault, Driver, Feed};
use millstream_engine::time::Timestamp;
use millstream_operators::function::{count, sum};
use millstream_operators::keyed::{Context, KeyedProcess, Timer, Ttl};
use millstream_operators::window::Tumbling;
use proptest::prelude::*;

use crate::support::{Item, Shape, case, seconds, secs};

/// Gives out what came of a key since its last silence of ten seconds, when the silence is over; late items aside.
#[derive(Clone)]
struct Bursts;

impl KeyedProcess<u8, Item> for Bursts {
    type State = (Vec<i64>, Timestamp);
    type Out = (u8, Vec<i64>);
    type Side = Item;

    fn item(
        &mut self,
        _key: &u8,
        (values, until): &mut Self::State,
        time: Timestamp,
        item: Item,
        ctx: &mut Context<'_, Self::Out, Item>,
    ) {
        if ctx.is_late() {
            ctx.emit_side(item);
            if values.is_empty() {
                ctx.clear_state();
            }
            return;
        }
        ctx.delete_event_timer(*until);
        // The watermark may reach this partition later than items that came after it, so the timer alone does not say
        // where a burst ends.
        if !values.is_empty() && time >= *until {
            values.sort_unstable();
            ctx.emit_at(*until, (item.0, std::mem::take(values)));
        }
        *until = (*until).max(time.saturating_add(secs(10)));
        ctx.set_event_timer(*until);
        values.push(item.1);
    }

    fn timer(
        &mut self,
        key: &u8,
        (values, _): &mut Self::State,
        _timer: Timer,
        ctx: &mut Context<'_, Self::Out, Item>,
    ) {
        values.sort_unstable();
        ctx.emit((*key, std::mem::take(values)));
        ctx.clear_state();
    }
}

/// Sums of ten seconds with a timer for each: what it gives does not depend on the order of arrival.
#[derive(Clone)]
pub(crate) struct Spans;

impl KeyedProcess<u8, Item> for Spans {
    /// Ends and sums.
    type State = Vec<(Timestamp, i64)>;
    type Out = (u8, i64);
    type Side = Item;

    fn item(
        &mut self,
        _key: &u8,
        spans: &mut Self::State,
        time: Timestamp,
        item: Item,
        ctx: &mut Context<'_, Self::Out, Item>,
    ) {
        if ctx.is_late() {
            ctx.emit_side(item);
            if spans.is_empty() {
                ctx.clear_state();
            }
            return;
        }
        let end = end_of_span(time);
        match spans.iter_mut().find(|span| span.0 == end) {
            Some((_, sum)) => *sum += item.1,
            None => spans.push((end, item.1)),
        }
        ctx.set_event_timer(end);
    }

    fn timer(
        &mut self,
        key: &u8,
        spans: &mut Self::State,
        timer: Timer,
        ctx: &mut Context<'_, Self::Out, Item>,
    ) {
        let at = spans.iter().position(|span| Timer::Event(span.0) == timer);
        let (_, sum) = spans.swap_remove(at.unwrap());
        ctx.emit((*key, sum));
        if spans.is_empty() {
            ctx.clear_state();
        }
    }
}

fn end_of_span(time: Timestamp) -> Timestamp {
    let span = 10_000_000;
    Timestamp((time.0.div_euclid(span) + 1) * span)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn timers_agree_with_the_model_over_all_splits(case in case(50)) {
        let ((spans, late), loads) = case.shape.run_and_look(&case.input(), |flow, feed| {
            let late = flow.side_output("late");
            let keyed = feed.source(flow).stream().key_by(|item: &Item| item.0);
            let spans = keyed.process_with_side(Spans, &late).collect();
            (spans, flow.side(&late).collect())
        });
        let (mut sums, mut lates) = (BTreeMap::<_, i64>::new(), Vec::new());
        for (time, item, watermark) in case.items() {
            if time < watermark {
                lates.push(item);
            } else {
                *sums.entry((end_of_span(seconds(time)), item.0)).or_default() += item.1;
            }
        }
        let mut found = spans.take();
        found.sort_unstable();
        let sums: Vec<_> = sums.into_iter().map(|((end, key), sum)| (end, (key, sum))).collect();
        prop_assert_eq!(found, sums);
        let mut late = late.take_items();
        late.sort_unstable();
        lates.sort_unstable();
        prop_assert_eq!(late, lates);
        prop_assert_eq!(loads.iter().map(|load| load.state_items).sum::<usize>(), 0);
    }

    #[test]
    fn a_process_agrees_with_the_model_and_loses_nothing(case in case(50)) {
        // Whether an item belongs to the burst before depends on how far the watermark of the others is, unless there
        // is one split.
        let input = vec![case.input().swap_remove(0)];
        let (bursts, late) = case.shape.run(&input, |flow, feed| {
            let late = flow.side_output("late");
            let bursts = feed
                .source(flow)
                .stream()
                .key_by(|item: &Item| item.0)
                .process_with_side(Bursts, &late)
                .collect();
            (bursts, flow.side(&late).collect())
        });
        let (mut expected, mut expected_late) = (Vec::new(), Vec::new());
        let mut open = BTreeMap::<u8, (Vec<i64>, Timestamp)>::new();
        let mut watermark = Timestamp::MIN;
        let close = |open: &mut BTreeMap<u8, (Vec<i64>, Timestamp)>, until| {
            let over = open.extract_if(.., |_, (_, end)| *end <= until);
            over.map(|(key, (mut values, end))| {
                values.sort_unstable();
                (end, (key, values))
            })
            .collect::<Vec<_>>()
        };
        for (time, item) in &input[0] {
            match item {
                None => {
                    watermark = watermark.max(*time);
                    expected.extend(close(&mut open, watermark));
                }
                Some(item) if *time < watermark => expected_late.push(*item),
                Some(item) => {
                    let (values, until) = open.entry(item.0).or_default();
                    if !values.is_empty() && *time >= *until {
                        values.sort_unstable();
                        expected.push((*until, (item.0, std::mem::take(values))));
                    }
                    values.push(item.1);
                    *until = (*until).max(time.saturating_add(secs(10)));
                }
            }
        }
        expected.extend(close(&mut open, Timestamp::MAX));
        let mut found = bursts.take();
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
        let mut late = late.take_items();
        late.sort_unstable();
        expected_late.sort_unstable();
        prop_assert_eq!(late, expected_late);
    }

    #[test]
    fn running_values_end_in_the_totals(case in case(40)) {
        let (sums, maxima, counts) = case.shape.run(&case.input(), |flow, feed| {
            let mut shared = feed.source(flow).stream().share(3).into_iter();
            let mut keyed = |name| shared.next().unwrap().key_by(|item: &Item| item.0).named(name);
            (
                keyed("sums").aggregate_running(Ttl::Never, sum(|item: &Item| item.1)).collect(),
                keyed("maxima").reduce(Ttl::Never, |a, b| if b.1 > a.1 { b } else { a }).collect(),
                keyed("counts").fold(Ttl::Never, 0u64, |count, _| *count += 1).collect(),
            )
        });
        let mut totals = BTreeMap::<u8, (i64, i64, u64)>::new();
        for (_, (key, value), _) in case.items() {
            let total = totals.entry(key).or_insert((0, i64::MIN, 0));
            *total = (total.0 + value, total.1.max(value), total.2 + 1);
        }
        let last = |items: Vec<(u8, i64)>| items.into_iter().collect::<BTreeMap<_, _>>();
        let part = |part: fn(&(i64, i64, u64)) -> i64| {
            totals.iter().map(|(key, total)| (*key, part(total))).collect::<BTreeMap<_, _>>()
        };
        let sums = sums.take_items().into_iter().map(|(key, sum)| (key, sum as i64));
        prop_assert_eq!(last(sums.collect()), part(|total| total.0));
        let maxima = maxima.take_items().into_iter().map(|(key, item)| (key, item.1));
        prop_assert_eq!(last(maxima.collect()), part(|total| total.1));
        let counts = counts.take_items().into_iter().map(|(key, count)| (key, count as i64));
        prop_assert_eq!(last(counts.collect()), part(|total| total.2 as i64));
    }

    #[test]
    fn items_that_pass_dedup_are_apart_and_the_others_near_one(case in case(40), within in 1u64..12) {
        let passed = case.shape.run(&case.input(), |flow, feed| {
            let stream = feed.source(flow).stream();
            stream.key_by(|item: &Item| item.0).dedup(secs(within)).collect()
        });
        let passed = passed.take();
        let near = |key: u8, time: Timestamp| {
            let near = passed.iter().filter(|(at, item)| {
                item.0 == key && at.since(time).max(time.since(*at)) < secs(within)
            });
            near.count()
        };
        for (time, item) in &passed {
            prop_assert_eq!(near(item.0, *time), 1);
        }
        for (time, item, watermark) in case.items() {
            if time + within as i64 > watermark {
                prop_assert!(near(item.0, seconds(time)) > 0);
            }
        }
    }

    #[test]
    fn a_throttle_passes_the_same_number_whatever_the_order(case in case(40), items in 1u64..4) {
        let (passed, others) = case.shape.run(&case.input(), |flow, feed| {
            let side = flow.side_output("too many");
            let passed = feed
                .source(flow)
                .stream()
                .key_by(|item: &Item| item.0)
                .throttle(items, secs(5), &side)
                .collect();
            (passed, flow.side(&side).collect())
        });
        let mut counts = BTreeMap::<(u8, i64), u64>::new();
        for (time, (key, _), watermark) in case.items() {
            let span = time.div_euclid(5);
            if (span + 1) * 5 > watermark {
                *counts.entry((key, span)).or_default() += 1;
            }
        }
        let expected: BTreeMap<_, _> = counts.into_iter().map(|(at, count)| (at, count.min(items))).collect();
        prop_assert_eq!(passed.len() + others.len(), case.items().len());
        let mut found = BTreeMap::new();
        for (time, (key, _)) in passed.take() {
            *found.entry((key, time.0.div_euclid(5_000_000))).or_default() += 1;
        }
        prop_assert_eq!(found, expected);
    }
}

/// Tells a second of the clock after an item that it came.
#[derive(Clone)]
struct Reminder;

impl KeyedProcess<u8, Item> for Reminder {
    type State = ();
    type Out = (u8, Timestamp);
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u8,
        _state: &mut (),
        _time: Timestamp,
        _item: Item,
        ctx: &mut Context<'_, Self::Out>,
    ) {
        ctx.set_processing_timer(ctx.now().saturating_add(secs(1)));
    }

    fn timer(
        &mut self,
        key: &u8,
        _state: &mut (),
        _timer: Timer,
        ctx: &mut Context<'_, Self::Out>,
    ) {
        ctx.emit((*key, ctx.now()));
        ctx.clear_state();
    }
}

#[test]
fn timers_of_processing_time_need_no_input() {
    let (feed, mut reminders) = (Feed::new(1), None);
    let dataflow = Dataflow::build("reminders", |flow| {
        let stream = flow.source("items", feed.clone()).stream();
        reminders = Some(
            stream
                .key_by(|item: &Item| item.0)
                .process(Reminder)
                .collect(),
        );
    });
    let reminders = reminders.unwrap();
    let mut driver = Driver::new(dataflow.unwrap()).unwrap();
    feed.push(0, seconds(5), (1, 1));
    driver.run().unwrap();
    driver.advance(secs(1) / 2).unwrap();
    assert!(reminders.is_empty());
    driver.advance(secs(1) / 2).unwrap();
    assert_eq!(reminders.take_items(), [(1, seconds(1))]);
    driver.advance(secs(5)).unwrap();
    let held: usize = driver.loads().iter().map(|load| load.state_items).sum();
    assert_eq!(held, 0, "a key without state or timers is gone");
}

/// A split that is ahead brought a late item, and then the watermark of the slow one closed a window: what that gave
/// out was taken for late, since the limit of the late item was still in force, and a second window dropped it.
#[test]
fn what_a_window_gives_out_is_not_late_because_an_item_before_it_was() {
    let (feed, mut counts) = (Feed::new(2), None);
    let shape = Shape::plain(10, 1);
    let dataflow = Dataflow::build_with("twice", shape.options(), |flow| {
        let items = flow.source("items", feed.clone()).stream();
        let window = || Tumbling::of(secs(10));
        let first = items.key_by(|item: &Item| item.0).named("first");
        let first = first.window(window()).aggregate(count());
        let second = first.key_by(|_| 0u8).named("second");
        counts = Some(second.window(window()).aggregate(count()).collect());
    });
    let counts = counts.unwrap();
    let mut driver = Driver::new(dataflow.unwrap()).unwrap();
    feed.push(1, seconds(5), (1, 1));
    driver.run().unwrap();
    feed.watermark(0, seconds(100));
    feed.push(0, seconds(50), (1, 1));
    driver.run().unwrap();
    feed.watermark(1, seconds(10));
    driver.run().unwrap();
    let counts: Vec<_> = counts
        .take_items()
        .iter()
        .map(|count| count.value)
        .collect();
    assert_eq!(counts, [1]);
}

#[test]
fn an_empty_span_is_a_fault() {
    let error = Dataflow::build("spans", |flow| {
        let feed = Feed::<Item>::new(1);
        let stream = flow.source("items", feed).stream();
        stream.key_by(|item: &Item| item.0).dedup(secs(0)).collect();
    })
    .unwrap_err();
    assert!(
        matches!(&error.faults[..], [DataflowFault::Impossible { place, .. }] if place == "dedup")
    );
}
