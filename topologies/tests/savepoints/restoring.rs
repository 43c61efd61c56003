//! A start from an older checkpoint: tables go back to what they were.

use crate::support::*;

/// Restored under another version of the program, in as many partitions as given: rows that came after the savepoint are
/// gone, rows that were removed are back, and what comes is added to the sums of the savepoint.
async fn restore(partitions: usize, is_crashing: bool) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let engine = open(data, topology("a", options())).await;
    let mut model = Model::default();
    append(&engine, &sales(1, 40)).await;
    model.add("a", &sales(1, 40));
    until_rows(&engine, &model).await;
    let savepoint = within(engine.dataflow("rows").savepoint()).await.unwrap();
    for round in 2..5 {
        append(&engine, &sales(round, 40)).await;
        within(engine.dataflow("rows").checkpoint()).await.unwrap();
    }
    close(engine).await;
    let ordinary = numbers(data)[1].0.to_string();
    let refused = error(&["checkpoint", "restore", "DATA", "rows", &ordinary], data);
    assert!(
        refused.contains("has no copy of the rows of stage \"table rows\""),
        "{refused}"
    );
    let unknown = error(&["checkpoint", "restore", "DATA", "rows", "99"], data);
    assert!(unknown.contains("there is no checkpoint 99"), "{unknown}");
    let number = savepoint.0.to_string();
    let said = out(&["checkpoint", "restore", "DATA", "rows", &number], data);
    assert!(
        said.starts_with("the next start of rows begins from checkpoint 1;"),
        "{said}"
    );
    assert_eq!(numbers(data)[0], (1, true, true));

    let mut options = options();
    options.partitions = partitions;
    for round in 2..5 {
        model.add("b", &sales(round, 40));
    }
    if is_crashing {
        for _ in 0..2 {
            let engine = open(data, topology("b", options.clone())).await;
            until_rows(&engine, &model).await;
            crash(engine).await;
        }
        assert_eq!(numbers(data), [(1, true, true)]);
    }
    let engine = open(data, topology("b", options.clone())).await;
    assert_eq!(
        engine.dataflow("rows").checkpoints().unwrap().completed,
        Some(savepoint)
    );
    until_rows(&engine, &model).await;
    let later = within(engine.dataflow("rows").checkpoint()).await.unwrap();
    assert!(later.0 > 4, "{later}");
    crash(engine).await;
    // The choice is over.
    let engine = open(data, topology("b", options)).await;
    assert_eq!(
        engine.dataflow("rows").checkpoints().unwrap().completed,
        Some(later)
    );
    append(&engine, &sales(6, 40)).await;
    model.add("b", &sales(6, 40));
    until_rows(&engine, &model).await;
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_undoes_what_came_after_it() {
    restore(2, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_undoes_what_came_after_it_in_other_partitions_and_over_crashes() {
    restore(3, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataflow_begins_anew_where_that_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let engine = open(data, topology("a", options())).await;
    append(&engine, &sales(1, 40)).await;
    within(engine.dataflow("rows").savepoint()).await.unwrap();
    close(engine).await;
    out(&["checkpoint", "restore", "DATA", "rows", "--anew"], data);
    let mut model = Model::default();
    model.add("b", &sales(1, 40));
    let engine = open(data, topology("b", options())).await;
    until_rows(&engine, &model).await;
    close(engine).await;
    let last = numbers(data).pop().unwrap();
    assert!(last.0 > 2 && last.2, "{last:?}");
}
