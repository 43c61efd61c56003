//! Streams that end in a table.

use millstream::dataflow::{Flow, Generate};
use millstream::prelude::*;
use millstream_engine::time::Timestamp;
use millstream_operators::projection::QueryError;
use millstream_operators::sink::TableSinkOptions;

use super::support::*;

/// Turnover so far, kept by the closure of one partition.
fn running_turnover(flow: &Flow, finite: bool) {
    let mut sales = flow.events::<Sale>().category("sale").partitions(1);
    if finite {
        sales = sales.until_durable_end();
    }
    let sums = std::sync::Mutex::new(std::collections::BTreeMap::<String, u64>::new());
    let sums = std::sync::Arc::new(sums);
    let sums = sales.stream().map(move |sale| {
        let mut sums = sums.lock().unwrap();
        let sum = sums.entry(sale.product.clone()).or_default();
        *sum += sale.cents;
        (sale.product, *sum)
    });
    sums.to_table(&TURNOVER, |(product, sum)| (product, Some(sum)));
}

fn topology(finite: bool) -> Topology {
    let topology = Topology::named("shop");
    let topology = topology.dataflow_with("turnover", options(), |flow| {
        running_turnover(flow, finite);
    });
    topology.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_while_the_dataflow_runs_and_after_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), topology(false)).await;
    let all = sales(60);
    append(&engine, &all).await;
    let table = engine.table(&TURNOVER).unwrap();
    within(async {
        while table.rows().unwrap() != turnover(&all) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let tea = engine.query(&TURNOVER).get("tea").await.unwrap();
    assert_eq!(tea, Some(turnover(&all)[2].1));
    drop(table);
    close(engine).await;

    // Everything is stored at the end; a new start makes it anew, to the same.
    let engine = open(folder.path(), topology(true)).await;
    within(engine.dataflow("turnover").wait()).await.unwrap();
    let rows = engine.query(&TURNOVER).rows().await.unwrap();
    assert_eq!(rows, turnover(&all));
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_emptied_when_its_dataflow_starts() {
    let folder = tempfile::tempdir().unwrap();
    const NUMBERS: Table<u64, u64> = Table::named("numbers");
    let topology = |keys: std::ops::Range<u64>| {
        let topology =
            Topology::named("numbers").dataflow_with("keys", without_checkpoints(), |flow| {
                let numbers = Generate::each(move |split, splits| {
                    let keys = keys.clone();
                    keys.filter(move |key| *key as usize % splits == split)
                });
                let numbers = flow.source("numbers", numbers).stream();
                numbers.to_table(&NUMBERS, |key| (key, Some(key * key)));
            });
        topology.build().unwrap()
    };
    for keys in [0..1_000, 500..600] {
        let engine = open(folder.path(), topology(keys.clone())).await;
        within(engine.dataflow("keys").wait()).await.unwrap();
        let rows = engine.query(&NUMBERS).rows().await.unwrap();
        let expected: Vec<_> = keys.map(|key| (key, key * key)).collect();
        assert_eq!(rows, expected);
        close(engine).await;
    }
}

/// More rows than may stay in memory, removals, and rows that change often: the last one of each key wins.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_row_of_a_key_wins_whatever_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    const LAST: Table<u64, u64> = Table::named("last");
    let written = |round: u64, key: u64| (!(round + key).is_multiple_of(7)).then_some(round);
    let topology = Topology::named("last").dataflow_with("last", options(), move |flow| {
        let rounds = Generate::each(move |split, _| {
            let rounds = if split == 0 { 0..20u64 } else { 0..0 };
            rounds.flat_map(|round| (0..500u64).map(move |key| (round, key)))
        });
        let small = TableSinkOptions {
            hot_rows_max: 50,
            unstored_rows_max: 30,
            ..TableSinkOptions::default()
        };
        let rounds = flow.source("rounds", rounds).stream();
        rounds.to_table_with(&LAST, small, move |(round, key)| (key, written(round, key)));
    });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    within(engine.dataflow("last").wait()).await.unwrap();
    let rows = engine.query(&LAST).rows().await.unwrap();
    let expected: Vec<_> = (0..500)
        .filter_map(|key| Some((key, written(19, key)?)))
        .collect();
    assert_eq!(rows, expected);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataflows_table_cannot_be_asked_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), topology(false)).await;
    append(&engine, &sales(1)).await;
    let asked = engine.query(&TURNOVER).at_least(&engine.durable());
    let error = asked.get("tea").await.unwrap_err();
    assert!(matches!(error, QueryError::NoPositions { .. }), "{error}");
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_stored_fails_the_dataflow() {
    let folder = tempfile::tempdir().unwrap();
    const LONG: Table<String, u64> = Table::named("long");
    let topology = Topology::named("long").dataflow("long", |flow| {
        let one = Generate::timed(|_, _| [(Timestamp::EPOCH, "x".repeat(1_000))].into_iter());
        let one = flow.source("one", one).stream();
        one.to_table(&LONG, |key| (key, Some(1)));
    });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    let failure = within(engine.dataflow("long").wait()).await.unwrap_err();
    assert!(failure.cause.contains("too long"), "{failure}");
    engine.shutdown().await.unwrap_err();
}
