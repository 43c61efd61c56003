//! A start from an older checkpoint: tables go back to what they were.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millstream::prelude::*;
use millstream_operators::sink::FileSinkOptions;

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

/// Taken out of a data folder, and in again after it was deleted there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_comes_back_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let file = data.join("rows.checkpoint").to_str().unwrap().to_owned();
    let mut model = Model::default();
    let engine = open(data, topology("a", options())).await;
    append(&engine, &sales(1, 40)).await;
    model.add("a", &sales(1, 40));
    until_rows(&engine, &model).await;
    within(engine.dataflow("rows").savepoint()).await.unwrap();
    append(&engine, &sales(2, 40)).await;
    within(engine.dataflow("rows").checkpoint()).await.unwrap();
    let ordinary = error(&["checkpoint", "export", "DATA", "rows", "2", &file], data);
    assert!(ordinary.contains("only savepoints have one"), "{ordinary}");
    // Beside the engine.
    out(&["checkpoint", "export", "DATA", "rows", "1", &file], data);
    close(engine).await;
    out(&["checkpoint", "delete", "DATA", "rows", "1"], data);

    let restore = ["checkpoint", "restore", "DATA", "rows", "--from"];
    let before = numbers(data);
    let bytes = std::fs::read(&file).unwrap();
    let broken = data.join("broken.checkpoint");
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let cut = error(&[&restore[..], &[broken.to_str().unwrap()]].concat(), data);
    assert!(cut.contains("is cut off after"), "{cut}");
    let other = ["checkpoint", "restore", "DATA", "columns", "--from", &file];
    let other = error(&other, data);
    assert!(
        other.contains("of dataflow \"rows\", not of \"columns\""),
        "{other}"
    );
    assert_eq!(numbers(data), before);
    out(&[&restore[..], &[file.as_str()]].concat(), data);
    let taken_in = *numbers(data).last().unwrap();
    assert!(taken_in.0 > before.last().unwrap().0 && taken_in.1 && taken_in.2);
    model.add("b", &sales(2, 40));
    let engine = open(data, topology("b", options())).await;
    until_rows(&engine, &model).await;
    close(engine).await;
}

/// Rows in files that are complete.
fn rows_in(files: &Path) -> usize {
    let files = std::fs::read_dir(files).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let named = paths.filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let rows = named.map(|path| std::fs::read_to_string(path).unwrap().lines().count());
    rows.sum()
}

/// Names and bytes of all files, hidden ones as well. One that gets another name meanwhile may be missing.
fn all_files(files: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(files).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        bytes => Some((path, bytes.unwrap())),
    };
    paths.filter_map(read).collect()
}

/// Waits until there are so many rows in all files.
async fn until_written(files: &Path, rows: usize) {
    let lines = |bytes: Vec<u8>| bytes.iter().filter(|&&byte| byte == b'\n').count();
    let count = || all_files(files).into_values().map(lines).sum::<usize>();
    within(async {
        while !files.is_dir() || count() != rows {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Files that have their names would be written once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_there_already_are_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let files = data.join("files");
    let topology = || {
        let files = FileSinkOptions {
            rows_max: 10,
            ..FileSinkOptions::new(&files, "sales")
        };
        let topology = Topology::named("shop").dataflow_with("rows", options(), |flow| {
            let sales = flow.events::<Sale>().category("sale").stream();
            sales.to_json_lines(files);
        });
        topology.build().unwrap()
    };
    let rows = || rows_in(&files);
    let engine = open(data, topology()).await;
    append(&engine, &sales(1, 50)).await;
    within(engine.dataflow("rows").savepoint()).await.unwrap();
    append(&engine, &sales(2, 100)).await;
    until_written(&files, 150).await;
    close(engine).await;
    let all = rows();
    out(&["checkpoint", "restore", "DATA", "rows", "1"], data);
    let opened = Engine::open(data).run(topology()).await.map(drop);
    let error = opened.unwrap_err().to_string();
    assert!(
        error.contains("it was completed after the checkpoint"),
        "{error}"
    );
    // Nothing was touched: another choice does.
    assert_eq!(rows(), all);
    let last = numbers(data).last().unwrap().0.to_string();
    out(&["checkpoint", "restore", "DATA", "rows", &last], data);
    let engine = open(data, topology()).await;
    append(&engine, &sales(3, 30)).await;
    until_written(&files, all + 30).await;
    close(engine).await;
    assert_eq!(rows(), all + 30);
}

/// Whoever does what the error says begins from a savepoint in the middle of a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_completed_since_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let files = data.join("files");
    let topology = || {
        let files = FileSinkOptions::new(&files, "sales");
        let topology = Topology::named("shop").dataflow_with("rows", options(), |flow| {
            let sales = flow.events::<Sale>().category("sale").stream();
            sales.to_json_lines(files);
        });
        topology.build().unwrap()
    };
    let engine = open(data, topology()).await;
    append(&engine, &sales(1, 50)).await;
    until_written(&files, 50).await;
    within(engine.dataflow("rows").savepoint()).await.unwrap();
    append(&engine, &sales(2, 100)).await;
    until_written(&files, 150).await;
    close(engine).await;
    out(&["checkpoint", "restore", "DATA", "rows", "1"], data);
    let opened = Engine::open(data).run(topology()).await.map(drop);
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("rename it to"), "{error}");
    // One of each partition.
    for complete in all_files(&files).into_keys() {
        let name = complete.file_name().unwrap().to_str().unwrap();
        std::fs::rename(&complete, files.join(format!(".{name}.part"))).unwrap();
    }
    let engine = open(data, topology()).await;
    // So many that they are not there before the files are cut.
    append(&engine, &sales(3, 10)).await;
    until_written(&files, 160).await;
    close(engine).await;
    assert_eq!(rows_in(&files), 160);
}

/// One sink refuses to begin: the files of the others are as they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_refused_touches_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (first, second) = (data.join("first"), data.join("second"));
    let topology = || {
        let options_of = |files: &Path| FileSinkOptions::new(files, "sales");
        let (first, second) = (options_of(&first), options_of(&second));
        let topology = Topology::named("shop").dataflow_with("rows", options(), |flow| {
            let sales = || flow.events::<Sale>().category("sale").stream();
            sales().stage_named("first").to_json_lines(first);
            sales().stage_named("second").to_json_lines(second);
        });
        topology.build().unwrap()
    };
    let engine = open(data, topology()).await;
    append(&engine, &sales(1, 50)).await;
    until_written(&first, 50).await;
    until_written(&second, 50).await;
    within(engine.dataflow("rows").savepoint()).await.unwrap();
    crash(engine).await;
    let before = all_files(&first);
    let (begun, bytes) = all_files(&second).pop_first().unwrap();
    for path in before.keys() {
        // What a start from the checkpoint would cut off and delete.
        let mut longer = before[path].clone();
        longer.extend_from_slice(b"half a row");
        std::fs::write(path, longer).unwrap();
    }
    std::fs::write(first.join(".sales-000-000900.jsonl.part"), "more").unwrap();
    let before = all_files(&first);
    std::fs::write(&begun, &bytes[..bytes.len() - 1]).unwrap();
    let opened = Engine::open(data).run(topology()).await.map(drop);
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("the checkpoint has"), "{error}");
    assert_eq!(all_files(&first), before);
    std::fs::write(&begun, bytes).unwrap();
    close(open(data, topology()).await).await;
    assert_eq!((rows_in(&first), rows_in(&second)), (50, 50));
}
