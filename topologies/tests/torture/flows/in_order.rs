//! Dataflows of processes, and of what depends on the order in which the items of a key come.

use std::convert::Infallible;

use millstream::dataflow::Flow;
use millstream::prelude::*;
use millstream_operators::function::sum;
use millstream_operators::keyed::{Context, KeyedProcess, Timer};
use millstream_operators::pattern::{Pattern, Skip};

use super::{Row, Sinks, items};
use crate::plan::{Item, Plan, millis};

/// Tells the sum of each span when it is over.
#[derive(Clone)]
struct SumSpans {
    span_micros: i64,
}

impl KeyedProcess<u16, Item> for SumSpans {
    /// Sums by number of their span.
    type State = Vec<(i64, i64)>;
    type Out = Row;
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u16,
        spans: &mut Self::State,
        time: Timestamp,
        item: Item,
        ctx: &mut Context<'_, Row>,
    ) {
        if ctx.is_late() {
            return;
        }
        let span = time.0.div_euclid(self.span_micros);
        match spans.iter_mut().find(|(of, _)| *of == span) {
            Some((_, sum)) => *sum += item.number,
            None => spans.push((span, item.number)),
        }
        ctx.set_event_timer(Timestamp((span + 1) * self.span_micros));
    }

    fn timer(
        &mut self,
        key: &u16,
        spans: &mut Self::State,
        timer: Timer,
        ctx: &mut Context<'_, Row>,
    ) {
        let Timer::Event(end) = timer else { return };
        let span = end.0 / self.span_micros - 1;
        let at = spans.iter().position(|(of, _)| *of == span);
        let (_, sum) = spans.remove(at.unwrap());
        ctx.emit(Row {
            start: span,
            ..Row::of_pair(*key, sum, 0)
        });
    }
}

/// Timers, windows of all keys that are summed up before they meet.
pub(super) fn process(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let spans = items(plan, flow, 0)
        .key_by(|item: &Item| item.key)
        .named("spans")
        .process(SumSpans {
            span_micros: plan.size_ms * 1_000,
        });
    let mut spans = spans.share(3).into_iter();
    sinks.deliver(spans.next().unwrap());
    sinks.to_files(spans.next().unwrap());
    let totals = spans
        .next()
        .unwrap()
        .window_all(Sliding::of(millis(plan.size_ms * 3)).every(millis(plan.size_ms)))
        .named("totals")
        .pre_aggregated()
        .aggregate(sum(|row: &Row| row.left))
        .map(|window| {
            Row::of_window(&Windowed {
                key: 0,
                window: window.window,
                value: window.value as i64,
                revision: window.revision,
            })
        });
    sinks.to_table(totals);
}

/// Count windows to the log, patterns delivered, items without repeats in files.
pub(super) fn in_order(plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
    let mut copies = items(plan, flow, 0).share(3).into_iter();
    let counts = copies
        .next()
        .unwrap()
        .key_by(|item: &Item| item.own)
        .named("counts")
        .window(Count::of(5).every(2))
        .aggregate(sum(|item: &Item| item.serial))
        .map(|window| Row::of_pair(window.key, window.value as i64, 0));
    sinks.to_log(counts);
    let pattern = Pattern::begin("low", |item: &Item| item.number < 40)
        .times_range(1..=2)
        .followed_by_any("high", |item| item.number > 60)
        .given(|item, matched| {
            matched
                .last("low")
                .is_some_and(|low| low.number + 30 < item.number)
        })
        .followed_by("end", |item| item.number > 20)
        .within(millis(plan.size_ms * 2))
        .skip(Skip::ToNext);
    let matches = copies
        .next()
        .unwrap()
        .key_by(|item: &Item| item.own)
        .pattern(pattern)
        .named("patterns")
        .matches()
        .map(|found| {
            let serials = found.steps.iter().flat_map(|step| &step.items);
            let serials = serials.fold(0, |all, item| all * 1_009 + item.serial);
            Row::of_pair(found.key, serials, 0)
        });
    sinks.deliver(matches);
    let without_repeats = copies
        .next()
        .unwrap()
        .key_by(|item: &Item| (item.own, item.number % 3))
        .named("dedup")
        .dedup(millis(plan.size_ms))
        .map(|item| Row::of_pair(item.own, item.serial, 0));
    sinks.to_files(without_repeats);
}
