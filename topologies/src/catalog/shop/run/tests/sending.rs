//! Runs over small files of their own: what is sent, and what is not sent again.

use std::path::PathBuf;

use super::{money, run_file};

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
