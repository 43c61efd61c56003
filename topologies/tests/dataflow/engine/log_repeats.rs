//! What a restart computes again is told from what is new, or the dataflow says that it cannot.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream::TopologyFault;
use millstream::dataflow::{Flow, FlowOptions, Generate};
use millstream::prelude::*;
use millstream_operators::function::count;
use millstream_operators::window::Tumbling;

use super::support::*;

const PRODUCTS: [&str; 3] = ["tea", "milk", "bread"];
const WINDOW: i64 = 1_000;

/// Sales per product and millisecond of recording.
fn count_sales(flow: &Flow) {
    flow.events::<Sale>()
        .category("sale")
        .stream()
        .key_by(|sale: &Sale| sale.product.clone())
        .named("sales")
        .window(Tumbling::of(Duration::from_micros(WINDOW.unsigned_abs())))
        .aggregate(count())
        .to_log("counter", |window| {
            let name = stream(&format!("count-{}", window.key));
            (name, sale(&window.key, window.value))
        });
}

fn counting(partitions: usize) -> Topology {
    let options = FlowOptions {
        partitions,
        ..FlowOptions::default()
    };
    let topology = Topology::named("shop").dataflow_with("count", options, count_sales);
    topology.build().unwrap()
}

/// Last microsecond and number of sales of each window, in order.
fn windows(engine: &Engine, product: &str) -> Vec<(i64, u64)> {
    let mut windows = BTreeMap::new();
    for number in 0..10 {
        let name = stream(&format!("sale-{number}"));
        let sales = engine.events::<Sale>(&name, 0, 10_000).unwrap();
        for sale in sales.iter().filter(|sale| sale.payload.product == product) {
            let end = (sale.recorded_at.0.div_euclid(WINDOW) + 1) * WINDOW;
            *windows.entry(end - 1).or_default() += 1;
        }
    }
    windows.into_iter().collect()
}

fn counted(engine: &Engine, product: &str) -> Vec<(i64, u64)> {
    let name = stream(&format!("count-{product}"));
    let events = engine.events::<Sale>(&name, 0, 10_000).unwrap();
    let counted = events.iter();
    counted
        .map(|event| (event.event_time.0, event.payload.cents))
        .collect()
}

/// Windows are counted once each, in their order, whatever is restarted when and with however many partitions.
#[tokio::test(flavor = "multi_thread")]
async fn windows_are_in_the_log_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = 0;
    for partitions in [2, 3, 1, 4] {
        let engine = open(folder.path(), counting(partitions)).await;
        // In the middle: some windows are open still.
        let all = || PRODUCTS.map(|product| counted(&engine, product).len());
        within(async {
            while all().iter().sum::<usize>() < before + 10 {
                append(&engine, &sales(30)).await;
            }
        })
        .await;
        close(engine).await;
        let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
        before = 0;
        for product in PRODUCTS {
            let (counted, expected) = (counted(&engine, product), windows(&engine, product));
            assert!(counted.len() <= expected.len());
            assert_eq!(counted, expected[..counted.len()]);
            before += counted.len();
        }
        close(engine).await;
    }
}

fn times(factor: u64) -> Topology {
    let topology = Topology::named("shop");
    let topology = topology.dataflow_with("times", without_checkpoints(), move |flow| {
        let numbers = Generate::each(|_, _| 1..4u64).splits(1).repeatable();
        let numbers = flow.source("numbers", numbers).stream();
        numbers.to_log("times", move |number| {
            (stream("times-1"), sale("number", number * factor))
        });
    });
    topology.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_computed_otherwise_fails_the_dataflow() {
    let folder = tempfile::tempdir().unwrap();
    for factor in [2, 2] {
        let engine = open(folder.path(), times(factor)).await;
        within(engine.dataflow("times").wait()).await.unwrap();
        close(engine).await;
    }
    let engine = open(folder.path(), times(3)).await;
    let failure = within(engine.dataflow("times").wait()).await.unwrap_err();
    let cause = failure.cause;
    assert!(
        cause.contains("times-1: event 2") && cause.contains("is not what is computed"),
        "{cause}"
    );
    assert_eq!(
        engine
            .events::<Sale>(&stream("times-1"), 0, 10)
            .unwrap()
            .len(),
        3
    );
    engine.shutdown().await.unwrap_err();
}

#[test]
fn a_producer_has_one_dataflow() {
    let declare = |flow: &Flow| {
        let sales = flow.events::<Sale>().category("sale").stream();
        sales.to_log("same", |sale| (stream("out-1"), sale));
    };
    let topology = Topology::named("shop");
    let topology = topology
        .dataflow("one", declare)
        .dataflow("another", declare);
    let expected = TopologyFault::SameProducer {
        producer: "same".to_owned(),
        first: "one".to_owned(),
        second: "another".to_owned(),
    };
    assert_eq!(topology.build().unwrap_err().faults, [expected]);
}
