//! Every suite in small: that it runs, that its results are right, and that its figures exist. Never a time.

use millstream_benches::{Case, Harness, Options, Suite, suites};

fn harness(suite: Suite, seconds: f64) -> (Harness, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let options = Options {
        seconds,
        data: Some(folder.path().join("data")),
        partitions: Some(2),
        ..Options::of(suite)
    };
    (Harness::tiny(options), folder)
}

/// What is there, and above zero.
fn positive(case: &Case, keys: &[&str]) {
    for key in keys {
        let value = case.get(key);
        assert!(value > Some(0.0), "{key} is {value:?} in {}", case.json());
    }
}

fn names(cases: &[Case]) -> Vec<&str> {
    cases.iter().map(Case::name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands() {
    let (harness, folder) = harness(Suite::Commands, 0.05);
    suites::commands::run(&harness, suites::commands::TINY)
        .await
        .unwrap();
    let cases = harness.cases();
    assert_eq!(cases.len(), 10, "{:?}", names(&cases));
    for case in &cases {
        positive(
            case,
            &[
                "commands_per_second",
                "p50_us",
                "p99_us",
                "p9999_us",
                "fdatasync_us",
                "disk_mb_per_second",
                "partitions",
                "keys",
            ],
        );
    }
    let data = folder.path().join("data");
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);
}
