//! Runs over small files of their own: what is sent, and what is not sent again.

use std::path::PathBuf;

use super::{dirt_file, first_lines, money, options, run_file};
use crate::catalog::shop::run::{Progress, import, open_remembering};
use crate::catalog::shop::{ShopError, ShopOptions, ShopReport};

const HEADER: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

/// A file of these lines in `folder`.
fn file(folder: &tempfile::TempDir, lines: &str) -> PathBuf {
    let path = folder.path().join("lines.csv");
    std::fs::write(&path, format!("{HEADER}{lines}")).unwrap();
    path
}

/// Story: a valid file failed its checks, since a guest's refund was matched with what stood as bought on the same
/// cancellation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refund_of_a_guest_is_without_a_purchase_for_engine_and_oracle() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "C1,X,,5,2010-12-01 08:00,2.00,,UK\nC1,X,,-5,2010-12-01 08:00,2.00,,UK\n";
    let path = file(&folder, lines);
    let data = folder.path().join("data");
    for (unmatched, repeats) in [(1, 0), (0, 4)] {
        let report = run_file(&path, &data).await;
        assert!(report.is_ok(), "{:#?}", report.checks);
        let counts = &report.counts;
        assert_eq!(
            (counts.unmatched_refunds, counts.repeats),
            (unmatched, repeats)
        );
        assert_eq!(report.revenue(), money("0"));
    }
}

/// A run whose partitions remember the ids of so many events.
async fn run_remembering(
    events_max: u64,
    options: &ShopOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ShopReport, ShopError> {
    let engine = open_remembering(events_max, options).await?;
    let report = import(&engine, options, progress).await;
    engine.shutdown().await.unwrap();
    report
}

/// Story: partitions remember the ids of so many events. A larger file was interrupted and begun again, as told, and what was
/// forgotten of it was bought once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_beyond_what_is_remembered_has_no_second_effect() {
    const REMEMBERED: u64 = 120_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part.csv");
    std::fs::write(&path, first_lines(100_001)).unwrap();
    let options = ShopOptions {
        partitions: Some(1),
        ..options(&path, &folder.path().join("data"))
    };
    let stopped = ShopOptions {
        stop: Default::default(),
        ..options.clone()
    };
    // The reader is ahead by what waits, which is less than what is left of the file.
    let late = |progress: Progress| {
        if progress.lines > 65_000 {
            stopped.stop.stop();
        }
    };
    let first = run_remembering(REMEMBERED, &stopped, &late).await.unwrap();
    assert!(first.interrupted && first.log_events > REMEMBERED);

    let mut accepted = first.counts.accepted;
    for is_second in [true, false] {
        let report = run_remembering(REMEMBERED, &options, &|_| {})
            .await
            .unwrap();
        assert!(report.is_ok(), "{:#?}", report.checks);
        assert_eq!(report.lines, 100_000);
        assert!(report.begun_behind > 30_000 && report.begun_behind < report.last_line);
        assert_eq!(report.counts.accepted > 0, is_second);
        accepted += report.counts.accepted;
        assert_eq!(accepted + report.notes, report.log_events);
    }
}

/// Goal: a folder that says nowhere how far the file was sent, and has forgotten some of it, takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forgotten_without_a_note_is_not_sent_again() {
    let data = tempfile::tempdir().unwrap();
    let first = run_file(&dirt_file(), data.path()).await;
    let options = options(&dirt_file(), data.path());
    let refused = run_remembering(2, &options, &|_| {}).await.unwrap_err();
    assert!(
        matches!(refused, ShopError::Forgotten { remembered: 2, .. }),
        "{refused}"
    );
    let again = run_file(&dirt_file(), data.path()).await;
    assert_eq!(again.log_events, first.log_events);
}
