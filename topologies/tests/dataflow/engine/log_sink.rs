//! The log as a sink: each item once, also when everything is computed again.

use millstream::TopologyFault;
use millstream::dataflow::{DataflowFault, DataflowStatus, Flow, Generate};
use millstream::prelude::*;
use millstream_engine::event::EventId;
use millstream_engine::time::Timestamp;

use super::support::*;

/// Copies the sales of each stream to one of its own, with their number of cents doubled. A stream's events come from
/// one partition of the log, so their order is the same at each start.
fn double(flow: &Flow) {
    let sales = flow.records::<Sale>().category("sale");
    sales
        .until_durable_end()
        .stream()
        .to_log("doubler", |sold| {
            let stream = stream(&format!("double-{}", sold.stream.id()));
            (stream, sale(&sold.payload.product, sold.payload.cents * 2))
        });
}

fn topology() -> Topology {
    let topology = Topology::named("shop").dataflow_with("double", options(), double);
    topology.build().unwrap()
}

/// Stream by stream.
fn doubled(engine: &Engine) -> Vec<Vec<u64>> {
    let of = |number: u64| {
        let name = stream(&format!("double-{number}"));
        let events = engine.events::<Sale>(&name, 0, 10_000).unwrap();
        let ids = (0..).map(|number| EventId::derived("doubler", name.as_str(), number));
        assert!(events.iter().zip(ids).all(|(event, id)| event.id == id));
        events.iter().map(|event| event.payload.cents).collect()
    };
    (0..10).map(of).collect()
}

fn expected(sales: &[Sale]) -> Vec<Vec<u64>> {
    let of = |first: usize| {
        let of = sales.iter().skip(first).step_by(10);
        of.map(|sale| sale.cents * 2).collect()
    };
    (0..10).map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_computed_again_is_not_appended_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for _ in 0..3 {
        let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
        append(&engine, &sales(50)).await;
        all.extend(sales(50));
        close(engine).await;
        // The second run finds all of it done.
        for _ in 0..2 {
            let engine = open(folder.path(), topology()).await;
            within(engine.dataflow("double").wait()).await.unwrap();
            assert_eq!(doubled(&engine), expected(&all));
            close(engine).await;
        }
    }
}

/// Many rounds, several streams, live input.
#[tokio::test(flavor = "multi_thread")]
async fn a_dataflow_may_read_what_another_appends() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = None;
    let topology = Topology::named("chain")
        .dataflow_with("first", options(), |flow| {
            let numbers = Generate::each(|split, splits| {
                (0..20_000u64).filter(move |number| *number as usize % splits == split)
            });
            let numbers = flow.source("numbers", numbers.splits(2).repeatable());
            numbers.stream().to_log("numbers", |number| {
                let name = format!("number-{}", number % 40);
                (stream(&name), sale("number", number))
            });
        })
        .dataflow_with("second", options(), |flow| {
            let numbers = flow.events::<Sale>().category("number").stream();
            given = Some(numbers.map(|sale| sale.cents).collect());
        });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    within(engine.dataflow("first").wait()).await.unwrap();
    let given = given.unwrap();
    within(async {
        while given.len() < 20_000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut numbers = given.take_items();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20_000).collect::<Vec<_>>());
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_else_writes_fails_the_dataflow() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
    append(&engine, &sales(9)).await;
    append_to(&engine, "double-7", sale("milk", 1)).await;
    close(engine).await;
    let engine = open(folder.path(), topology()).await;
    let failure = within(engine.dataflow("double").wait()).await.unwrap_err();
    let cause = failure.cause;
    assert!(
        cause.contains("double-7") && cause.contains("somebody else"),
        "{cause}"
    );
    engine.shutdown().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_of_an_aggregate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("shop")
        .aggregate::<millstream::catalog::bank::Account>()
        .dataflow("forge", |flow| {
            let one = Generate::timed(|_, _| [(Timestamp::EPOCH, 1u64)].into_iter());
            let one = flow.source("one", one.splits(1)).stream();
            one.to_log_at_least_once(|_| (stream("account-1"), sale("gold", 1)));
        });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    let forge = engine.dataflow("forge");
    let failure = within(forge.wait()).await.unwrap_err();
    assert!(
        failure.cause.contains("belongs to an aggregate"),
        "{failure}"
    );
    assert!(matches!(forge.status(), DataflowStatus::Failed(_)));
    engine.shutdown().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_appends_again_what_is_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    for run in 1..=2 {
        let topology = Topology::named("shop");
        let topology = topology.dataflow_with("again", without_checkpoints(), |flow| {
            let three = Generate::timed(|_, _| {
                (0..3).map(|number| (Timestamp::from_seconds(number), number as u64))
            });
            let three = flow.source("three", three.splits(1)).stream();
            three.to_log_at_least_once(|number| (stream("again-1"), sale("x", number)));
        });
        let engine = open(folder.path(), topology.build().unwrap()).await;
        within(engine.dataflow("again").wait()).await.unwrap();
        let events = engine.events::<Sale>(&stream("again-1"), 0, 100).unwrap();
        let seconds: Vec<_> = events.iter().map(|event| event.event_time).collect();
        assert_eq!(seconds.len(), 3 * run);
        assert_eq!(seconds[..3], [0, 1, 2].map(Timestamp::from_seconds));
        close(engine).await;
    }
}

#[test]
fn a_source_that_cannot_be_repeated_is_a_fault() {
    let write = |number: u64| (stream("once-1"), sale("x", number));
    let invalid = Topology::named("shop")
        .dataflow("once", |flow| {
            let numbers = flow.source("numbers", Generate::each(|_, _| 0..3u64));
            numbers.stream().to_log("once", write);
            // Where an earlier run ended is another place at each start.
            let sales = flow.events::<Sale>().category("sale");
            let sales = sales.from(Token::default()).stream();
            sales.to_log("twice", move |sale| write(sale.cents));
        })
        .build()
        .unwrap_err();
    let fault = |sink: &str, source: &str| TopologyFault::Dataflow {
        dataflow: "once".to_owned(),
        fault: DataflowFault::NotRepeatable {
            sink: format!("log sink {sink:?}"),
            source_name: source.to_owned(),
        },
    };
    let expected = [fault("once", "numbers"), fault("twice", "events")];
    // Of each sink those sources that lead to it.
    assert_eq!(invalid.faults, expected);
}
