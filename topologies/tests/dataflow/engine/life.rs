//! Declaring, failing and stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millstream::catalog::bank::{Account, AccountEvent, BALANCES, Balances};
use millstream::dataflow::{DataflowFault, DataflowHandle, DataflowStatus, Generate};
use millstream::prelude::*;
use millstream::{OpenError, TopologyFault};
use millstream_engine::stage::StageStatus;

use super::support::*;

#[test]
fn faults_of_dataflows_are_told_with_all_others() {
    let invalid = Topology::named("")
        .projection(Balances)
        .dataflow("idle", |_| {})
        .dataflow("events", |flow| {
            flow.events::<Sale>().stream().for_each(|_, _| {});
        })
        .dataflow("balances", |flow| {
            let numbers = flow.source("numbers", Generate::each(|_, _| 0..3u64));
            let table: Table<u64, u64> = Table::named(BALANCES.name());
            numbers
                .stream()
                .to_table(&table, |number| (number, Some(number)));
        })
        .dataflow("balances", |flow| {
            let numbers = flow.source("numbers", Generate::each(|_, _| 0..3u64));
            numbers.stream().for_each(|_, _| {});
        })
        .build()
        .unwrap_err();
    let expected = [
        TopologyFault::NoName,
        TopologyFault::Dataflow {
            dataflow: "idle".to_owned(),
            fault: DataflowFault::Empty,
        },
        TopologyFault::SameDataflow {
            dataflow: "balances".to_owned(),
        },
        TopologyFault::UnknownEvents {
            dataflow: "events".to_owned(),
            source_name: "events".to_owned(),
            event_type: std::any::type_name::<Sale>(),
        },
        TopologyFault::TableTaken {
            dataflow: "balances".to_owned(),
            table: BALANCES.name(),
            owner: "projection \"balances\"".to_owned(),
        },
    ];
    assert_eq!(invalid.faults, expected);
}

#[test]
fn one_table_has_one_sink() {
    let invalid = Topology::named("twice")
        .dataflow("twice", |flow| {
            for name in ["one", "two"] {
                let sales = flow.events::<AccountEvent>().category("account").stream();
                let sales = sales.stage_named(name);
                sales.to_table(&TURNOVER, |_| (String::new(), None));
            }
        })
        .build()
        .unwrap_err();
    let table = TURNOVER.name();
    let fault = DataflowFault::SameTable { table };
    let dataflow = "twice".to_owned();
    assert_eq!(
        invalid.faults,
        [TopologyFault::Dataflow { dataflow, fault }]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_dataflow_leaves_the_others_and_the_engine_running() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = None;
    let topology = Topology::named("shop")
        .aggregate::<Account>()
        .dataflow_with("strict", options(), |flow| {
            let sales = flow.events::<Sale>().category("sale").stream();
            sales.for_each(|_, sale| assert_ne!(sale.cents, 3, "three is too much"));
        })
        .dataflow_with("easy", options(), |flow| {
            let sales = flow.events::<Sale>().category("sale").stream();
            given = Some(sales.collect());
        })
        .dataflow_with("accounts", options(), |flow| {
            // Its category is known from its type.
            flow.events::<AccountEvent>().stream().for_each(|_, _| {});
        });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    assert!(engine.failed_dataflows().is_empty());
    append(&engine, &sales(5)).await;
    let strict = engine.dataflow("strict");
    let failure = within(strict.wait()).await.unwrap_err();
    assert!(failure.cause.contains("three is too much"), "{failure}");
    append(&engine, &sales(5)).await;
    let given = given.unwrap();
    within(async {
        while given.len() < 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(engine.dataflow("easy").status(), DataflowStatus::Running);
    assert_eq!(engine.failed_dataflows(), [("strict".to_owned(), failure)]);
    let stages = engine.stages();
    let of = |name: &str| {
        let mut found = stages.iter().filter(|(stage, _)| stage.starts_with(name));
        found.all(|(_, status)| *status == StageStatus::Running)
    };
    assert!(stages.iter().any(|(name, _)| name == "easy/events/1"));
    assert!(of("easy/") && of("accounts/") && of("partition/") && !of("strict/"));
    let error = engine.shutdown().await.unwrap_err();
    assert!(error.to_string().contains("three is too much"), "{error}");
    assert_eq!(engine.dataflow("easy").status(), DataflowStatus::Ended);
}

/// Story: a source's function that panicked when its dataflow began again took the watcher with it: the dataflow was running for
/// ever, without stages. Method: it panics whenever it is asked again, and nothing is given out before.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_panics_when_it_begins_again_fails_its_dataflow() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let topology = Topology::named("shop").dataflow_with("strict", options(), move |flow| {
        let numbers = Generate::each(move |_, _| {
            let asked = counted.fetch_add(1, Ordering::Relaxed);
            assert!(asked == 0, "the file is gone");
            0..10u64
        });
        let numbers = flow.source("numbers", numbers.splits(1).repeatable());
        numbers
            .stream()
            .for_each(|_, number| assert!(number < 5, "five is too much"));
    });
    let mut config = config();
    config.restart.attempts_max = 2;
    config.restart.backoff_first = Duration::from_millis(1);
    let opened = Engine::open(folder.path()).config(config);
    let engine = opened.run(topology.build().unwrap()).await.unwrap();
    let failure = within(engine.dataflow("strict").wait()).await.unwrap_err();
    assert!(failure.cause.contains("five is too much"), "{failure}");
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert_eq!(engine.failed_dataflows(), [("strict".to_owned(), failure)]);
    assert!(within(engine.shutdown()).await.is_err());
}

/// Story: such a panic at the start of the engine left what had begun before it with the folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_panics_at_the_start_leaves_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("shop").dataflow_with("strict", options(), |flow| {
        let numbers = Generate::each(|split, _| -> std::ops::Range<u64> {
            panic!("there is no file for split {split}")
        });
        flow.source("numbers", numbers).stream().for_each(|_, _| {});
    });
    let opened = Engine::open(folder.path()).config(config());
    let error = opened.run(topology.build().unwrap()).await.unwrap_err();
    assert!(
        error.to_string().contains("there is no file for split"),
        "{error}"
    );
    let empty = Topology::named("shop").build().unwrap();
    close(open(folder.path(), empty).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_shutdown_is_dealt_with() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = None;
    let topology = Topology::named("shop").dataflow_with("all", options(), |flow| {
        // Without an end of its own.
        let numbers = flow.source("numbers", Generate::each(|_, _| 0u64..));
        let numbers = numbers.stream().rebalance(2);
        given = Some(numbers.filter(|number| number % 1_000 == 0).collect());
    });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    let handle = engine.dataflow("all");
    let given = given.unwrap();
    within(async {
        while given.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    close(engine).await;
    assert_eq!(handle.status(), DataflowStatus::Ended);
    let taken_in = |stage: &str| {
        let loads = handle.loads().into_iter();
        let of = loads.filter(|load| load.stage == format!("all/{stage}"));
        of.map(|load| load.items_total).sum::<u64>()
    };
    assert_eq!(taken_in("numbers"), taken_in("rebalance"));
}

/// Stages that nobody lets end are ended, and with them what they hold of the folder.
#[tokio::test(flavor = "multi_thread")]
async fn dataflows_that_do_not_end_are_aborted_and_the_folder_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let mut unread = Vec::new();
    let mut topology = Topology::named("shop");
    for name in ["one", "two", "three"] {
        let (full, receiver) = tokio::sync::mpsc::channel(1);
        unread.push(receiver);
        topology = topology.dataflow_with(name, options(), |flow| {
            let sales = flow.events::<Sale>().category("sale").stream();
            sales.rebalance(2).to_channel(full);
        });
    }
    // Long enough for all that does end, also on a busy machine: else the folder would not be free.
    let config = EngineConfig {
        shutdown_deadline: Duration::from_secs(5),
        ..config()
    };
    let opened = Engine::open(folder.path()).config(config);
    let engine = opened.run(topology.build().unwrap()).await.unwrap();
    append(&engine, &sales(20)).await;
    let handles = engine.dataflows().to_vec();
    let is_blocked = |handle: &DataflowHandle| {
        let loads = handle.loads();
        loads.iter().any(|load| load.blocked > Duration::ZERO)
    };
    within(async {
        while !handles.iter().all(is_blocked) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = within(engine.shutdown()).await.unwrap_err();
    assert!(error.to_string().contains("did not end within"), "{error}");
    for handle in &handles {
        let failure = within(handle.wait()).await.unwrap_err();
        assert_eq!(failure.stage, format!("dataflow {}", handle.name()));
        let ended = |(_, status): &(String, StageStatus)| *status == StageStatus::Stopped;
        assert!(handle.stages().iter().all(ended), "{handle:?}");
    }
    drop((engine, handles));
    let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
    close(engine).await;
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataflow_that_cannot_start_leaves_the_folder_free() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("shop")
        .dataflow("good", |flow| {
            let sales = flow.events::<Sale>().category("sale").stream();
            sales.for_each(|_, _| {});
        })
        .dataflow("bad", |flow| {
            let sales = flow.source("nowhere", Nowhere).stream();
            sales.for_each(|_, _| {});
        });
    let opened = Engine::open(folder.path()).partitions(3);
    let opened = opened.run(topology.build().unwrap());
    let error = within(opened).await.unwrap_err();
    assert!(matches!(error, OpenError::Dataflow(_)), "{error}");
    assert!(error.to_string().contains("nothing is there"), "{error}");
    let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
    close(engine).await;
}

struct Nowhere;

impl millstream::dataflow::SourcePlan for Nowhere {
    type Source = millstream::dataflow::IteratorSource<std::vec::IntoIter<(Timestamp, u64)>>;

    fn split_count(
        &self,
        _wiring: &millstream_engine::flow::Wiring,
    ) -> Result<usize, millstream_engine::flow::Fault> {
        Ok(1)
    }

    fn split(
        &self,
        _split: usize,
        _wiring: &millstream_engine::flow::Wiring,
    ) -> Result<Self::Source, millstream_engine::flow::Fault> {
        Err(millstream_engine::flow::Fault(
            "nothing is there".to_owned(),
        ))
    }
}
