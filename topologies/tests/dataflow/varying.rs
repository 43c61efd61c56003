//! What varies from start to start on its way to a sink, and what time has to do with it: as `build` sees it.

use millstream::dataflow::{Branch, DataflowFault, Files, Flow};
use millstream_engine::flow::Ascending;
use millstream_operators::function::{count, sum};
use millstream_operators::keyed::{Process, Ttl};
use millstream_operators::window::{Count, CountLate, Global, Sliding, Trigger, Tumbling};

use crate::processes::Spans;
use crate::repeats::{Told, build, items, key, places, told};
use crate::support::*;

/// Items in an order that varies.
fn merged(flow: &Flow) -> Branch<Item> {
    let merged = items(flow, "a").merge(items(flow, "b"));
    merged.new_stage()
}

/// Items of a followed file, without a watermark.
fn lines(flow: &Flow) -> Branch<Item> {
    let lines = Files::json_lines("/nowhere/lines.jsonl").follow();
    let lines = flow.source("lines", lines.time(|item: &Item| seconds(item.1)));
    lines.stream().new_stage()
}

fn no_watermark(place: &str) -> DataflowFault {
    DataflowFault::NoWatermark {
        place: place.to_owned(),
        source_name: "lines".to_owned(),
    }
}

/// Story: a join of windows that goes by the engine's clock was taken for one that goes by event time. It was let before a sink
/// that tells repetitions by their number, forgave the order of what it read, and refused sources without watermarks.
#[test]
fn joins_of_windows_by_the_clock_vary_and_need_no_watermark() {
    let minute = Tumbling::of(secs(60));
    assert_eq!(
        places(|flow| {
            let left = items(flow, "left").key_by(key).named("near");
            let joined = left.join(items(flow, "right").key_by(key));
            let joined = joined.window(minute.in_processing_time());
            joined.inner(|_, left, _| *left).to_log("told", |_| told());
        }),
        ["a join named \"near\""]
    );
    assert_eq!(
        places(|flow| {
            let left = merged(flow).key_by(key).named("near");
            let joined = left.join(items(flow, "right").key_by(key));
            let window = Sliding::of(secs(60)).every(secs(20)).in_processing_time();
            let joined = joined.window(window).inner(|_, left, _| *left);
            joined.to_log("told", |_| told());
        }),
        ["a merge", "a join named \"near\""]
    );
    let by = |window: Tumbling| {
        build(|flow| {
            let left = lines(flow).key_by(key).named("near");
            let joined = left.join(items(flow, "right").key_by(key));
            let joined = joined.window(window).inner(|_, left, _| *left);
            joined.for_each(|_, _| {});
        })
    };
    assert_eq!(by(minute.in_processing_time()), []);
    assert_eq!(by(minute), [no_watermark("a join named \"near\"")]);
}

/// Story: rules that have no times stop no windows, and were refused before windows all the same.
#[test]
fn rules_have_no_say_in_what_time_it_is() {
    let windows = |of: fn(&Flow) -> Branch<Item>, rules: fn(&Flow) -> Branch<Item>| {
        build(|flow| {
            let (of, rules) = (of(flow), rules(flow));
            let joined = of.join_broadcast(rules, (), |(), _| {}, |(), item| Some(item));
            let keyed = joined.state_named("rules").key_by(key).named("w");
            let counted = keyed.window(Tumbling::of(secs(60))).aggregate(count());
            counted.for_each(|_, _| {});
        })
    };
    let in_time = |flow: &Flow| items(flow, "items");
    assert_eq!(windows(in_time, lines), []);
    assert_eq!(
        windows(lines, in_time),
        [no_watermark("a window named \"w\"")]
    );
    // They are read all the same.
    let faults = build(|flow| {
        let joined =
            items(flow, "items").join_broadcast(lines(flow), (), |(), _| {}, |(), item| Some(item));
        joined.to_log("told", |_| told());
    });
    let is_of_lines = |fault: &DataflowFault| matches!(fault, DataflowFault::NotRepeatable { source_name, .. } if source_name == "lines");
    assert!(faults.iter().any(is_of_lines), "{faults:?}");
}

/// Story: results after every so many items depend on the order of the items, and the window that gave them was taken to put
/// things in order.
#[test]
fn early_results_by_count_forgive_no_order() {
    let trigger = Trigger::at_watermark().early_count(2);
    assert_eq!(
        places(|flow| {
            let window = merged(flow).key_by(key).window(Tumbling::of(secs(60)));
            let counted = window.trigger(trigger).aggregate(count()).state_named("w");
            counted.to_log("told", |_| told());
        }),
        ["a merge"]
    );
    assert_eq!(
        places(|flow| {
            let spread = items(flow, "items").rebalance(3).key_by(key);
            let window = spread.window(Sliding::of(secs(60)).every(secs(20)));
            let counted = window.trigger(trigger).aggregate(count()).state_named("w");
            counted.to_log("told", |_| told());
        }),
        ["a rebalance"]
    );
    assert_eq!(
        places(|flow| {
            let window = items(flow, "items")
                .key_by(key)
                .window(Tumbling::of(secs(60)));
            let counted = window.trigger(trigger).aggregate(count()).state_named("w");
            counted.to_log("told", |_| told());
        }),
        [""; 0]
    );
}

/// Counts of minutes, behind what depends on arrival.
fn minutes<T: Send + 'static>(items: Branch<T>) {
    let keyed = items.key_by(|_: &T| 1_u8).named("minutes");
    let counted = keyed.window(Tumbling::of(secs(60))).aggregate(count());
    counted.to_log("told", |_| told());
}

/// Story: what depends on the order of its items makes other items of another order, and a window behind forgave that as if
/// they were the same ones.
#[test]
fn a_window_does_not_forgive_what_another_order_has_changed() {
    let keyed = |flow: &Flow| merged(flow).key_by(key).named("k");
    let cases: [fn(&Flow); 3] = [
        |flow| minutes(merged(flow)),
        // What needs no order may stand between, if the program says that it does not.
        |flow| {
            let spans = Process::new(key, Spans, CountLate::new());
            let spans = merged(flow)
                .key_by(key)
                .named("k")
                .then_keyed("spans", spans);
            minutes(spans.new_stage());
        },
        // There is an order before that makes no difference.
        |flow| {
            minutes(
                items(flow, "a")
                    .key_by(key)
                    .named("k")
                    .dedup(secs(1))
                    .new_stage(),
            )
        },
    ];
    for case in cases {
        assert_eq!(build(case), []);
    }
    let refused = |declare: &dyn Fn(&Flow)| assert_eq!(places(declare), ["a merge"]);
    refused(&|flow| {
        let counted = keyed(flow).window(Count::of(3)).aggregate(count());
        minutes(counted.new_stage());
    });
    refused(&|flow| minutes(keyed(flow).dedup(secs(1)).new_stage()));
    refused(&|flow| {
        let over = flow.side_output("over");
        minutes(keyed(flow).throttle(2, secs(5), &over).new_stage());
        flow.side(&over).for_each(|_, _| {});
    });
    refused(&|flow| minutes(keyed(flow).reduce(Ttl::Never, |left, _| left).new_stage()));
    refused(&|flow| {
        let sums = keyed(flow).aggregate_running(Ttl::Never, sum(|item: &Item| item.1));
        minutes(sums.new_stage());
    });
    refused(&|flow| {
        let late = flow.side_output("late");
        minutes(keyed(flow).process_with_side(Spans, &late).new_stage());
        flow.side(&late).for_each(|_, _| {});
    });
    // Both ways at once are told once.
    refused(&|flow| {
        let mut both = merged(flow).share(2).into_iter();
        let (plain, numbered) = (both.next().unwrap(), both.next().unwrap());
        let numbered = numbered.key_by(key).named("k").dedup(secs(1));
        plain.merge(numbered).to_log("told", |_| told());
    });
}

/// Story: what is forgotten as event time goes on was accepted without any watermark, and nothing was ever forgotten.
#[test]
fn nothing_is_forgotten_in_event_time_without_a_watermark() {
    let keyed = |flow: &Flow| lines(flow).key_by(key).named("k");
    assert_eq!(
        build(|flow| keyed(flow).dedup(secs(1)).for_each(|_, _| {})),
        [no_watermark("a dedup named \"k\"")]
    );
    assert_eq!(
        build(|flow| {
            let over = flow.side_output("over");
            keyed(flow).throttle(2, secs(5), &over).for_each(|_, _| {});
            flow.side(&over).for_each(|_, _| {});
        }),
        [no_watermark("a throttle named \"k\"")]
    );
    let reduced = |ttl| {
        build(|flow| {
            let reduced = keyed(flow).reduce(ttl, |left, _| left);
            reduced.for_each(|_, _| {});
        })
    };
    let event = Ttl::Event(secs(5));
    assert_eq!(reduced(event), [no_watermark("a running aggregate")]);
    assert_eq!(reduced(Ttl::Processing(secs(5))), []);
    assert_eq!(reduced(Ttl::Never), []);
    let latest = |time_to_live: bool| {
        build(|flow| {
            let joined = keyed(flow).join_latest(items(flow, "table").key_by(key));
            let joined = if time_to_live {
                joined.time_to_live(secs(60))
            } else {
                joined
            };
            joined.inner(|_, left, _| *left).for_each(|_, _| {});
        })
    };
    assert_eq!(latest(true), [no_watermark("a join named \"k\"")]);
    assert_eq!(latest(false), []);
    // With one, and where the end of the input moves: it makes nothing incomplete there.
    assert_eq!(
        build(|flow| {
            let lines = Files::json_lines("/nowhere/lines.jsonl").follow();
            let lines = flow.source("lines", lines.time(|item: &Item| seconds(item.1)));
            let lines = lines.watermarks(Ascending::new()).stream().key_by(key);
            lines.named("k").dedup(secs(1)).for_each(|_, _| {});
            let sales = flow.events::<Told>().category("sale").until_durable_end();
            let keyed = sales.stream().key_by(|told: &Told| told.0).named("d");
            keyed.dedup(secs(1)).to_log("told", |_| told());
        }),
        []
    );
}

/// Story: a global window was refused without a trigger, and taken with one that says no more than none does.
#[test]
fn a_global_window_needs_a_trigger_that_fires() {
    let fault_of = |trigger: Option<Trigger>| {
        let faults = build(|flow| {
            let window = items(flow, "items").key_by(key).window(Global::new());
            match trigger {
                Some(trigger) => {
                    let counted = window.trigger(trigger).aggregate(count());
                    counted.for_each(|_, _| {});
                }
                None => window.aggregate(count()).for_each(|_, _| {}),
            }
        });
        faults.first().map(ToString::to_string)
    };
    let without = fault_of(None);
    assert!(without.is_some());
    assert_eq!(fault_of(Some(Trigger::at_watermark())), without);
    assert_eq!(fault_of(Some(Trigger::at_watermark().late_each())), without);
    let early = Trigger::at_watermark().early_count(3);
    assert_eq!(fault_of(Some(early)), None);
    let early = Trigger::at_watermark().early_every(secs(1));
    assert_eq!(fault_of(Some(early)), None);
}
