//! Files and channels at both ends of dataflows.

use std::time::Duration;

use millstream::dataflow::{
    Collected, Dataflow, DataflowFault, Driver, Files, Flow, FlowOptions, Generate, Received,
};
use millstream::{Topology, TopologyFault};
use millstream_engine::checkpoint::InMemory;
use millstream_engine::flow::{Ascending, Resources};
use millstream_engine::time::Timestamp;
use millstream_operators::function::count;
use millstream_operators::sink::FileSinkOptions;
use millstream_operators::window::Tumbling;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Sale {
    second: i64,
    product: String,
}

fn sale(second: i64, product: &str) -> Sale {
    let product = product.to_owned();
    Sale { second, product }
}

fn options() -> FlowOptions {
    FlowOptions {
        partitions: 2,
        ..FlowOptions::default()
    }
}

/// What is written is what is read, by rows per file and partition.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dataflow_writes_another_reads() {
    let folder = tempfile::tempdir().unwrap();
    for csv in [false, true] {
        let files = FileSinkOptions {
            rows_max: 300,
            ..FileSinkOptions::new(folder.path().join(format!("csv-{csv}")), "sales")
        };
        let at = files.folder.clone();
        let flow = Dataflow::build_with("write", options(), |flow| {
            let sales = Generate::each(|split, splits| {
                let seconds = (0..1_000).skip(split).step_by(splits);
                seconds.map(|second| sale(second, "tea, \"green\""))
            });
            let sales = flow.source("sales", sales).stream();
            if csv {
                sales.to_csv(files.clone());
            } else {
                sales.to_json_lines(files.clone());
            }
        });
        flow.unwrap().run().await.unwrap();
        let names = std::fs::read_dir(&at).unwrap();
        let mut paths: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert_eq!(paths.len(), 4, "{paths:?}");
        let mut read: Option<Collected<Sale>> = None;
        let flow = Dataflow::build_with("read", options(), |flow| {
            if csv {
                let files = paths[1..].iter().fold(Files::csv(&paths[0]), Files::and);
                read = Some(flow.source("sales", files).stream().collect());
            } else {
                let files = paths[1..]
                    .iter()
                    .fold(Files::json_lines(&paths[0]), Files::and);
                read = Some(flow.source("sales", files).stream().collect());
            }
        });
        flow.unwrap().run().await.unwrap();
        let mut found = read.unwrap().take_items();
        found.sort();
        let expected: Vec<_> = (0..1_000)
            .map(|second| sale(second, "tea, \"green\""))
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn bad_lines_go_to_a_side_output_and_windows_count_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales.csv");
    std::fs::write(&path, "second,product\n1,tea\nx,tea\n2,tea\n61,milk\n").unwrap();
    let (mut counts, mut bad) = (None, None);
    let flow = Dataflow::build_with("sales", options(), |flow| {
        let bad_lines = flow.side_output("bad lines");
        let sales = Files::csv(&path)
            .time(|sale: &Sale| Timestamp::from_seconds(sale.second))
            .keep_bad_lines();
        let sales = flow.source("sales", sales).watermarks(Ascending::new());
        let sales = sales.stream().errors_to(&bad_lines);
        let minutes = Tumbling::of(Duration::from_secs(60));
        let keyed = sales.key_by(|sale: &Sale| sale.product.clone());
        counts = Some(keyed.window(minutes).aggregate(count()).collect());
        bad = Some(flow.side(&bad_lines).collect());
    });
    let mut driver = Driver::new(flow.unwrap()).unwrap();
    driver.run().unwrap();
    assert!(driver.is_ended());
    let mut counts: Vec<_> = counts.unwrap().take_items();
    counts.sort_by_key(|window| window.value);
    let counts: Vec<_> = counts
        .iter()
        .map(|window| (window.key.as_str(), window.value))
        .collect();
    assert_eq!(counts, [("milk", 1), ("tea", 2)]);
    let bad = bad.unwrap().take_items();
    assert_eq!(bad.len(), 1);
    assert_eq!((bad[0].line, bad[0].field.as_deref()), (3, Some("second")));
}

#[test]
fn a_side_output_for_bad_lines_that_nobody_reads_is_a_fault() {
    let invalid = Dataflow::build("sales", |flow| {
        let bad_lines = flow.side_output("bad lines");
        let sales = Files::<Sale, _>::csv("sales.csv").keep_bad_lines();
        let sales = flow.source("sales", sales).stream();
        sales.errors_to(&bad_lines).for_each(|_, _| {});
    });
    let label = "bad lines".to_owned();
    assert_eq!(
        invalid.unwrap_err().faults,
        [DataflowFault::NotRead { label }]
    );
}

#[test]
fn a_bad_line_fails_the_dataflow_unless_it_is_asked_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales.jsonl");
    std::fs::write(
        &path,
        "{\"second\":1,\"product\":\"tea\"}\n{\"second\":1}\n",
    )
    .unwrap();
    let flow = Dataflow::build("sales", |flow| {
        let sales = flow.source("sales", Files::<Sale, _>::json_lines(&path));
        sales.stream().for_each(|_, _| {});
    });
    let failure = Driver::new(flow.unwrap()).unwrap().run().unwrap_err();
    assert!(failure.cause.contains("sales.jsonl, line 2"), "{failure}");
    let mut read = None;
    let flow = Dataflow::build("sales", |flow| {
        let sales = Files::<Sale, _>::json_lines(&path).skip_bad_lines();
        read = Some(flow.source("sales", sales).stream().collect());
    });
    Driver::new(flow.unwrap()).unwrap().run().unwrap();
    assert_eq!(read.unwrap().take_items(), [sale(1, "tea")]);
}

#[test]
fn a_file_that_is_followed_is_looked_at_again_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales.csv");
    std::fs::write(&path, "second,product\n1,tea\n2,mi").unwrap();
    let mut read = None;
    let flow = Dataflow::build("sales", |flow| {
        let sales = Files::<Sale, _>::csv(&path).follow();
        read = Some(flow.source("sales", sales).stream().collect());
    });
    let read = read.unwrap();
    let mut driver = Driver::new(flow.unwrap()).unwrap();
    driver.run().unwrap();
    assert_eq!(read.take_items(), [sale(1, "tea")]);
    std::fs::write(&path, "second,product\n1,tea\n2,milk\n").unwrap();
    driver.run().unwrap();
    assert!(read.is_empty());
    driver.advance(Duration::from_millis(200)).unwrap();
    assert_eq!(read.take_items(), [sale(2, "milk")]);
    assert!(!driver.is_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_bounded_at_both_ends() {
    let (sender, numbers) = Received::channel(4);
    let (output, mut doubled) = tokio::sync::mpsc::channel(4);
    let flow = Dataflow::build_with("double", options(), |flow| {
        let numbers = flow.source("numbers", numbers).stream();
        numbers
            .rebalance(2)
            .map(|number: u64| number * 2)
            .to_channel(output);
    });
    let handle = flow.unwrap().start().await.unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..5_000u64 {
            sender.send(number).await.unwrap();
        }
    });
    let mut found = Vec::new();
    while let Some(number) = doubled.recv().await {
        found.push(number);
    }
    sending.await.unwrap();
    handle.wait().await.unwrap();
    found.sort_unstable();
    assert_eq!(
        found,
        (0..5_000).map(|number| number * 2).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_fails_the_dataflow() {
    let (output, doubled) = tokio::sync::mpsc::channel(4);
    drop(doubled);
    let flow = Dataflow::build_with("double", options(), |flow| {
        let numbers = flow.source("numbers", Generate::each(|_, _| 0..10u64));
        numbers.stream().to_channel(output);
    });
    let error = flow.unwrap().run().await.unwrap_err();
    assert!(
        error.to_string().contains("receiver of a channel is gone"),
        "{error}"
    );
}

/// A pipe that nobody writes to holds neither a thread of the runtime nor the stop.
#[cfg(unix)]
#[tokio::test]
async fn a_pipe_without_a_writer_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let read = |path: &std::path::Path| {
        let mut read = None;
        let flow = Dataflow::build_with("read", options(), |flow| {
            let lines = Files::<Sale, _>::csv(path);
            read = Some(flow.source("sales", lines).stream().collect());
        });
        (flow.unwrap(), read.unwrap())
    };
    let bound = Duration::from_secs(300);
    let (flow, _) = read(&path);
    let handle = flow.start().await.unwrap();
    let stopped = tokio::time::timeout(bound, handle.stop());
    stopped.await.expect("it hangs").unwrap();
    // With a writer that stays: lines come, and a stop does as well. The reader of before takes nothing: it ends at the
    // first piece.
    let path = folder.path().join("another");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let (flow, found) = read(&path);
    let handle = flow.start().await.unwrap();
    let opened = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(path))
    };
    let mut pipe = opened.await.unwrap().unwrap();
    std::io::Write::write_all(&mut pipe, b"second,product\n1,tea\n2,mi").unwrap();
    let come = async {
        while found.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(bound, come).await.expect("it hangs");
    assert_eq!(found.take_items(), [sale(1, "tea")]);
    let stopped = tokio::time::timeout(bound, handle.stop());
    stopped.await.expect("it hangs").unwrap();
    drop(pipe);
}

/// The story: a file was known by its place in the list alone. A place that another one had taken was taken for a renaming, so that
/// the file of before was read to its end there, and once more from its beginning in its new place.
#[test]
fn files_that_are_followed_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let storage = InMemory::default();
    let add = |name: &str, sale: &Sale| {
        let path = folder.path().join(name);
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        let line = format!("{}\n", serde_json::to_string(sale).unwrap());
        std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    };
    let begin = |names: &[&str]| {
        let paths: Vec<_> = names.iter().map(|name| folder.path().join(name)).collect();
        let first = Files::<Sale, _>::json_lines(&paths[0]).follow();
        let files = paths[1..].iter().fold(first, Files::and);
        let (flow, given) = Dataflow::declare_with("read", options(), |flow| {
            flow.source("sales", files).stream().collect()
        })
        .unwrap();
        let driver = Driver::with_checkpoints(flow, 1, Resources::new(), storage.clone());
        driver.map(|driver| (driver, given))
    };
    let sorted = |given: &Collected<Sale>| {
        let mut items = given.take_items();
        items.sort();
        items
    };
    add("a", &sale(1, "tea"));
    add("c", &sale(2, "milk"));
    let (mut driver, given) = begin(&["a", "c"]).unwrap();
    driver.run().unwrap();
    assert_eq!(sorted(&given), [sale(1, "tea"), sale(2, "milk")]);
    driver.stop().unwrap();
    drop(driver);

    add("a", &sale(3, "tea"));
    add("b", &sale(4, "bread"));
    add("c", &sale(5, "milk"));
    for names in [&["c", "a"][..], &["a", "b", "c"]] {
        let error = begin(names).unwrap_err().to_string();
        assert!(error.contains("in the order that they had"), "{error}");
    }
    // A new one behind them, and one that is another file by now.
    std::fs::rename(folder.path().join("a"), folder.path().join("d")).unwrap();
    let (mut driver, given) = begin(&["d", "c", "b"]).unwrap();
    driver.run().unwrap();
    let expected = [sale(3, "tea"), sale(4, "bread"), sale(5, "milk")];
    assert_eq!(sorted(&given), expected);
}

/// The story: such sinks were taken, and overwrote and deleted each other's files.
#[test]
fn sinks_have_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let known = folder.path().canonicalize().unwrap();
    let invalid = Dataflow::build("twice", |flow| {
        let (one, two) = flow.items(0..3_u64).stream().split(|_| true);
        one.stage_named("first")
            .to_json_lines(FileSinkOptions::new(folder.path(), "rows"));
        // Another format, and the folder by another name.
        two.stage_named("second")
            .to_csv(FileSinkOptions::new(folder.path().join("."), "rows"));
        let other = flow.items(0..3_u64).stream();
        other.to_csv(FileSinkOptions::new(folder.path(), "others"));
    })
    .unwrap_err();
    let expected = DataflowFault::SameFiles {
        folder: known.clone(),
        prefix: "rows".to_owned(),
        first: "first".to_owned(),
        second: "second".to_owned(),
    };
    assert_eq!(invalid.faults, [expected]);
    let declare = |flow: &Flow| {
        let rows = flow.items(0..3_u64).stream();
        rows.to_csv(FileSinkOptions::new(folder.path(), "rows"));
    };
    let topology = Topology::named("files")
        .dataflow("one", declare)
        .dataflow("another", declare);
    let expected = TopologyFault::SameFiles {
        folder: known,
        prefix: "rows".to_owned(),
        first: "one".to_owned(),
        second: "another".to_owned(),
    };
    assert_eq!(topology.build().unwrap_err().faults, [expected]);
}
