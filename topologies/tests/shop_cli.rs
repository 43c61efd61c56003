//! The binary itself: what it prints, its exit status, and how it ends on a signal.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cli.rs"]
mod cli;
#[cfg(unix)]
#[path = "support/served.rs"]
mod served;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;

use cli::{events, millstream};
#[cfg(unix)]
use served::Served;

fn output(words: &[&str]) -> Output {
    millstream(words).output().unwrap()
}

fn dirt_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/shop_dirt.csv")
}

fn dirt() -> String {
    std::fs::read_to_string(dirt_file()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Goal: scripts find one JSON object in the last line, with counts, rates and all checks true.
#[test]
fn json_is_the_last_line_and_all_checks_hold() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (file, data) = (dirt_file(), text(&data));
    let words = [
        "run",
        "shop",
        "--json",
        "--input",
        text(&file),
        "--data",
        data,
    ];
    for (accepted, repeats) in [(29, 0), (0, 29)] {
        let output = output(&[&words[..], &["--partitions", "3"]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&report["topology"], &report["ok"]),
            (&"shop".into(), &true.into())
        );
        assert_eq!(
            (&report["lines"], &report["unreadable"]),
            (&15.into(), &2.into())
        );
        assert_eq!(report["partitions"], 3);
        assert_eq!(
            (&report["accepted"], &report["repeats"]),
            (&accepted.into(), &repeats.into())
        );
        for figure in ["seconds", "commands_per_second", "events_per_second"] {
            assert!(report[figure].is_number(), "{figure}");
        }
        let checks = report["checks"].as_array().unwrap();
        assert_eq!(checks.len(), 14);
        assert!(checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    }
}

#[test]
fn summary_says_what_people_want_to_know() {
    let file = dirt_file();
    // Without a command it is the shop that runs.
    for words in [&["--input"][..], &["run", "shop", "--input"]] {
        let output = output(&[words, &[text(&file)]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        for part in [
            "14 of 14 checks hold",
            "line 16, Quantity",
            "France",
            "lower-case-code",
        ] {
            assert!(stdout.contains(part), "{part}: {stdout}");
        }
    }
}

#[test]
fn exit_status_tells_failure_from_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.csv");
    let wrong: [&[&str]; 5] = [
        &["run"],
        &["run", "nothing"],
        &["run", "shop", "--partitions", "0"],
        &["run", "shop", "--list", "no-such-kind"],
        &["--partitions", "2", "verify", "data"],
    ];
    for words in wrong {
        assert_eq!(output(words).status.code(), Some(2), "{words:?}");
    }
    let failed = output(&["run", "shop", "--input", text(&missing)]);
    assert_eq!(failed.status.code(), Some(1));
    let stderr = String::from_utf8(failed.stderr).unwrap();
    assert!(stderr.contains("missing.csv"), "{stderr}");

    // A price that the direct pass refuses: the run is done, but its check fails.
    let odd = folder.path().join("odd.csv");
    std::fs::write(&odd, dirt().replace("1.255", "1.2555")).unwrap();
    let failed = output(&["run", "shop", "--input", text(&odd)]);
    assert_eq!(failed.status.code(), Some(1));
    let stderr = String::from_utf8(failed.stderr).unwrap();
    assert!(stderr.contains("1 of 1 checks do not hold"), "{stderr}");
}

/// Story: a line of the log that could not be written made the thread panic that wrote it, which was one of the engine's.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stderr_changes_no_exit_status() {
    let run = |words: &[&str]| {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command = millstream(words);
        // Of each run at least the lines that cannot be read.
        command.env("RUST_LOG", "trace").stderr(full.unwrap());
        command.output().unwrap()
    };
    let file = dirt_file();
    let ran = run(&["run", "shop", "--json", "--input", text(&file)]);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let stdout = String::from_utf8(ran.stdout).unwrap();
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(report["ok"], true);
    let failed = run(&["run", "shop", "--input", "missing.csv"]);
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn lines_of_a_kind_are_listed() {
    let file = dirt_file();
    let list = |kind: &str, more: &[&str]| {
        let words = ["run", "shop", "--input", text(&file), "--list", kind];
        let output = output(&[&words[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let lines = list("zero-price", &[]);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(
        lines.starts_with("line 10: 1007 22086 -7 x 0 at "),
        "{lines}"
    );
    let lines = list("unreadable", &["--json"]);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["line"], &first["field"]),
        (&16.into(), &"Quantity".into())
    );
}

/// Goal: a served run answers its metrics and ends in order, with status 0, when asked to. Method: nothing here depends
/// on time.
#[cfg(unix)]
#[test]
fn served_run_shows_metrics_until_a_signal() {
    let file = dirt_file();
    let served = Served::start(&["run", "shop", "--input", text(&file)]);
    let answer = served.metrics();
    let decided = "millstream_aggregate_commands_total";
    assert!(answer.contains(decided), "{answer}");
    let report = served.end();
    assert_eq!(report["ok"], true);
    // As far behind the last sale as lines of one batch are apart.
    assert_eq!(report["watermark"], "2010-11-29T06:00:00Z");
    assert_eq!(report["checks_hold"], 16);
}

/// A standard output whose reader has gone.
fn unread() -> Stdio {
    let (_, stdout) = std::io::pipe().unwrap();
    stdout.into()
}

/// Story: a run whose report nobody read ended with status 0 although its check had failed, as `head` behind it hides.
#[test]
fn a_failed_check_is_told_also_if_nobody_reads_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("odd.csv");
    std::fs::write(&odd, dirt().replace("1.255", "1.2555")).unwrap();
    for json in [&[][..], &["--json"]] {
        let mut command = millstream(&[&["run", "shop", "--input", text(&odd)], json].concat());
        let ran = command.stdout(unread()).output().unwrap();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        let stderr = String::from_utf8(ran.stderr).unwrap();
        assert!(stderr.contains("1 of 1 checks do not hold"), "{stderr}");
    }
    // What only prints has nothing more to say.
    let mut command = millstream(&["run", "shop", "--list", "cancellation"]);
    command.args(["--input", text(&dirt_file())]);
    let listed = command.stdout(unread()).output().unwrap();
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
}

/// Story: a shop whose report nobody read was not served, and ended with status 0.
#[cfg(unix)]
#[test]
fn a_shop_is_served_also_if_nobody_reads_the_report() {
    let file = dirt_file();
    let served = Served::start_into(unread(), &["run", "shop", "--input", text(&file)]);
    let answer = served.metrics();
    assert!(
        answer.contains("millstream_aggregate_commands_total"),
        "{answer}"
    );
    served.terminate();
}

/// The greatest value of a series that begins so; `None` if there is none.
#[cfg(unix)]
fn sample(metrics: &str, series: &str) -> Option<f64> {
    let lines = metrics.lines().filter(|line| line.starts_with(series));
    let values = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap());
    values.max_by(f64::total_cmp)
}

/// Goal: a served run has its dataflows in its metrics and its results in tables, beside the commands, and a second one goes
/// on from a checkpoint. Method: the metrics are asked until they have what is shown once a second.
#[cfg(unix)]
#[test]
fn served_run_has_its_dataflows_in_metrics_and_tables() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("part.csv"), folder.path().join("data"));
    std::fs::write(&file, first_lines(20_001)).unwrap();
    let words = ["run", "shop", "--input", text(&file), "--data", text(&data)];
    for is_first in [true, false] {
        let served = Served::start(&[&words[..], &["--partitions", "2"]].concat());
        let shown = |name: &str, stage: &str| {
            let series = format!("millstream_stage_{name}{{stage=\"sales/{stage}\",");
            sample(&served.metrics(), &series)
        };
        let stages = [
            "records", "hours", "weeks", "sessions", "units", "ranks", "undone", "latest",
            "repeats",
        ];
        for stage in stages {
            // A second start has nothing to take in: its windows come back from the checkpoint.
            let is_at_work = || {
                let items = shown("items_total", stage);
                (items > Some(0.0)) == is_first
                    && shown("busy_microseconds_total", stage) > Some(0.0)
            };
            while !is_at_work() || shown("watermark_seconds", stage).is_none() {
                std::thread::yield_now();
            }
            for name in ["idle_microseconds_total", "blocked_microseconds_total"] {
                assert!(shown(name, stage).is_some(), "{name} of {stage}");
            }
        }
        while shown("state_items", "sessions") <= Some(0.0) {
            std::thread::yield_now();
        }
        // The monitor shows them from its first look on.
        let spares = || sample(&served.metrics(), "millstream_runtime_spare_threads");
        while spares().is_none_or(|spares| spares < 1.0) {
            std::thread::yield_now();
        }
        let failed = sample(
            &served.metrics(),
            "millstream_dataflow_failed{dataflow=\"sales\"}",
        );
        assert_eq!(failed, Some(0.0));

        let report = served.end();
        assert_eq!(report["checks_hold"], 16, "{report}");
        assert_eq!(report["live_dataflows"], true);
        let watermark = report["watermark"].as_str().unwrap();
        assert!(watermark.starts_with("2010-12-"), "{watermark}");
        for name in ["revenue by country and hour", "refunds and their sales"] {
            let mut checks = report["checks"].as_array().unwrap().iter();
            let check = checks.find(|check| check["name"] == name).unwrap();
            let found = check["found"].as_str().unwrap();
            assert!(!found.starts_with("0 "), "{check}");
        }
        let listed = output(&["checkpoint", "list", text(&data), "sales", "--json"]);
        assert_eq!(listed.status.code(), Some(0), "{listed:?}");
        assert!(!listed.stdout.is_empty());
    }
    // Without being served they run over the log once, and nothing of them is kept.
    let report = output(&[&words[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(
        (&report["live_dataflows"], &report["checks_hold"]),
        (&false.into(), &14.into())
    );
}

/// The first lines of the published file.
fn first_lines(count: usize) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/online_retail.csv.zst");
    let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    let lines = text.split_inclusive(|&byte| byte == b'\n').take(count);
    lines.flatten().copied().collect()
}

/// Goal: a run that is killed several times comes to the same tables as one that was not, event for event.
/// Method: each kill comes once the log has grown, in the middle of whatever is in flight.
#[test]
fn killed_runs_go_on_without_a_second_effect() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("part.csv"), folder.path().join("data"));
    std::fs::write(&file, first_lines(60_001)).unwrap();
    let words = [
        "run",
        "shop",
        "--json",
        "--input",
        text(&file),
        "--data",
        text(&data),
    ];
    for target in [5_000, 30_000, 70_000] {
        let mut command = millstream(&words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        while events(&data) < target && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let stored = events(&data);
    let output = output(&words);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(report["checks_hold"], 14, "{report}");
    assert_eq!(count("events") + stored, count("log_events"));
    // The note of the file is an event that no command gave.
    assert_eq!(count("repeats") + 1, stored);
}
