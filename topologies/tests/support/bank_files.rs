//! A bank's history in the two files that `run bank` takes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use millstream::catalog::bank::berka::{ORDER_COLUMNS, TRANS_COLUMNS};

/// Writes so many accounts with one deposit each, which is two commands, into `folder`; gives the transactions and their order.
pub(crate) fn write_history(folder: &Path, accounts: u64) -> (PathBuf, PathBuf) {
    let (trans, order) = (folder.join("trans.asc"), folder.join("order.csv"));
    let (mut rows, mut places) = (TRANS_COLUMNS.join(";"), ORDER_COLUMNS.join(","));
    for account in 1..=accounts {
        write!(
            rows,
            "\n{account};{account};930101;PRIJEM;VKLAD;700.00;700.00;;;"
        )
        .unwrap();
        write!(places, "\n0,{account},{account},,,").unwrap();
    }
    std::fs::write(&trans, rows + "\n").unwrap();
    std::fs::write(&order, places + "\n").unwrap();
    (trans, order)
}
