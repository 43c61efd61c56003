//! File sinks of one dataflow that swap their folders between two runs.

use millstream::dataflow::{Dataflow, Driver, Feed, StartDataflowError};
use millstream_engine::checkpoint::InMemory;
use millstream_engine::flow::Resources;
use millstream_operators::sink::FileSinkOptions;

use crate::engine::support::within;
use crate::support::{one_with_checkpoints, seconds};

/// Goal: none deletes what another one has begun. Method: the process dies while both have begun a file; then a stop, after
/// which all files have their names.
#[tokio::test]
async fn sinks_swap_their_folders_once_no_file_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (feed, storage) = (Feed::new(1), InMemory::default());
    let start = |names: [&str; 2]| -> Result<Driver, StartDataflowError> {
        let flow = Dataflow::build_with("swapping", one_with_checkpoints(), |flow| {
            let numbers = flow.source("numbers", feed.clone()).stream();
            for (branch, name) in numbers.share(2).into_iter().zip(names) {
                let files = FileSinkOptions::new(folder.path().join(name), "rows");
                branch.to_json_lines(files);
            }
        });
        Driver::with_checkpoints(flow.unwrap(), 1, Resources::new(), storage.clone())
    };
    let mut driver = start(["one", "two"]).unwrap();
    (0..3i64).for_each(|number| feed.push(0, seconds(number), number));
    within(driver.settle()).await.unwrap();
    driver.ask_for_checkpoint();
    within(driver.settle()).await.unwrap();
    assert!(driver.checkpoints().unwrap().completed.is_some());
    drop(driver);

    let error = start(["two", "one"]).map(drop).unwrap_err().to_string();
    assert!(error.contains(".rows-000-000000.jsonl.part"), "{error}");
    assert!(error.contains("another folder or prefix"), "{error}");
    let mut driver = start(["one", "two"]).unwrap();
    driver.begin_stop();
    within(driver.wait()).await.unwrap();
    drop(driver);

    let mut driver = start(["two", "one"]).unwrap();
    feed.push(0, seconds(3), 3);
    within(driver.settle()).await.unwrap();
    driver.begin_stop();
    within(driver.wait()).await.unwrap();
    for name in ["one", "two"] {
        for (number, text) in ["0\n1\n2\n", "3\n"].into_iter().enumerate() {
            let file = format!("{name}/rows-000-{number:06}.jsonl");
            let read = std::fs::read_to_string(folder.path().join(&file));
            assert_eq!(read.unwrap(), text, "{file}");
        }
    }
}
