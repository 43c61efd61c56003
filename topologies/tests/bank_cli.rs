//! `run bank` as it is seen from outside, with what it shares with the other runs of an engine.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/bank_files.rs"]
mod bank_files;
#[path = "support/cli.rs"]
mod cli;
#[path = "support/served.rs"]
mod served;

use std::sync::Mutex;

use millstream::catalog::StopSignal;
use millstream::catalog::bank::run::{import_until, open, read_history};

use bank_files::write_history;
use cli::events;
use served::Served;

/// Goal: a served bank answers its metrics and ends in order, with status 0, when asked to, and keeps its folder. Method: nothing
/// here depends on time; the second run finds all that the first one stored.
#[test]
fn a_served_bank_shows_metrics_until_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let (trans, order) = write_history(folder.path(), 3);
    let data = folder.path().join("data");
    let [trans, order, kept] = [&trans, &order, &data].map(|path| path.to_str().unwrap());
    let words = [
        "run",
        "bank",
        "--trans",
        trans,
        "--order",
        order,
        "--data",
        kept,
        "--partitions",
        "2",
    ];
    for repeats in [0, 6] {
        let served = Served::start(&words);
        let answer = served.metrics();
        for series in [
            "millstream_aggregate_commands_total{",
            "millstream_projection_events_total{",
        ] {
            assert!(answer.contains(series), "{series}: {answer}");
        }
        let report = served.end();
        assert_eq!(
            (&report["ok"], &report["repeats"]),
            (&true.into(), &repeats.into()),
            "{report}"
        );
        assert_eq!(events(&data), 6);
    }
}

/// Goal: the bar goes on while transactions are sent, and is full once all of them are. Method: more than two bulks of commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_goes_on_to_the_last_transaction() {
    const ACCOUNTS: u64 = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let (trans, order) = write_history(folder.path(), ACCOUNTS);
    let history = read_history(&trans, &order).unwrap();
    let engine = open(&folder.path().join("data"), Some(2)).await.unwrap();
    let told = Mutex::new(Vec::new());
    let tell = |progress| told.lock().unwrap().push(progress);
    let imported = import_until(&engine, &history, &StopSignal::default(), &tell).await;
    assert!(imported.unwrap().is_good());
    engine.shutdown().await.unwrap();

    let told = told.into_inner().unwrap();
    assert!(told.iter().all(|told| told.transactions_total == ACCOUNTS));
    let told: Vec<_> = told.iter().map(|told| told.transactions).collect();
    assert!(told.len() > 2 && told.is_sorted(), "{told:?}");
    assert!(told[0] > 0 && told[0] < ACCOUNTS, "{told:?}");
    assert_eq!(told.last(), Some(&ACCOUNTS));
}
