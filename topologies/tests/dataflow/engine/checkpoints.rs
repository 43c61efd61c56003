//! Dataflows of an engine that begin again from their last checkpoint.

mod failing;
mod given_up;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millstream::dataflow::{DataflowStatus, FlowOptions};
use millstream::prelude::*;
use millstream_engine::checkpoint::CheckpointOptions;
use millstream_operators::function::sum;
use millstream_operators::keyed::Ttl;
use millstream_operators::window::Tumbling;

use super::support::*;

/// Microseconds.
const WINDOW: i64 = 1_000;
const PRODUCTS: [&str; 3] = ["tea", "milk", "bread"];
const NUMBERS: Table<u64, u64> = Table::named("doubled");
/// Cents by product and last microsecond of the window.
const WINDOWS: Table<String, u64> = Table::named("windows");

/// Cents per product and millisecond of recording, in a table and in the log; `look` sees each sale of the first.
fn topology(interval_ms: u64, look: impl Fn(&Sale) + Clone + Send + 'static) -> Topology {
    let window = || Tumbling::of(Duration::from_micros(WINDOW.unsigned_abs()));
    let topology = Topology::named("shop")
        .dataflow_with("rows", checkpointed(interval_ms), move |flow| {
            flow.events::<Sale>()
                .category("sale")
                .stream()
                .inspect(move |_, sale| look(sale))
                .key_by(|sale: &Sale| sale.product.clone())
                .window(window())
                .aggregate(sum(|sale: &Sale| sale.cents as i64))
                .to_table(&WINDOWS, |window| {
                    let key = format!("{}@{}", window.key, window.window.end.0 - 1);
                    (key, Some(window.value as u64))
                });
        })
        .dataflow_with("events", checkpointed(interval_ms), move |flow| {
            flow.events::<Sale>()
                .category("sale")
                .stream()
                .key_by(|sale: &Sale| sale.product.clone())
                .named("sales")
                .window(window())
                .aggregate(sum(|sale: &Sale| sale.cents as i64))
                .to_log_with_checkpoints("adder", |window| {
                    let name = stream(&format!("sum-{}", window.key));
                    (name, sale(&window.key, window.value as u64))
                });
        });
    topology.build().unwrap()
}

/// Cents of each window, computed from the log.
fn expected(engine: &Engine, product: &str) -> BTreeMap<i64, u64> {
    let mut windows = BTreeMap::new();
    for number in 0..10 {
        let name = stream(&format!("sale-{number}"));
        let sales = engine.events::<Sale>(&name, 0, 10_000).unwrap();
        for sale in sales.iter().filter(|sale| sale.payload.product == product) {
            let end = (sale.recorded_at.0.div_euclid(WINDOW) + 1) * WINDOW;
            *windows.entry(end - 1).or_default() += sale.payload.cents;
        }
    }
    windows
}

/// Windows in the log, in their order.
fn appended(engine: &Engine, product: &str) -> Vec<(i64, u64)> {
    let name = stream(&format!("sum-{product}"));
    let events = engine.events::<Sale>(&name, 0, 10_000).unwrap();
    let sums = events.iter();
    sums.map(|event| (event.event_time.0, event.payload.cents))
        .collect()
}

/// Windows in the table.
async fn rows(engine: &Engine) -> BTreeMap<String, u64> {
    let rows = engine.query(&WINDOWS).rows().await.unwrap();
    rows.into_iter().collect()
}

/// Rows of each product in the order of their windows, as far as there are windows, with what they should be.
async fn shown(engine: &Engine) -> (usize, Vec<Vec<(Option<u64>, u64)>>) {
    let rows = rows(engine).await;
    let of_product = |product: &str| {
        let expected = expected(engine, product).into_iter();
        let shown = expected.map(|(end, cents)| {
            let row = rows.get(&format!("{product}@{end}"));
            (row.copied(), cents)
        });
        shown.collect()
    };
    (
        rows.len(),
        PRODUCTS.iter().map(|product| of_product(product)).collect(),
    )
}

/// Every window that is there is right, and none is missing before the last: soon, since all rows of a table are not read
/// at one moment.
async fn check(engine: &Engine) -> (usize, usize) {
    let mut count = 0;
    for product in PRODUCTS {
        let appended = appended(engine, product);
        let expected: Vec<_> = expected(engine, product).into_iter().collect();
        assert_eq!(appended, expected[..appended.len()], "{product}");
        count += appended.len();
    }
    let rows = within(async {
        loop {
            let (rows, shown) = shown(engine).await;
            let is_right = |(row, cents): &(Option<u64>, u64)| row.is_none_or(|row| row == *cents);
            assert!(shown.iter().flatten().all(is_right), "{shown:?}");
            let has_no_gap = |product: &Vec<(Option<u64>, u64)>| {
                product.is_sorted_by_key(|(row, _)| row.is_none())
            };
            if shown.iter().all(has_no_gap) {
                return rows;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    (rows, count)
}

/// Aborted again and again between checkpoints, both go on where the last one was: nothing twice and nothing lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_dataflow_goes_on_from_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let mut before = (0, 0);
    for round in 0..4 {
        let seen_here = Arc::clone(&seen);
        let look = move |_: &Sale| {
            seen_here.fetch_add(1, Ordering::Relaxed);
        };
        let engine = open(folder.path(), topology(3_600_000, look)).await;
        let flows = ["rows", "events"].map(|name| engine.dataflow(name));
        let restored = flows[0].checkpoints().unwrap().completed;
        assert_eq!(restored.is_some(), round > 0);
        within(async {
            while check(&engine).await.0 < before.0 + 5 {
                append(&engine, &sales(30)).await;
            }
        })
        .await;
        for flow in &flows {
            within(flow.checkpoint()).await.unwrap();
        }
        // What comes now is done once more by the next run.
        append(&engine, &sales(60)).await;
        let after = check(&engine).await;
        assert!(after.0 >= before.0 && after.1 >= before.1);
        for flow in &flows {
            within(flow.abort("a test says so")).await.unwrap_err();
        }
        before = (before.0 + 5, after.1);
        // A shutdown tells that they failed.
        let _ = within(engine.shutdown()).await;
    }
    let sold = {
        let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
        let of = |number| engine.events::<Sale>(&stream(&format!("sale-{number}")), 0, 10_000);
        let sold: usize = (0..10).map(|number| of(number).unwrap().len()).sum();
        close(engine).await;
        sold as u64
    };
    // Not everything was read again by every run.
    assert!(seen.load(Ordering::Relaxed) < sold * 2);
}

/// A stop takes what was read into the last checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_loses_nothing_and_nothing_is_read_twice() {
    let folder = tempfile::tempdir().unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let mut sold = 0;
    for _ in 0..3 {
        let seen_here = Arc::clone(&seen);
        let look = move |_: &Sale| {
            seen_here.fetch_add(1, Ordering::Relaxed);
        };
        let engine = open(folder.path(), topology(3_600_000, look)).await;
        append(&engine, &sales(60)).await;
        sold += 60;
        within(async {
            while seen.load(Ordering::Relaxed) < sold {
                tokio::task::yield_now().await;
            }
        })
        .await;
        check(&engine).await;
        close(engine).await;
    }
    assert_eq!(seen.load(Ordering::Relaxed), sold);
}

/// Code that panics now and then: the dataflow begins again by itself, and its results are those of one that did not.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_has_the_dataflow_begin_again_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let seen_here = Arc::clone(&seen);
    let look = move |_: &Sale| {
        let seen = seen_here.fetch_add(1, Ordering::Relaxed);
        assert!(seen != 100 && seen != 250, "sale {seen}");
    };
    let engine = open(folder.path(), topology(10, look)).await;
    within(async {
        while seen.load(Ordering::Relaxed) < 400 || check(&engine).await.0 < 20 {
            append(&engine, &sales(30)).await;
        }
    })
    .await;
    check(&engine).await;
    assert_eq!(engine.dataflow("rows").status(), DataflowStatus::Running);
    assert!(engine.failed_dataflows().is_empty());
    close(engine).await;
}

/// What is asked of a dataflow that has failed and begins again is asked of its next run.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_between_two_runs_is_answered_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let look = {
        let fails = Arc::clone(&fails);
        move |_: &Sale| assert!(!fails.swap(false, Ordering::Relaxed), "once")
    };
    let mut config = config();
    config.restart.attempts_max = 9;
    config.restart.backoff_first = Duration::from_millis(200);
    let opened = Engine::open(folder.path()).config(config);
    let engine = opened.run(topology(3_600_000, look)).await.unwrap();
    let rows = engine.dataflow("rows");
    let savepoint = within(rows.savepoint()).await.unwrap();
    within(rows.checkpoint()).await.unwrap();
    for round in 0..2 {
        fails.store(true, Ordering::Relaxed);
        append_to(&engine, "sale-1", sale("tea", 1)).await;
        within(async {
            while fails.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        if round == 1 {
            // By the run that failed, if it came to that.
            within(rows.delete_savepoint(savepoint)).await.unwrap();
        }
        within(rows.checkpoint()).await.unwrap();
    }
    assert!(rows.checkpoints().unwrap().savepoints.is_empty());
    close(engine).await;
}

/// One that panics at every start is given up, with the first cause.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_at_every_beginning_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let look = |sale: &Sale| assert!(sale.cents != 7, "seven");
    let mut config = config();
    config.restart.attempts_max = 2;
    config.restart.backoff_first = Duration::from_millis(1);
    let opened = Engine::open(folder.path())
        .config(config)
        .run(topology(10, look))
        .await;
    let engine = opened.unwrap();
    append(&engine, &sales(30)).await;
    let failure = within(engine.dataflow("rows").wait()).await.unwrap_err();
    assert!(failure.cause.contains("seven"), "{failure}");
    assert_eq!(engine.dataflow("events").status(), DataflowStatus::Running);
    let _ = within(engine.shutdown()).await;
}

/// A run without checkpoints makes the tables anew: what an earlier run had saved is of no use after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_checkpoints_forgets_them() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = |checkpoints: bool| {
        let options = FlowOptions {
            checkpoints: checkpoints.then(CheckpointOptions::default),
            ..options()
        };
        let topology = Topology::named("shop").dataflow_with("numbers", options, |flow| {
            let items = flow.items(0..50_u64).stream();
            items.to_table(&NUMBERS, |number| (number, Some(number * 2)));
        });
        topology.build().unwrap()
    };
    for (round, checkpoints) in [true, true, false, true].into_iter().enumerate() {
        let engine = open(folder.path(), numbers(checkpoints)).await;
        let flow = engine.dataflow("numbers");
        within(flow.wait()).await.unwrap();
        let has_any = flow.checkpoints().map(|status| status.is_final);
        assert_eq!(has_any, checkpoints.then_some(true), "round {round}");
        let rows = engine.query(&NUMBERS).rows().await.unwrap();
        assert_eq!(
            rows,
            (0..50)
                .map(|number| (number, number * 2))
                .collect::<Vec<_>>()
        );
        close(engine).await;
        // Removed in between: its tables go, and its checkpoints with them.
        if round == 3 {
            close(open(folder.path(), Topology::named("shop").build().unwrap()).await).await;
            let engine = open(folder.path(), numbers(true)).await;
            within(engine.dataflow("numbers").wait()).await.unwrap();
            assert_eq!(engine.query(&NUMBERS).rows().await.unwrap().len(), 50);
            close(engine).await;
        }
    }
}
