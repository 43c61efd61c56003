//! Tables that were made anew, or go on, whatever became of the start: no checkpoint that does not have their rows is begun
//! from afterwards.

use millstream::prelude::*;
use millstream_operators::keyed::Ttl;
use millstream_operators::sink::FileSinkOptions;

use crate::support::*;

/// With files in this folder, beside the table.
fn with_files(folder: &std::path::Path) -> Topology {
    let files = FileSinkOptions::new(folder.join("files"), "sales");
    let topology = Topology::named("shop").dataflow_with("rows", options(), |flow| {
        let sales = flow.events::<Sale>().category("sale").stream();
        let mut shared = sales.share(2).into_iter();
        let mut next = || shared.next().unwrap();
        next().to_json_lines(files);
        let sums = next()
            .key_by(|sale: &Sale| sale.product.clone())
            .named("sums");
        let sums = sums.fold(Ttl::Never, 0_u64, |sum: &mut u64, sale: &Sale| {
            *sum += sale.cents;
        });
        sums.to_table(&ROWS, |(product, sum): (String, u64)| {
            (format!("a:{product}"), is_shown(sum).then_some(sum))
        });
    });
    topology.build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_has_emptied_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let engine = open(data, with_files(data)).await;
    append(&engine, &sales(1, 40)).await;
    within(engine.dataflow("rows").checkpoint()).await.unwrap();
    close(engine).await;
    let last = numbers(data).last().unwrap().0.to_string();
    let restore = ["checkpoint", "restore", "DATA", "rows"];
    // Nothing has begun yet: it may be taken back.
    out(&[&restore[..], &["--anew"]].concat(), data);
    out(&[&restore[..], &[last.as_str()]].concat(), data);
    out(&[&restore[..], &["--anew"]].concat(), data);
    let (files, away) = (data.join("files"), data.join("away"));
    std::fs::rename(&files, &away).unwrap();
    std::fs::write(&files, "in the way").unwrap();
    let opened = Engine::open(data).run(with_files(data)).await.map(drop);
    opened.unwrap_err();
    let refused = error(&[&restore[..], &[last.as_str()]].concat(), data);
    assert!(refused.contains("has no copy of the rows"), "{refused}");
    std::fs::remove_file(&files).unwrap();
    let engine = open(data, with_files(data)).await;
    let mut model = Model::default();
    model.add("a", &sales(1, 40));
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
    let mut model = Model::default();
    model.add("a", &sales(1, 40));
    let engine = open(data, topology("b", options())).await;
    until_rows(&engine, &model).await;
    close(engine).await;
}
