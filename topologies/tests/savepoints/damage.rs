//! A damaged checkpoint is passed over; tables hold what the one that is begun from says, all the same.

use std::ops::Bound;
use std::path::Path;

use millstream_engine::state::{StateBatch, StateOptions, StateStore, StateWrite};

use crate::support::*;

#[derive(Clone, Copy, Debug)]
enum Damaged {
    Manifest,
    Part,
}

/// Damages the newest checkpoint.
fn damage(data: &Path, what: Damaged) {
    let newest = numbers(data).last().unwrap().0.to_be_bytes();
    let options = StateOptions {
        map_bytes_max: 8 << 30,
        preallocate_step_bytes: 1 << 20,
        ..StateOptions::default()
    };
    let (store, writer) = StateStore::open(&data.join("state"), options).unwrap();
    let (writer, thread) = millstream_engine::state::start(writer).unwrap();
    let tables = store.projection("checkpoints rows", 1).unwrap().unwrap();
    let write = match what {
        Damaged::Manifest => StateWrite::PutRow {
            table: tables.table("manifests").unwrap(),
            key: newest.to_vec(),
            value: vec![1, 0xc1, 7],
        },
        Damaged::Part => {
            let table = tables.table("parts").unwrap();
            let keys = store.keys(table, Bound::Included(&newest), 1).unwrap();
            let key = keys.into_iter().next().unwrap();
            StateWrite::DeleteRow { table, key }
        }
    };
    writer.try_submit(StateBatch::new(vec![write])).unwrap();
    writer.flush().unwrap();
    thread.close().unwrap();
}

/// `has_savepoint`: there is an older one that can be begun from.
async fn pass_over(what: Damaged, has_savepoint: bool) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut model = Model::default();
    let engine = open(data, topology("a", options())).await;
    let rows = engine.dataflow("rows");
    append(&engine, &sales(1, 30)).await;
    model.add("a", &sales(1, 30));
    until_rows(&engine, &model).await;
    if has_savepoint {
        within(rows.savepoint()).await.unwrap();
    }
    for round in 2..5 {
        append(&engine, &sales(round, 30)).await;
        within(rows.checkpoint()).await.unwrap();
    }
    crash(engine).await;
    damage(data, what);
    // What is computed now is told from what was computed before.
    if !has_savepoint {
        model = Model::default();
        model.add("b", &sales(1, 30));
    }
    for round in 2..5 {
        model.add("b", &sales(round, 30));
    }
    let engine = open(data, topology("b", options())).await;
    let begun = engine.dataflow("rows").checkpoints().unwrap().completed;
    assert_eq!(
        begun.map(|epoch| epoch.0),
        has_savepoint.then_some(1),
        "{what:?}"
    );
    until_rows(&engine, &model).await;
    within(engine.dataflow("rows").checkpoint()).await.unwrap();
    crash(engine).await;
    let engine = open(data, topology("b", options())).await;
    until_rows(&engine, &model).await;
    close(engine).await;
}

/// The one before the damaged one has not all rows of the table, which have gone on: a savepoint has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_go_back_to_a_savepoint() {
    pass_over(Damaged::Manifest, true).await;
    pass_over(Damaged::Part, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_made_anew_where_there_is_no_savepoint() {
    pass_over(Damaged::Manifest, false).await;
    pass_over(Damaged::Part, false).await;
}
