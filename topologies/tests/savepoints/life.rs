//! Savepoints from when they are taken to when they are deleted, by the program beside a running engine.

use std::path::Path;

use millstream::prelude::*;
use millstream_engine::checkpoint::Epoch;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn savepoints_stay_until_they_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let engine = open(data, topology("a", options())).await;
    let rows = engine.dataflow("rows");
    let beside = |words: &'static [&'static str]| {
        let data = data.to_owned();
        tokio::task::spawn_blocking(move || out(words, &data))
    };
    assert_eq!(
        out(&["checkpoint", "list", "DATA"], data),
        "no checkpoints\n"
    );
    append(&engine, &sales(1, 20)).await;
    let create = &["checkpoint", "create", "DATA", "rows", "--json"];
    let created = within(beside(create)).await.unwrap();
    assert_eq!(
        created,
        "{\"dataflow\":\"rows\",\"epoch\":1,\"savepoint\":true}\n"
    );
    for _ in 0..4 {
        append(&engine, &sales(2, 5)).await;
        within(rows.checkpoint()).await.unwrap();
    }
    let savepoint = within(rows.savepoint()).await.unwrap();
    assert_eq!(savepoint.0, 6);
    let expected = [
        (1, true, false),
        (4, false, false),
        (5, false, false),
        (6, true, true),
    ];
    until_numbers(data, &expected).await;
    let text = out(&["checkpoint", "list", "DATA", "rows"], data);
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(
        text.contains("savepoint") && text.contains("table rows/2"),
        "{text}"
    );
    let stages = listed(data)[0]["stages"].clone();
    assert_eq!(stages.as_array().unwrap().len(), 3, "{stages}");

    delete_beside(&engine, data).await;
    close(engine).await;
    let requests = std::fs::read_dir(data.join("requests")).unwrap();
    assert_eq!(requests.count(), 0);
    delete_at_rest(data);
}

/// The last one stays, and so do those that the engine keeps by itself.
async fn delete_beside(engine: &Engine, data: &Path) {
    let rows = engine.dataflow("rows");
    let delete = |epoch: &'static str| {
        let data = data.to_owned();
        tokio::task::spawn_blocking(move || {
            program(&["checkpoint", "delete", "DATA", "rows", epoch], &data)
        })
    };
    for (epoch, why) in [
        ("6", "last checkpoint"),
        ("5", "no savepoint 5"),
        ("9", "no savepoint 9"),
    ] {
        let output = within(delete(epoch)).await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(why), "{error}");
    }
    assert!(within(delete("1")).await.unwrap().status.success());
    assert_eq!(rows.checkpoints().unwrap().savepoints, [Epoch(6)]);
    within(rows.checkpoint()).await.unwrap();
    let expected = [(5, false, false), (6, true, false), (7, false, true)];
    until_numbers(data, &expected).await;
    let other = tokio::task::spawn_blocking({
        let data = data.to_owned();
        move || error(&["checkpoint", "create", "DATA", "columns"], &data)
    });
    assert!(
        within(other)
            .await
            .unwrap()
            .contains("no dataflow \"columns\"")
    );
    let held = error(&["checkpoint", "restore", "DATA", "rows", "6"], data);
    assert!(held.contains("stop the engine first"), "{held}");
}

fn delete_at_rest(data: &Path) {
    let none = error(&["checkpoint", "create", "DATA", "rows"], data);
    assert!(none.contains("no engine runs on"), "{none}");
    let last = numbers(data).last().unwrap().0.to_string();
    let delete = ["checkpoint", "delete", "DATA", "rows", &last];
    let refused = error(&delete, data);
    assert!(
        refused.contains("the next start begins from checkpoint"),
        "{refused}"
    );
    out(&["checkpoint", "delete", "DATA", "rows", "6"], data);
    out(&[&delete[..], &["--force"]].concat(), data);
    assert!(
        numbers(data)
            .iter()
            .all(|(_, is_savepoint, is_next)| !is_savepoint && !is_next)
    );
}

/// A run that takes none forgets checkpoints, but not savepoints; and what is begun then is begun anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_without_checkpoints_leaves_savepoints() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut model = Model::default();
    let engine = open(data, topology("a", options())).await;
    append(&engine, &sales(1, 20)).await;
    model.add("a", &sales(1, 20));
    until_rows(&engine, &model).await;
    within(engine.dataflow("rows").savepoint()).await.unwrap();
    append(&engine, &sales(2, 20)).await;
    close(engine).await;
    assert_eq!(numbers(data), [(1, true, false), (2, false, true)]);
    let mut without = options();
    without.checkpoints = None;
    close(open(data, topology("b", without)).await).await;
    assert_eq!(numbers(data), [(1, true, false)]);
    // Nor does one that has no such dataflow.
    close(open(data, Topology::named("shop").build().unwrap()).await).await;
    assert_eq!(numbers(data), [(1, true, false)]);
    let mut all = Model::default();
    all.add("c", &sales(1, 20));
    all.add("c", &sales(2, 20));
    // Twice: nothing was completed in between.
    for _ in 0..2 {
        let engine = open(data, topology("c", options())).await;
        assert_eq!(
            engine.dataflow("rows").checkpoints().unwrap().completed,
            None
        );
        until_rows(&engine, &all).await;
        crash(engine).await;
    }
    // It can still be restored.
    out(&["checkpoint", "restore", "DATA", "rows", "1"], data);
    model.add("d", &sales(2, 20));
    let engine = open(data, topology("d", options())).await;
    until_rows(&engine, &model).await;
    within(engine.dataflow("rows").checkpoint()).await.unwrap();
    close(engine).await;
    // Its number was not given again.
    assert_eq!(numbers(data).len(), 3);
}
