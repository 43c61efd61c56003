//! Streams that are divided, copied, sampled and steered.

use std::collections::BTreeMap;

use millstream::dataflow::{Dataflow, DataflowFault, Driver, Feed};
use millstream_operators::function::{count, sum};
use millstream_operators::window::Tumbling;
use proptest::prelude::*;

use crate::support::{Case, Item, case, seconds, secs};

fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_unstable();
    items
}

fn items(case: &Case, holds: impl Fn(&Item) -> bool) -> Vec<Item> {
    let items = case.items().into_iter().map(|(_, item, _)| item);
    sorted(items.filter(holds).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn each_item_goes_where_it_belongs(case in case(40)) {
        let (parts, branches, routes, copies) = case.shape.run(&case.input(), |flow, feed| {
            let mut shared = feed.source(flow).stream().share(3).into_iter();
            let mut next = || shared.next().unwrap();
            let (even, odd) = next().split(|item| item.1 % 2 == 0);
            let predicates: Vec<fn(&Item) -> bool> = vec![|item| item.1 > 20, |item| item.1 > 0];
            let branches = next().branch(predicates);
            let copies = flow.side_output("copies");
            let routes = next().tee_to(&copies).route(3, |item| usize::from(item.0) % 3);
            (
                [even.collect(), odd.collect()],
                branches.into_iter().map(|branch| branch.collect()).collect::<Vec<_>>(),
                routes.into_iter().map(|route| route.collect()).collect::<Vec<_>>(),
                flow.side(&copies).collect(),
            )
        });
        for (rest, part) in [0, 1].into_iter().zip(&parts) {
            let expected = items(&case, |item| item.1.rem_euclid(2) == rest);
            prop_assert_eq!(sorted(part.take_items()), expected);
        }
        let expected = [
            items(&case, |item| item.1 > 20),
            items(&case, |item| item.1 > 0 && item.1 <= 20),
            items(&case, |item| item.1 <= 0),
        ];
        for (branch, expected) in branches.iter().zip(expected) {
            prop_assert_eq!(sorted(branch.take_items()), expected);
        }
        for (number, route) in routes.iter().enumerate() {
            let expected = items(&case, |item| usize::from(item.0) % 3 == number);
            prop_assert_eq!(sorted(route.take_items()), expected);
        }
        prop_assert_eq!(sorted(copies.take_items()), items(&case, |_| true));
    }

    #[test]
    fn watermarks_reach_every_branch(case in case(40)) {
        let windows = |case: &Case, holds: fn(&Item) -> bool, split: bool| {
            case.shape.run(&case.input(), |flow, feed| {
                let stream = feed.source(flow).stream();
                let stream = if split {
                    let (part, others) = stream.split(holds);
                    others.for_each(|_, _| {});
                    part
                } else {
                    stream.filter(holds).new_stage()
                };
                let keyed = stream.key_by(|item: &Item| item.0);
                keyed.window(Tumbling::of(secs(4))).aggregate(count()).collect()
            })
        };
        let holds = |item: &Item| item.1 > 0;
        let counts = |split| {
            let windows = windows(&case, holds, split).take_items();
            windows.into_iter().map(|w| ((w.key, w.window), w.value)).collect::<BTreeMap<_, _>>()
        };
        prop_assert_eq!(counts(true), counts(false));
    }

    #[test]
    fn samples_are_the_same_in_every_run(case in case(60), seed in any::<u64>(), every in 1u64..5) {
        let run = |partitions: usize, fraction: f64| {
            let shape = crate::support::Shape { partitions, ..case.shape.clone() };
            let sample = shape.run(&case.input(), |flow, feed| {
                let stream = feed.source(flow).stream();
                stream.sample_by(fraction, seed, |item| *item).collect()
            });
            sorted(sample.take_items())
        };
        let some = run(case.shape.partitions, 0.4);
        prop_assert_eq!(&run(1, 0.4), &some);
        prop_assert_eq!(run(2, 0.0), Vec::new());
        prop_assert_eq!(run(2, 1.0), items(&case, |_| true));
        let more = run(2, 0.7);
        prop_assert!(some.iter().all(|item| more.contains(item)), "a larger sample has the smaller one in it");
        let shape = crate::support::Shape { partitions: 1, ..case.shape.clone() };
        let picked = shape.run(&case.input(), |flow, feed| {
            feed.source(flow).stream().sample_every(every).collect()
        });
        prop_assert_eq!(picked.len() as u64, (case.items().len() as u64).div_ceil(every));
    }
}

#[test]
fn a_share_of_about_the_fraction_is_kept() {
    let numbers = 20_000u64;
    let feed = Feed::new(1);
    let mut sample = None;
    let dataflow = Dataflow::build("share", |flow| {
        sample = Some(
            flow.source("numbers", feed.clone())
                .stream()
                .sample(0.25, 7)
                .collect(),
        );
    });
    let mut driver = Driver::new(dataflow.unwrap()).unwrap();
    (0..numbers).for_each(|number| feed.push(0, seconds(0), number));
    driver.run().unwrap();
    let kept = sample.unwrap().len();
    assert!((4_700..5_300).contains(&kept), "{kept}");
}

#[test]
fn every_partition_sees_what_steers_it() {
    let (prices, rates) = (Feed::<Item>::new(3), Feed::<(u8, i64)>::new(1));
    let mut results = None;
    let dataflow = Dataflow::build("rates", |flow| {
        let rates = flow.source("rates", rates.clone()).stream();
        let prices = flow.source("prices", prices.clone()).stream().rebalance(3);
        let joined = prices.join_broadcast(
            rates,
            BTreeMap::new(),
            |rates, (currency, rate)| {
                rates.insert(currency, rate);
            },
            |rates, (currency, price)| Some(rates.get(&currency)? * price),
        );
        results = Some(joined.state_named("rates").collect());
    });
    let (results, mut driver) = (results.unwrap(), Driver::new(dataflow.unwrap()).unwrap());
    let push = |value| (0..3).for_each(|split| prices.push(split, seconds(1), (1, value)));
    push(1); // No rate yet.
    driver.run().unwrap();
    rates.push(0, seconds(2), (1, 10));
    driver.run().unwrap();
    push(2);
    driver.run().unwrap();
    rates.push(0, seconds(3), (1, 100));
    driver.run().unwrap();
    push(3);
    driver.run().unwrap();
    assert_eq!(results.take_items(), [20, 20, 20, 300, 300, 300]);
    prices.end_all();
    rates.end_all();
    driver.run().unwrap();
    assert!(driver.is_ended());
}

#[test]
fn what_steers_has_no_say_in_event_time() {
    let (prices, rates) = (Feed::<Item>::new(2), Feed::<i64>::new(1));
    let mut results = None;
    let dataflow = Dataflow::build("rates", |flow| {
        let rates = flow.source("rates", rates.clone()).stream();
        let prices = flow.source("prices", prices.clone()).stream();
        let joined = prices.join_broadcast(
            rates,
            1,
            |rate, changed| *rate = changed,
            |rate, (key, price)| Some((key, *rate * price)),
        );
        let windows = joined.state_named("rates").key_by(|item: &Item| item.0);
        let windows = windows.window(Tumbling::of(secs(10))).named("sums");
        results = Some(windows.aggregate(sum(|item: &Item| item.1)).collect());
    });
    let (results, mut driver) = (results.unwrap(), Driver::new(dataflow.unwrap()).unwrap());
    let sums = || {
        let results = results.take_items().into_iter();
        results.map(|window| window.value).collect::<Vec<_>>()
    };
    let push = |at| {
        for split in 0..2 {
            prices.push(split, seconds(at), (1, 5));
            prices.watermark(split, seconds(at));
        }
    };
    push(1);
    push(11);
    driver.run().unwrap();
    assert_eq!(sums(), [10], "no rate ever came");
    rates.push(0, seconds(0), 100);
    rates.watermark(0, seconds(2));
    driver.run().unwrap();
    push(12);
    push(21);
    driver.run().unwrap();
    assert_eq!(sums(), [10 + 1_000]);
    // Rates that have ended are not the end of time, nor is the end of the prices that of the dataflow.
    rates.end_all();
    driver.run().unwrap();
    assert!(results.is_empty());
    push(31);
    driver.run().unwrap();
    assert_eq!(sums(), [1_000]);
    prices.end_all();
    driver.run().unwrap();
    assert!(driver.is_ended());
    assert_eq!(sums(), [1_000]);
}

#[test]
fn what_cannot_be_is_a_fault() {
    let faults = |declare: &dyn Fn(&millstream::dataflow::Flow, Feed<u64>)| {
        let built = Dataflow::build("wrong", |flow| declare(flow, Feed::new(1)));
        built.unwrap_err().faults
    };
    let impossible =
        |faults: &[DataflowFault]| matches!(faults, [DataflowFault::Impossible { .. }]);
    assert!(impossible(&faults(&|flow, feed| {
        flow.source("n", feed)
            .stream()
            .sample(1.5, 0)
            .for_each(|_, _| {});
    })));
    assert!(impossible(&faults(&|flow, feed| {
        flow.source("n", feed)
            .stream()
            .sample_every(0)
            .for_each(|_, _| {});
    })));
    assert!(impossible(&faults(&|flow, feed| {
        assert!(flow.source("n", feed).stream().share(0).is_empty());
    })));
    assert!(impossible(&faults(&|flow, feed| {
        flow.source("n", feed)
            .stream()
            .state_named("none")
            .for_each(|_, _| {});
    })));
    // One of the two is not read.
    let unread = faults(&|flow, feed| {
        let (even, _odd) = flow.source("n", feed).stream().split(|n| n % 2 == 0);
        even.for_each(|_, _| {});
    });
    assert!(matches!(&unread[..], [DataflowFault::NotRead { label }] if label == "split 1"));
}
