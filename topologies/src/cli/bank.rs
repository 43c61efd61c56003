//! `run bank`: imports a real bank's history and checks every balance.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::catalog::StopSignal;
use crate::catalog::bank::{BankReport, run};

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
    /// Data folder, made if it is not there [default: a temporary one, deleted at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Partitions of a new data folder; for an old one no other number than it has [default: 4, or what the folder has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    partitions: Option<u16>,
}

impl BankArguments {
    /// Whether what is stored outlives the run.
    pub(super) const fn keeps_data(&self) -> bool {
        self.data.is_some()
    }
}

/// Runs it until it is asked to stop, and prints what it came to, with `is_json` as one line of JSON.
///
/// # Errors
/// Files that cannot be read, with line and field; an engine that does not open or does not end in order.
pub(super) async fn run_bank(
    arguments: &BankArguments,
    stop: &StopSignal,
    is_json: bool,
    out: &mut impl Write,
) -> Result<BankReport> {
    let temporary;
    let data = match &arguments.data {
        Some(data) => data.as_path(),
        None => {
            temporary = tempfile::tempdir().context("making a temporary data folder")?;
            temporary.path()
        }
    };
    let files = (arguments.trans.as_path(), arguments.order.as_path());
    let report = run::run_until(data, arguments.partitions, files, stop).await?;
    if is_json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()?;
    Ok(report)
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
            data: None,
            partitions: None,
        }
    }

    async fn output(arguments: BankArguments, is_json: bool) -> Result<(bool, String)> {
        let mut out = Vec::new();
        let stop = StopSignal::default();
        let report = run_bank(&arguments, &stop, is_json, &mut out).await?;
        Ok((report.is_good(), String::from_utf8(out)?))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_reports_as_text_and_as_one_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let (is_good, text) = output(arguments(folder.path()), false).await.unwrap();
        assert!(is_good);
        assert!(text.starts_with("1 transactions of 1 accounts"), "{text}");
        assert!(!text.contains("FAILED"), "{text}");
        let data = Some(folder.path().join("data"));
        for repeats in [0, 2] {
            let asked = BankArguments {
                data: data.clone(),
                ..arguments(folder.path())
            };
            let (is_good, text) = output(asked, true).await.unwrap();
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
        let mut asked = arguments(folder.path());
        let trans = std::fs::read_to_string(&asked.trans).unwrap();
        std::fs::write(&asked.trans, trans.replace("930101", "931301")).unwrap();
        let data = folder.path().join("data");
        asked.data = Some(data.clone());
        let error = output(asked, false).await.unwrap_err().to_string();
        assert!(
            error.ends_with("trans.asc, line 2, date: \"931301\" is not a date"),
            "{error}"
        );
        assert!(!data.exists());
    }
}
