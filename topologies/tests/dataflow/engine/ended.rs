//! Dataflows whose input has ended, at their next start.
//!
//! The story: a start read what had come to the log since, although everything behind the source had been told that the input was
//! complete: sinks got it, and windows took it for late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millstream::dataflow::Collected;
use millstream::prelude::*;
use millstream_engine::checkpoint::InMemory;
use millstream_operators::function::count;
use millstream_operators::window::{Tumbling, Windowed};

use super::support::*;

struct Run {
    driver: Driver,
    read: Arc<AtomicUsize>,
    counted: Collected<Windowed<String, u64>>,
    late: Collected<Sale>,
}

/// Sales per product and second, as far as the log has them now.
fn begin(engine: &Engine, storage: &InMemory, until_durable_end: bool) -> Run {
    let read = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&read);
    let (flow, (counted, late)) = Dataflow::declare("sales", |flow| {
        let mut sales = flow.events::<Sale>().category("sale");
        if until_durable_end {
            sales = sales.until_durable_end();
        }
        let sales = sales.stream().inspect(move |_, _| {
            counts.fetch_add(1, Ordering::Relaxed);
        });
        let late = flow.side_output("late");
        let windows = sales
            .key_by(|sale: &Sale| sale.product.clone())
            .named("products")
            .window(Tumbling::of(Duration::from_secs(1)))
            .late_to(&late)
            .aggregate(count());
        (windows.collect(), flow.side(&late).collect())
    })
    .unwrap();
    let driver = Driver::with_checkpoints(flow, 5, engine.resources(), storage.clone());
    let mut driver = driver.unwrap();
    driver.run().unwrap();
    Run {
        driver,
        read,
        counted,
        late,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataflow_that_is_done_reads_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
    let storage = InMemory::default();
    append(&engine, &sales(30)).await;
    for start in 0..3 {
        let run = begin(&engine, &storage, true);
        assert!(run.driver.is_ended());
        assert!(run.driver.checkpoints().unwrap().is_final);
        let counts = run.counted.take_items();
        let counted: u64 = counts.iter().map(|window| window.value).sum();
        let of_start = if start == 0 { 30 } else { 0 };
        assert_eq!(run.read.load(Ordering::Relaxed), of_start, "start {start}");
        assert_eq!(counted, of_start as u64, "start {start}");
        assert!(run.late.is_empty(), "start {start}");
        append(&engine, &sales(10)).await;
    }
    // A source that has no end any more is another matter: its windows are over.
    let run = begin(&engine, &storage, false);
    assert!(!run.driver.is_ended());
    assert_eq!(run.read.load(Ordering::Relaxed), 30);
    assert_eq!((run.counted.len(), run.late.len()), (0, 30));
    close(engine).await;
}

/// One that was stopped has not ended: it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_dataflow_that_was_stopped_reads_on() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
    let storage = InMemory::default();
    for start in 0..3 {
        append(&engine, &sales(10)).await;
        let mut run = begin(&engine, &storage, false);
        assert_eq!(run.read.load(Ordering::Relaxed), 10, "start {start}");
        assert!(!run.driver.is_ended());
        run.driver.stop().unwrap();
        assert!(run.driver.is_ended() && run.late.is_empty());
    }
    close(engine).await;
}
