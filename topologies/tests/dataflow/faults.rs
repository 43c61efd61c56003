//! What cannot run is refused before it runs, with everything that is wrong at once.

use millstream::dataflow::{Dataflow, DataflowFault, Driver, Feed, Flow, FlowOptions};
use millstream_operators::function::count;
use millstream_operators::sink::FileSinkOptions;
use millstream_operators::window::Tumbling;

use crate::support::*;

fn faults(declare: impl FnOnce(&Flow)) -> Vec<DataflowFault> {
    let options = FlowOptions {
        partitions: 2,
        ..FlowOptions::default()
    };
    let error = Dataflow::build_with("wrong", options, declare).unwrap_err();
    let mut faults = error.faults;
    faults.sort_by_key(ToString::to_string);
    faults
}

fn sorted(mut faults: Vec<DataflowFault>) -> Vec<DataflowFault> {
    faults.sort_by_key(ToString::to_string);
    faults
}

/// Two joins without a name, of streams that are divided differently.
fn joins(flow: &Flow) {
    let items = |name: &str| flow.source(name, Feed::<Item>::new(1)).stream();
    let key = |item: &Item| item.0;
    items("left")
        .key_by(key)
        .partitions(3)
        .interval_join(items("right").key_by(key))
        .between(secs(1), secs(1))
        .inner(|_, left, right| (*left, *right))
        .key_by(|(left, _): &(Item, Item)| left.1)
        .dedup(secs(1))
        .for_each(|_, _| {});
}

/// A stream that is merged with what comes of it.
fn cycle(flow: &Flow) {
    let again = flow.side_output("again");
    flow.source("round", Feed::<Item>::new(1))
        .stream()
        .merge(flow.side(&again))
        .tee_to(&again)
        .for_each(|_, _| {});
}

fn sides(flow: &Flow) {
    let items = || flow.source("same", Feed::<Item>::new(1)).stream();
    let (unread, unsent) = (flow.side_output("unread"), flow.side_output("unsent"));
    items().tee_to(&unread).for_each(|_, _| {});
    flow.side::<Item>(&unsent).for_each(|_, _| {});
    // By two stages, and by two operators of one.
    let (sent, fused) = (flow.side_output("sent"), flow.side_output("fused"));
    items()
        .tee_to(&sent)
        .tee_to(&fused)
        .tee_to(&fused)
        .for_each(|_, _| {});
    let other = flow.source("other", Feed::<Item>::new(1)).stream();
    other.tee_to(&sent).for_each(|_, _| {});
    for side in [&sent, &fused] {
        flow.side(side).for_each(|_, _| {});
    }
    flow.side(&sent).for_each(|_, _| {});
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let told = faults(|flow| {
        joins(flow);
        cycle(flow);
        sides(flow);
    });
    let label = |label: &str| label.to_owned();
    let expected = vec![
        DataflowFault::JoinPartitions {
            stage: label("interval-join"),
            left: 3,
            right: 2,
        },
        DataflowFault::UnnamedState {
            kind: "a join",
            stage: label("interval-join"),
        },
        DataflowFault::UnnamedState {
            kind: "dedup",
            stage: label("dedup"),
        },
        DataflowFault::Cycle {
            stages: label("merge -> again -> merge"),
        },
        DataflowFault::SameStage {
            stage: label("same"),
        },
        DataflowFault::NotRead {
            label: label("unread"),
        },
        DataflowFault::NotSent {
            label: label("unsent"),
        },
        DataflowFault::SentTwice {
            label: label("fused"),
        },
        DataflowFault::SentTwice {
            label: label("sent"),
        },
        DataflowFault::ReadTwice {
            label: label("sent"),
        },
    ];
    assert_eq!(told, sorted(expected));
}

#[test]
fn names_of_state_and_numbers_of_partitions() {
    let told = faults(|flow| {
        let items = |name: &str| flow.source(name, Feed::<Item>::new(1)).stream();
        for name in ["one", "two"] {
            let keyed = items(name).key_by(|item: &Item| item.0);
            keyed.named("seen").dedup(secs(1)).for_each(|_, _| {});
        }
        items("none").rebalance(0).for_each(|_, _| {});
    });
    let expected = vec![
        DataflowFault::SameState {
            name: "seen".to_owned(),
        },
        DataflowFault::NoPartitions {
            stage: "rebalance".to_owned(),
        },
    ];
    assert_eq!(told, sorted(expected));
}

/// Results that wait in a checkpoint would go to another closure once one is declared before it. Files say what they are called.
#[test]
fn several_branches_that_deliver_want_names() {
    let told = faults(|flow| {
        let items = flow.source("items", Feed::<Item>::new(1)).stream();
        let mut shared = items.share(5).into_iter();
        let mut next = || shared.next().unwrap();
        next().for_each(|_, _| {});
        next().deliver(|_| {});
        next().stage_named("third").deliver(|_| {});
        next().deliver(|_| {});
        next().to_json_lines(FileSinkOptions::new("folder", "prefix"));
    });
    let unnamed = |stage: &str| DataflowFault::UnnamedStage {
        kind: "share".to_owned(),
        stage: stage.to_owned(),
    };
    assert_eq!(told, [unnamed("share-2"), unnamed("share-3")]);
}

#[test]
fn a_message_says_what_is_wrong_and_what_to_do() {
    let error = Dataflow::build("", |_| {}).unwrap_err();
    assert_eq!(error.faults, [DataflowFault::NoName, DataflowFault::Empty]);
    let error = Dataflow::build("round", cycle).unwrap_err();
    assert_eq!(
        error.to_string(),
        "dataflow \"round\" cannot run: stages merge -> again -> merge form a cycle: let it pass through the log (a \
         log sink, and a source that reads it), which is the buffer that breaks it"
    );
}

#[test]
fn a_source_beside_others_must_end_in_a_sink() {
    let told = faults(|flow| {
        let items = |name: &str| flow.source(name, Feed::<Item>::new(1)).stream();
        items("read").for_each(|_, _| {});
        let _ = items("forgotten").map(|item| item.0);
    });
    let source_name = "forgotten".to_owned();
    assert_eq!(told, [DataflowFault::NotEnded { source_name }]);
}

/// A side output may be read before it is given to the operator that sends, whose partitions it then has.
#[test]
fn a_side_output_may_be_read_first() {
    let feed = Feed::<Item>::new(1);
    let mut given = None;
    let flow = Dataflow::build("sides", |flow| {
        let late = flow.side_output("late");
        let late_ones = flow
            .side::<Item>(&late)
            .rate_limit(1e6, 100)
            .map(|item| item.1);
        given = Some(late_ones.new_stage().collect());
        flow.source("items", feed.clone())
            .stream()
            .window_all(Tumbling::of(secs(1)))
            .late_to(&late)
            .aggregate(count())
            .for_each(|_, _| {});
    });
    let mut driver = Driver::new(flow.unwrap()).unwrap();
    feed.watermark(0, seconds(10));
    feed.push(0, seconds(1), (1, 7));
    feed.end_all();
    driver.run().unwrap();
    assert!(driver.is_ended());
    assert_eq!(given.unwrap().take_items(), [7]);
}

/// Names that are given come first, whatever the order of declaration.
#[test]
fn names_that_are_made_avoid_those_that_are_given() {
    let flow = Dataflow::build("names", |flow| {
        let items = |name: &str| flow.source(name, Feed::<Item>::new(1)).stream();
        items("a").rebalance(2).for_each(|_, _| {});
        let rebalanced = items("b").rebalance(2).stage_named("rebalance");
        rebalanced.for_each(|_, _| {});
    });
    let driver = Driver::new(flow.unwrap()).unwrap();
    let loads = driver.loads();
    let mut stages: Vec<_> = loads.iter().map(|load| load.stage.to_string()).collect();
    stages.dedup();
    let expected = ["a", "rebalance-2", "b", "rebalance"].map(|stage| format!("names/{stage}"));
    assert_eq!(stages, expected);
}
