//! Looking at the past: `stream show --at` and `log read --from-time`.

use std::sync::Arc;

use millstream_engine::time::ManualClock;
use millstream_operators::aggregate::CommandOptions;

use super::*;

/// `counter-a` with events recorded at 10, 20, 30 and 40 seconds, of which version 2 happened at 5 seconds.
async fn clocked(folder: &Path) {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let topology = Topology::named("counters").aggregate::<Counter>().build();
    let builder = Engine::open(folder)
        .partitions(1)
        .clock(Arc::clone(&clock) as _);
    let engine = builder.run(topology.unwrap()).await.unwrap();
    for (seconds, happened) in [(10, None), (20, None), (30, Some(5)), (40, None)] {
        clock.set(Timestamp::from_seconds(seconds));
        let options = CommandOptions {
            event_time: happened.map(Timestamp::from_seconds),
            ..CommandOptions::default()
        };
        let cleared = engine.send_with::<Counter>("a", Counted::Cleared, options);
        cleared.await.unwrap();
    }
    engine.shutdown().await.unwrap();
}

fn versions(words: &[&str], folder: &Path) -> Vec<u64> {
    let events = json(&output(words, folder).unwrap());
    let version = |event: &Value| event["version"].as_u64().unwrap();
    events.iter().map(version).collect()
}

#[tokio::test]
async fn a_stream_is_shown_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    clocked(folder.path()).await;
    let show = |words: &[&str]| {
        let mut all = vec!["--json", "stream", "show", "DATA", "counter-a", "--at"];
        all.extend(words);
        versions(&all, folder.path())
    };
    for (moment, expected) in [
        ("1", &[0, 1][..]),
        ("version=9", &[0, 1, 2, 3]),
        ("0:2", &[0, 1, 2]),
        ("position=0:0", &[0]),
        ("recorded=1970-01-01T00:00:29.999999Z", &[0, 1]),
        ("recorded=1970-01-01T00:00:30Z", &[0, 1, 2]),
        ("recorded=1970-01-01T00:00:00Z", &[]),
        ("event=1970-01-01T00:00:15Z", &[0, 2]),
        ("event=1970-01-01T00:00:04Z", &[]),
    ] {
        assert_eq!(show(&[moment]), expected, "{moment}");
        let backwards: Vec<_> = expected.iter().rev().copied().collect();
        assert_eq!(show(&[moment, "--backwards"]), backwards, "{moment}");
    }
    assert_eq!(show(&["2", "--backwards", "--limit", "1"]), [2]);
    assert_eq!(show(&["2", "--from", "1"]), [1, 2]);
    assert_eq!(show(&["2", "--limit", "0"]), [0u64; 0]);
    let failure = |moment: &str| {
        let words = ["stream", "show", "DATA", "counter-a", "--at", moment];
        output(&words, folder.path()).unwrap_err().to_string()
    };
    assert!(
        failure("0:4").contains("ahead of the log"),
        "{}",
        failure("0:4")
    );
    assert!(failure("1:0").contains("partition 0"), "{}", failure("1:0"));
    let unnamed = failure("1970-01-01T00:00:30Z");
    assert!(unnamed.contains("recorded=1970"), "{unnamed}");
}

#[tokio::test]
async fn a_log_is_read_from_a_time_on() {
    let folder = tempfile::tempdir().unwrap();
    clocked(folder.path()).await;
    let read = |seconds: &str| {
        let time = format!("1970-01-01T00:00:{seconds}Z");
        let words = ["--json", "log", "read", "DATA", "--from-time", &time];
        versions(&words, folder.path())
    };
    assert_eq!(read("00"), [0, 1, 2, 3]);
    assert_eq!(read("20"), [1, 2, 3]);
    assert_eq!(read("20.000001"), [2, 3]);
    assert_eq!(read("41"), [0u64; 0]);
    let both = [
        "log",
        "read",
        "DATA",
        "--from",
        "1",
        "--from-time",
        "1970-01-01T00:00:00Z",
    ];
    assert!(output(&both, folder.path()).is_err());
}
