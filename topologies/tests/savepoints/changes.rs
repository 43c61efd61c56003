//! A dataflow that was changed since its checkpoint was taken: what can be taken over is, the rest is refused by name.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed, Flow, FlowOptions, StartDataflowError};
use millstream_engine::checkpoint::{CheckpointError, CheckpointOptions, InMemory};
use millstream_engine::flow::Resources;
use millstream_engine::time::Timestamp;
use millstream_operators::function::{count, sum, top_k};
use millstream_operators::keyed::Ttl;
use millstream_operators::versioned::{FirstVersion, StateVersion, Versioned};
use millstream_operators::window::{Count, Tumbling};
use serde::{Deserialize, Serialize};

pub(crate) type Item = (u8, i64);

/// One run over what is in `feed`, with a checkpoint at its end.
pub(crate) fn run(
    feed: &Feed<Item>,
    storage: &InMemory,
    drop_stages: &[&str],
    declare: impl Fn(&Flow, &Feed<Item>),
) -> Result<Driver, StartDataflowError> {
    let options = FlowOptions {
        partitions: 2,
        checkpoints: Some(CheckpointOptions {
            interval_ms: 3_600_000,
            pause_ms_min: 0,
            drop_stages: drop_stages.iter().map(ToString::to_string).collect(),
            ..CheckpointOptions::default()
        }),
        ..FlowOptions::default()
    };
    let flow = Dataflow::build_with("changed", options, |flow| declare(flow, feed)).unwrap();
    let mut driver = Driver::with_checkpoints(flow, 3, Resources::new(), storage.clone())?;
    driver.run().unwrap();
    driver.ask_for_checkpoint();
    driver.run().unwrap();
    Ok(driver)
}

fn key(item: &Item) -> u8 {
    item.0
}

/// Sums under this name.
pub(crate) fn sums(name: &'static str) -> impl Fn(&Flow, &Feed<Item>) {
    move |flow, feed| {
        let items = flow.source("items", feed.clone()).stream().key_by(key);
        let sums = items
            .named(name)
            .aggregate_running(Ttl::Never, sum(|item: &Item| item.1));
        sums.for_each(|_, _| {});
    }
}

pub(crate) fn fed() -> Feed<Item> {
    let feed = Feed::new(1);
    for number in 0..20_i64 {
        feed.push(
            0,
            Timestamp::from_seconds(number),
            ((number % 5) as u8, number),
        );
    }
    feed
}

#[test]
fn state_of_a_stage_that_is_gone_is_dropped_only_where_that_is_said() {
    let (feed, storage) = (fed(), InMemory::default());
    assert_eq!(
        run(&feed, &storage, &[], sums("a"))
            .unwrap()
            .state_items("running"),
        5
    );
    let error = run(&feed, &storage, &[], sums("b")).unwrap_err();
    let StartDataflowError::Checkpoint { cause, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        *cause,
        CheckpointError::Removed {
            stage: "a".to_owned()
        }
    );
    let text = error.to_string();
    assert!(
        text.contains("\"a\"") && text.contains("drop_stages"),
        "{text}"
    );
    // It begins empty, behind what was read.
    feed.push(0, Timestamp::from_seconds(30), (9, 1));
    assert_eq!(
        run(&feed, &storage, &["a"], sums("b"))
            .unwrap()
            .state_items("running"),
        1
    );
    // The next checkpoint has it no longer.
    assert_eq!(
        run(&feed, &storage, &[], sums("b"))
            .unwrap()
            .state_items("running"),
        1
    );
}

#[test]
fn a_stage_that_is_added_begins_empty() {
    let (feed, storage) = (fed(), InMemory::default());
    run(&feed, &storage, &[], sums("a")).unwrap();
    feed.push(0, Timestamp::from_seconds(30), (9, 1));
    let both = |flow: &Flow, feed: &Feed<Item>| {
        let items = flow.source("items", feed.clone()).stream();
        let mut shared = items.share(2).into_iter();
        let mut next = || shared.next().unwrap().key_by(key);
        // Before the other: its state is found by its name all the same.
        let counts = next().named("c").aggregate_running(Ttl::Never, count());
        counts.for_each(|_, _| {});
        let sums = next().named("a");
        let sums = sums.aggregate_running(Ttl::Never, sum(|item: &Item| item.1));
        sums.for_each(|_, _| {});
    };
    let driver = run(&feed, &storage, &[], both).unwrap();
    let items = |stage| driver.state_items(stage);
    assert_eq!((items("running"), items("running-2")), (1, 6));
}

/// Windows of a number of items, and a running aggregate; windows of a length see below.
#[test]
fn other_parameters_of_windows_and_functions_are_refused() {
    let counted = |items: u64| {
        move |flow: &Flow, feed: &Feed<Item>| {
            let stream = flow.source("items", feed.clone()).stream().key_by(key);
            let counts = stream.named("w").window(Count::of(items));
            counts.aggregate(count()).for_each(|_, _| {});
        }
    };
    let best = |limit: usize| {
        move |flow: &Flow, feed: &Feed<Item>| {
            let stream = flow.source("items", feed.clone()).stream().key_by(key);
            let best = top_k(limit, |item: &Item| item.1);
            let best = stream.named("w").aggregate_running(Ttl::Never, best);
            best.for_each(|_, _| {});
        }
    };
    let assert_refused = |outcome: Result<Driver, StartDataflowError>| match outcome {
        Err(StartDataflowError::Restore {
            cause: CheckpointError::Parameters { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    };
    let (feed, storage) = (fed(), InMemory::default());
    run(&feed, &storage, &[], counted(3)).unwrap();
    assert_refused(run(&feed, &storage, &[], counted(2)));
    run(&feed, &storage, &[], counted(3)).unwrap();
    let storage = InMemory::default();
    run(&feed, &storage, &[], best(3)).unwrap();
    assert_refused(run(&feed, &storage, &[], best(2)));
    run(&feed, &storage, &[], best(3)).unwrap();
}

#[test]
fn another_operator_or_type_is_refused_by_stage() {
    let (feed, storage) = (fed(), InMemory::default());
    run(&feed, &storage, &[], sums("a")).unwrap();
    let window = |flow: &Flow, feed: &Feed<Item>| {
        let items = flow.source("items", feed.clone()).stream().key_by(key);
        let counts = items.named("a").window(Count::of(3)).aggregate(count());
        counts.for_each(|_, _| {});
    };
    let text = |flow: &Flow, feed: &Feed<Item>| {
        let items = flow.source("items", feed.clone()).stream().key_by(key);
        let none = Vec::<bool>::new();
        let all = items.named("a").fold(Ttl::Never, none, |_, _| {});
        all.for_each(|_, _| {});
    };
    let restored = |error: StartDataflowError| match error {
        StartDataflowError::Restore { stage, cause, .. } => (stage, cause),
        error => panic!("{error}"),
    };
    let (stage, cause) = restored(run(&feed, &storage, &[], window).unwrap_err());
    assert_eq!(stage, "a");
    assert!(matches!(cause, CheckpointError::Changed { .. }), "{cause}");
    let said = cause.to_string();
    assert!(
        said.contains("another name") && said.contains("--anew"),
        "{said}"
    );
    let (stage, cause) = restored(run(&feed, &storage, &[], text).unwrap_err());
    assert_eq!(stage, "a");
    assert!(matches!(cause, CheckpointError::Decode { .. }), "{cause}");
    let tumbling = |seconds: u64| {
        move |flow: &Flow, feed: &Feed<Item>| {
            let items = flow.source("items", feed.clone()).stream().key_by(key);
            let window = Tumbling::of(Duration::from_secs(seconds));
            let counts = items.named("w").window(window).aggregate(count());
            counts.for_each(|_, _| {});
        }
    };
    let other = InMemory::default();
    run(&feed, &other, &[], tumbling(5)).unwrap();
    let (stage, cause) = restored(run(&feed, &other, &[], tumbling(6)).unwrap_err());
    assert_eq!(stage, "w");
    let is_meant = matches!(cause, CheckpointError::Parameters { .. });
    assert!(
        is_meant && cause.to_string().contains("drop_stages"),
        "{cause}"
    );
    // Nothing was touched.
    assert_eq!(
        run(&feed, &storage, &[], sums("a"))
            .unwrap()
            .state_items("running"),
        5
    );
}

/// What a sum was.
#[derive(Clone, Serialize, Deserialize)]
struct Sum {
    cents: i64,
}

/// What it is now.
#[derive(Clone, Serialize, Deserialize)]
struct SumAndCount {
    cents: i64,
    count: Option<u64>,
}

impl StateVersion for Sum {
    const VERSION: u32 = 1;
    type Before = FirstVersion;

    fn from_before(none: FirstVersion) -> Self {
        match none {}
    }
}

impl StateVersion for SumAndCount {
    const VERSION: u32 = 2;
    type Before = Sum;

    fn from_before(Sum { cents }: Sum) -> Self {
        Self { cents, count: None }
    }
}

#[test]
fn state_of_an_earlier_type_is_made_into_the_present_one() {
    let (feed, storage) = (fed(), InMemory::default());
    let plain = |flow: &Flow, feed: &Feed<Item>| {
        let items = flow.source("items", feed.clone()).stream().key_by(key);
        let add = |sum: &mut Sum, item: &Item| sum.cents += item.1;
        let sums = items.named("a").fold(Ttl::Never, Sum { cents: 0 }, add);
        sums.for_each(|_, _| {});
    };
    run(&feed, &storage, &[], plain).unwrap();
    for number in 0..6 {
        feed.push(0, Timestamp::from_seconds(30), (number, 1));
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let counted = |flow: &Flow, feed: &Feed<Item>| {
        let items = flow.source("items", feed.clone()).stream().key_by(key);
        let none = Versioned(SumAndCount {
            cents: 0,
            count: Some(0),
        });
        let add = |sum: &mut Versioned<SumAndCount>, item: &Item| {
            sum.cents += item.1;
            sum.count = sum.count.map(|count| count + 1);
        };
        let sums = items.named("a").fold(Ttl::Never, none, add);
        let seen = Arc::clone(&seen);
        sums.for_each(move |_, (key, sum)| {
            seen.lock().unwrap().push((key, sum.cents, sum.count));
        });
    };
    run(&feed, &storage, &[], counted).unwrap();
    feed.push(0, Timestamp::from_seconds(30), (5, 1));
    // Stored as the present one since.
    run(&feed, &storage, &[], counted).unwrap();
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    let before = [31, 35, 39, 43, 47].into_iter().zip(0_u8..);
    let mut expected: Vec<_> = before.map(|(cents, key)| (key, cents, None)).collect();
    expected.extend([(5, 1, Some(1)), (5, 2, Some(2))]);
    assert_eq!(seen, expected);
}

/// Whoever receives results tells repetitions by the ids: no stage takes those of another.
#[test]
fn results_keep_their_ids_when_a_stage_is_put_in_front() {
    let (feed, storage) = (fed(), InMemory::default());
    let given = Arc::new(Mutex::new(Vec::new()));
    let declare = |names: &'static [&'static str]| {
        let given = Arc::clone(&given);
        move |flow: &Flow, feed: &Feed<Item>| {
            let items = flow.source("items", feed.clone()).stream();
            for (items, &name) in items.share(names.len()).into_iter().zip(names) {
                let counts = items.key_by(key).named(name);
                let counts = counts.aggregate_running(Ttl::Never, count());
                let given = Arc::clone(&given);
                counts.deliver(move |result| given.lock().unwrap().push(result.id));
            }
        }
    };
    run(&feed, &storage, &[], declare(&["a"])).unwrap();
    feed.push(0, Timestamp::from_seconds(30), (1, 1));
    run(&feed, &storage, &[], declare(&["c", "a"])).unwrap();
    // What the first run gave out last, the second one gives out again.
    let ids: BTreeSet<_> = given.lock().unwrap().iter().cloned().collect();
    let of_stage = |stage: &str| ids.iter().filter(|id| *id.stage == *stage).count();
    assert_eq!((of_stage("changed/a"), of_stage("changed/c")), (21, 1));
}
