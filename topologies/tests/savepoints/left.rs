//! Tables that were made anew, or go on, whatever became of the start: no checkpoint that does not have their rows is begun
//! from afterwards.

use millstream::dataflow::{IteratorSource, SourcePlan};
use millstream::prelude::*;
use millstream_engine::flow::{Fault, Wiring};
use millstream_engine::time::Timestamp;
use millstream_operators::keyed::Ttl;

use crate::support::*;

/// A source that cannot be read.
struct Broken;

impl SourcePlan for Broken {
    type Source = IteratorSource<std::iter::Empty<(Timestamp, ())>>;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(1)
    }

    fn split(&self, _split: usize, _wiring: &Wiring) -> Result<Self::Source, Fault> {
        Err(Fault("it is broken".to_owned()))
    }
}

fn with_broken() -> Topology {
    let topology = Topology::named("shop").dataflow_with("rows", options(), |flow| {
        flow.source("broken", Broken).stream().for_each(|_, ()| {});
        let sales = flow.events::<Sale>().category("sale").stream();
        sales.to_table(&ROWS, |sale: Sale| (sale.product, Some(sale.cents)));
    });
    topology.build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_has_emptied_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let engine = open(data, topology("a", options())).await;
    append(&engine, &sales(1, 40)).await;
    within(engine.dataflow("rows").checkpoint()).await.unwrap();
    close(engine).await;
    let last = numbers(data).last().unwrap().0.to_string();
    let restore = ["checkpoint", "restore", "DATA", "rows"];
    // Nothing has begun yet: it may be taken back.
    out(&[&restore[..], &["--anew"]].concat(), data);
    out(&[&restore[..], &[last.as_str()]].concat(), data);
    out(&[&restore[..], &["--anew"]].concat(), data);
    let opened = Engine::open(data).run(with_broken()).await;
    let failed = opened.map(drop).unwrap_err().to_string();
    assert!(failed.contains("it is broken"), "{failed}");
    let refused = error(&[&restore[..], &[last.as_str()]].concat(), data);
    assert!(refused.contains("has no copy of the rows"), "{refused}");
    let engine = open(data, topology("b", options())).await;
    let mut model = Model::default();
    model.add("b", &sales(1, 40));
    until_rows(&engine, &model).await;
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_before_a_deleted_one_is_older_than_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let engine = open(data, topology("a", options())).await;
    for round in 1..4 {
        append(&engine, &sales(round, 30)).await;
        within(engine.dataflow("rows").checkpoint()).await.unwrap();
    }
    close(engine).await;
    let all = numbers(data);
    let [.., (before, ..), (last, ..)] = all[..] else {
        panic!("{all:?}");
    };
    let delete = ["checkpoint", "delete", "DATA", "rows", "--force"];
    out(&[&delete[..], &[&last.to_string()]].concat(), data);
    let before = before.to_string();
    let refused = error(&["checkpoint", "restore", "DATA", "rows", &before], data);
    assert!(refused.contains("has no copy of the rows"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_not_taken_in_where_there_is_no_state() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let file = data.join("rows.checkpoint").to_str().unwrap().to_owned();
    let engine = open(data, topology("a", options())).await;
    append(&engine, &sales(1, 40)).await;
    let mut model = Model::default();
    model.add("a", &sales(1, 40));
    // What the savepoint lacks, the other version would write under its own name.
    until_rows(&engine, &model).await;
    within(engine.dataflow("rows").savepoint()).await.unwrap();
    close(engine).await;
    out(&["checkpoint", "export", "DATA", "rows", "1", &file], data);
    std::fs::remove_dir_all(data.join("state")).unwrap();
    let restore = ["checkpoint", "restore", "DATA", "rows", "--from", &file];
    let refused = error(&restore, data);
    assert!(refused.contains("start and stop the engine"), "{refused}");
    let engine = open(data, topology("a", options())).await;
    close(engine).await;
    out(&restore, data);
    let engine = open(data, topology("b", options())).await;
    until_rows(&engine, &model).await;
    close(engine).await;
}

const MORE: Table<String, u64> = Table::named("more");

/// Writes `rows`, `more` or both.
fn tables(has_rows: bool, has_more: bool) -> Topology {
    let mut options = options();
    if let Some(checkpoints) = &mut options.checkpoints {
        checkpoints.drop_stages = vec!["table rows".to_owned(), "table more".to_owned()];
    }
    let topology = Topology::named("shop").dataflow_with("rows", options, move |flow| {
        let sales = flow.events::<Sale>().category("sale").stream();
        let sums = sales
            .key_by(|sale: &Sale| sale.product.clone())
            .named("sums");
        let sums = sums.fold(Ttl::Never, 0_u64, |sum: &mut u64, sale: &Sale| {
            *sum += sale.cents;
        });
        let mut shared = sums.share(3).into_iter();
        let mut next = || shared.next().unwrap();
        let row =
            |(product, sum): (String, u64)| (format!("a:{product}"), is_shown(sum).then_some(sum));
        next().for_each(|_, _| {});
        if has_rows {
            next().to_table(&ROWS, row);
        } else {
            next().for_each(|_, _| {});
        }
        if has_more {
            next().to_table(&MORE, |(product, sum): (String, u64)| (product, Some(sum)));
        } else {
            next().for_each(|_, _| {});
        }
    });
    topology.build().unwrap()
}

fn begun(engine: &Engine) -> Option<u64> {
    let status = engine.dataflow("rows").checkpoints().unwrap();
    status.completed.map(|epoch| epoch.0)
}

/// The others keep their rows; one that comes again begins empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_added_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut model = Model::default();
    let engine = open(data, tables(true, false)).await;
    append(&engine, &sales(1, 30)).await;
    model.add("a", &sales(1, 30));
    until_rows(&engine, &model).await;
    close(engine).await;
    let last = numbers(data).last().unwrap().0;

    let engine = open(data, tables(true, true)).await;
    assert_eq!(begun(&engine), Some(last));
    until_rows(&engine, &model).await;
    assert_eq!(engine.query(&MORE).rows().await.unwrap(), []);
    append(&engine, &sales(2, 30)).await;
    model.add("a", &sales(2, 30));
    until_rows(&engine, &model).await;
    within(engine.dataflow("rows").checkpoint()).await.unwrap();
    let more = engine.query(&MORE).rows().await.unwrap();
    assert!(!more.is_empty());
    close(engine).await;

    // Taken away, and back again before there is a checkpoint without it.
    let engine = open(data, tables(true, false)).await;
    until_rows(&engine, &model).await;
    crash(engine).await;
    let engine = open(data, tables(true, true)).await;
    assert_eq!(engine.query(&MORE).rows().await.unwrap(), more);
    close(engine).await;
    let engine = open(data, tables(true, false)).await;
    within(engine.dataflow("rows").checkpoint()).await.unwrap();
    close(engine).await;
    let last = numbers(data).last().unwrap().0;
    let engine = open(data, tables(true, true)).await;
    assert_eq!(begun(&engine), Some(last));
    until_rows(&engine, &model).await;
    assert_eq!(engine.query(&MORE).rows().await.unwrap(), []);
    close(engine).await;
}

/// A start from an older one has emptied a table that it does not have, and failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_is_refused_once_a_table_of_it_is_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut model = Model::default();
    let engine = open(data, tables(true, false)).await;
    append(&engine, &sales(1, 30)).await;
    model.add("a", &sales(1, 30));
    within(engine.dataflow("rows").savepoint()).await.unwrap();
    close(engine).await;
    let engine = open(data, tables(true, true)).await;
    append(&engine, &sales(2, 30)).await;
    model.add("a", &sales(2, 30));
    within(engine.dataflow("rows").checkpoint()).await.unwrap();
    close(engine).await;
    let last = numbers(data).last().unwrap().0.to_string();
    out(&["checkpoint", "restore", "DATA", "rows", "1"], data);
    let opened = Engine::open(data).run(with_broken()).await;
    opened.map(drop).unwrap_err();
    let refused = error(&["checkpoint", "restore", "DATA", "rows", &last], data);
    assert!(refused.contains("has no copy of the rows"), "{refused}");
    // The savepoint will still do.
    let engine = open(data, tables(true, true)).await;
    assert_eq!(begun(&engine), Some(1));
    until_rows(&engine, &model).await;
    close(engine).await;
}
