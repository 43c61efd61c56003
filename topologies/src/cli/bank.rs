//! `run bank`: imports a real bank's history and checks every balance.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::run::keeping::{Bar, RunArguments, Stay, end};
use crate::catalog::StopSignal;
use crate::catalog::bank::BankReport;
use crate::catalog::bank::run::{Progress, import_until, open, read_history};

/// Runs the bank on the real history of the PKDD'99 challenge, and checks the balance after every transaction.
///
/// The data may not be shipped with this program: name the files where you have them. A second run over the same
/// data folder finds what the first one stored and changes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct BankArguments {
    /// The table `trans`, plain or compressed (.zst)
    #[arg(long, value_name = "FILE")]
    trans: PathBuf,
    /// In which order an account's transactions of one day happened: CSV, plain or compressed (.zst)
    #[arg(long, value_name = "FILE")]
    order: PathBuf,
    #[command(flatten)]
    pub(super) run: RunArguments,
}

/// Runs it in the folder `data` until it is asked to stop, prints what it came to, with `is_json` as one line of JSON, and
/// stays up where that was asked for.
///
/// # Errors
/// Files that cannot be read, with line and field; an engine that does not open or does not end in order.
pub(super) async fn run_bank(
    arguments: &BankArguments,
    data: &Path,
    (stop, stay): (&StopSignal, Option<Stay<'_>>),
    is_json: bool,
    out: &mut impl Write,
) -> Result<BankReport> {
    // Before the folder: a mistyped path must not leave an empty store behind.
    let history = read_history(&arguments.trans, &arguments.order)?;
    let engine = open(data, arguments.run.partitions).await?;
    let bar = Bar::new(is_json);
    let show = |progress: Progress| {
        let (sent, total) = (progress.transactions, progress.transactions_total);
        bar.show(sent, total, format!("{sent} transactions"));
    };
    let imported = import_until(&engine, &history, stop, &show).await;
    let imported = imported.map_err(anyhow::Error::from);
    bar.clear();
    let print = |report: &BankReport| print(report, is_json, out);
    end(&engine, imported, stay, print).await
}

fn print(report: &BankReport, is_json: bool, out: &mut impl Write) -> Result<()> {
    if is_json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::bank::berka::{ORDER_COLUMNS, TRANS_COLUMNS};

    /// A history of one deposit in files of their own.
    fn arguments(folder: &std::path::Path) -> BankArguments {
        let (trans, order) = (folder.join("trans.asc"), folder.join("order.csv"));
        let row = "1;42;930101;PRIJEM;VKLAD;700.00;700.00;;;\n";
        std::fs::write(&trans, format!("{}\n{row}", TRANS_COLUMNS.join(";"))).unwrap();
        std::fs::write(&order, format!("{}\n0,42,1,,,\n", ORDER_COLUMNS.join(","))).unwrap();
        BankArguments {
            trans,
            order,
            run: RunArguments::default(),
        }
    }

    async fn output(
        arguments: BankArguments,
        data: &Path,
        is_json: bool,
    ) -> Result<(bool, String)> {
        let mut out = Vec::new();
        let stop = (&StopSignal::default(), None);
        let report = run_bank(&arguments, data, stop, is_json, &mut out).await?;
        Ok((report.is_good(), String::from_utf8(out)?))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_reports_as_text_and_as_one_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let (data, other) = (folder.path().join("data"), folder.path().join("other"));
        let asked = arguments(folder.path());
        let (is_good, text) = output(asked, &other, false).await.unwrap();
        assert!(is_good);
        assert!(text.starts_with("1 transactions of 1 accounts"), "{text}");
        assert!(!text.contains("FAILED"), "{text}");
        for repeats in [0, 2] {
            let asked = arguments(folder.path());
            let (is_good, text) = output(asked, &data, true).await.unwrap();
            assert_eq!((is_good, text.lines().count()), (true, 1));
            let line: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&line["ok"], &line["repeats"]),
                (&true.into(), &repeats.into())
            );
            assert_eq!(line["checks"].as_array().unwrap().len(), 8);
        }
    }

    #[tokio::test]
    async fn a_bad_field_is_named_and_no_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let asked = arguments(folder.path());
        let trans = std::fs::read_to_string(&asked.trans).unwrap();
        std::fs::write(&asked.trans, trans.replace("930101", "931301")).unwrap();
        let data = folder.path().join("data");
        let error = output(asked, &data, false).await.unwrap_err().to_string();
        assert!(
            error.ends_with("trans.asc, line 2, date: \"931301\" is not a date"),
            "{error}"
        );
        assert!(!data.exists());
    }
}
