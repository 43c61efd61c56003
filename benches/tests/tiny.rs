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
        .expect("the suite runs");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append() {
    let (harness, _folder) = harness(Suite::Append, 0.05);
    suites::append::run(&harness, suites::append::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    assert_eq!(
        names(&cases),
        [
            "appender",
            "store",
            "store-groups",
            "frames",
            "frame-groups"
        ]
    );
    for case in &cases {
        positive(case, &["events_per_second", "mb_per_second", "of_disk"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuild() {
    let (harness, _folder) = harness(Suite::Rebuild, 0.05);
    suites::rebuild::run(&harness, suites::rebuild::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    assert_eq!(names(&cases), ["all", "tenth", "hundredth", "live"]);
    for case in &cases[..3] {
        positive(case, &["events_per_second", "wanted_per_second"]);
    }
    positive(&cases[3], &["alone_per_second", "beside_per_second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay() {
    let (harness, _folder) = harness(Suite::Replay, 0.05);
    suites::replay::run(&harness, suites::replay::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    let expected = [
        "bare",
        "balances",
        "global-balances",
        "routed-balances",
        "poison-1pct",
        "poison-1pct-panics",
        "poison-hung-beside",
    ];
    assert_eq!(names(&cases), expected);
    for case in &cases[..4] {
        positive(case, &["events_per_second", "events_per_core_second"]);
    }
    for case in &cases[4..] {
        positive(case, &["of_plain", "events_per_second"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery() {
    let (harness, _folder) = harness(Suite::Recovery, 0.05);
    let sizes = suites::recovery::tiny(env!("CARGO_BIN_EXE_millstream-benches"));
    suites::recovery::run(&harness, &sizes)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    assert_eq!(names(&cases), ["clean", "killed", "state-deleted"]);
    for case in &cases {
        positive(case, &["first_answer_seconds", "open_seconds"]);
    }
}

#[test]
fn query() {
    let (harness, _folder) = harness(Suite::Query, 0.01);
    suites::query::run(&harness, &suites::query::TINY).expect("the suite runs");
    let cases = harness.cases();
    let kinds = ["get", "get-many", "page", "by-index", "snapshot"];
    let expected = ["hot", "fresh", "cold"].iter();
    let expected = expected.flat_map(|rows| kinds.iter().map(move |kind| format!("{kind}-{rows}")));
    assert_eq!(names(&cases), expected.collect::<Vec<_>>());
    for case in &cases {
        positive(
            case,
            &["queries_per_second", "rows_per_second", "ns_per_query"],
        );
    }
}

#[test]
fn versions() {
    let (harness, _folder) = harness(Suite::Query, 0.01);
    suites::versions::run(&harness, suites::versions::TINY).expect("the suite runs");
    let cases = harness.cases();
    let expected = [
        "write-plain",
        "write-versioned",
        "row-at",
        "history",
        "table-at",
        "changes",
    ];
    assert_eq!(names(&cases), expected);
    for case in &cases[..2] {
        positive(case, &["events_per_second", "ns_per_event"]);
    }
    for case in &cases[2..] {
        positive(case, &["queries_per_second", "items_per_second"]);
    }
}

/// What so few accounts take is lost in the noise of everything else: only what is certain is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    let (harness, _folder) = harness(Suite::Memory, 0.05);
    suites::memory::run(&harness, suites::memory::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    assert_eq!(names(&cases), ["idle-accounts"]);
    positive(&cases[0], &["state_bytes", "resident_mb"]);
    assert!(cases[0].get("bytes_per_item").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models() {
    let (harness, _folder) = harness(Suite::Models, 0.05);
    suites::models::run(&harness, suites::models::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    for part in [
        "batch-",
        "bloom-",
        "amplification-",
        "reading-",
        "conflicts-",
        "waiting-",
    ] {
        let found = names(&cases)
            .iter()
            .filter(|name| name.starts_with(part))
            .count();
        assert!(found > 0, "no case of {part} in {:?}", names(&cases));
    }
    for case in &cases {
        let pair = |suffix| case.figures().find(|(key, _)| key.ends_with(suffix));
        for suffix in ["_expected", "_measured"] {
            let (key, value) = pair(suffix).expect("a formula and a measurement");
            assert!(value >= 0.0, "{key} is {value} in {}", case.json());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nexmark() {
    let (harness, _folder) = harness(Suite::Nexmark, 0.05);
    suites::nexmark::run(&harness, suites::nexmark::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    assert!(names(&cases).contains(&"keyed"), "{:?}", names(&cases));
    assert!(cases.len() > 1, "{:?}", names(&cases));
    for case in &cases {
        positive(case, &["results", "events_per_second", "seconds"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dataflow() {
    let (harness, _folder) = harness(Suite::Dataflow, 0.2);
    suites::dataflow::run(&harness, suites::dataflow::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    let count = |part: &str| {
        let found = cases.iter().filter(|case| case.name().starts_with(part));
        found.count()
    };
    for (part, number) in [("sliding-", 8), ("batch-", 8), ("latency-", 9)] {
        assert_eq!(count(part), number, "{part} in {:?}", names(&cases));
    }
    // What does not get faster can be told only where there is more than one core.
    let many_cores = cases[0].get("cores") > Some(1.0);
    let partitions = if many_cores { 6 } else { 5 };
    assert_eq!(count("partitions-"), partitions, "{:?}", names(&cases));
    for case in &cases {
        let keys: &[&str] = match case.name() {
            "partitions-amdahl" => {
                assert!(case.get("amdahl_f").is_some(), "{}", case.json());
                continue;
            }
            "state-50m" => &["resident_mb_max", "sessions"],
            "slow-sink" => &["in_flight_max", "of_sink"],
            "batch-chosen" => &["of_best", "core_of_best", "best_items", "core_best_items"],
            name if name.starts_with("sliding-") => &["results_per_event", "core_ns_per_event"],
            name if name.starts_with("failing-") => &["of_plain", "of_plain_low"],
            name if name.starts_with("latency-") => {
                &["results", "p50_us", "p99_us", "p9999_us", "source_p99_us"]
            }
            _ => &[],
        };
        positive(case, keys);
        positive(case, &["events_per_second", "events_per_core_second"]);
    }
    let state = cases.iter().find(|case| case.name() == "state-50m");
    let json = state.expect("the case of state").json();
    let length = |key: &str| json[key].as_array().map_or(0, Vec::len);
    assert!(length("at_events") > 1, "{json}");
    assert_eq!(length("at_events"), length("state_items"));
    assert_eq!(length("at_events"), length("resident_mb"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints() {
    let (harness, _folder) = harness(Suite::Checkpoints, 0.05);
    suites::checkpoints::run(&harness, suites::checkpoints::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    assert_eq!(
        names(&cases),
        ["q5", "q8", "q4", "large", "larger_than_memory"]
    );
    for case in &cases[..3] {
        positive(case, &["of_without", "checkpoints", "stored_bytes"]);
    }
    let large = &cases[3];
    positive(large, &["whole_ms", "changed_ms", "recovery_seconds"]);
    // What has changed, as much again, and what names it.
    let share = large.get("changed_bytes_of_whole");
    assert!(share > Some(0.01) && share < Some(0.04), "{share:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timetravel() {
    let (harness, _folder) = harness(Suite::Timetravel, 0.05);
    suites::timetravel::run(&harness, suites::timetravel::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    assert_eq!(cases.len(), 3 * 4 + 3 + 1 + 2, "{:?}", names(&cases));
    for case in &cases {
        if case.name().starts_with("tables-") {
            positive(case, &["events_per_second", "seconds"]);
        } else {
            positive(case, &["p50_us", "p99_us", "questions"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projection() {
    let (harness, _folder) = harness(Suite::Projection, 0.05);
    suites::projection::run(&harness, suites::projection::TINY)
        .await
        .expect("the suite runs");
    let cases = harness.cases();
    assert_eq!(
        names(&cases),
        ["live-balances", "live-global", "live-appended", "at-least"]
    );
    for case in &cases[..3] {
        positive(
            case,
            &["events_per_second", "events", "stored_after_max_ms"],
        );
    }
    positive(&cases[3], &["asked", "shown_p99_us", "at_least_p99_us"]);
}
