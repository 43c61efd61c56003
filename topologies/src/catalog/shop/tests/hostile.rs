//! Files that never were: bad fields, bad headers, noise.

use proptest::prelude::*;

use crate::catalog::shop::commands::commands;
use crate::catalog::shop::line::{COLUMNS, InvoiceLine, InvoiceLines};
use crate::catalog::shop::oracle;
use crate::catalog::shop::rules::{self, Findings};
use crate::catalog::table::TableError;

fn read(bytes: Vec<u8>) -> Result<Vec<Result<InvoiceLine, TableError>>, TableError> {
    Ok(InvoiceLines::from_reader("hostile.csv", std::io::Cursor::new(bytes))?.collect())
}

fn with_header(rows: &[u8]) -> Vec<u8> {
    [COLUMNS.join(",").as_bytes(), b"\n", rows].concat()
}

/// A bad row, and what is said about it.
const BAD_ROWS: [(&[u8], &str); 15] = [
    (b"536365", "StockCode: the column is missing"),
    (
        b"5,8,,6,2010-12-01 08:26,2.55,1",
        "Country: the column is missing",
    ),
    (
        b"5,8,,6,2010-12-01 08:26,2.55,1,France,x",
        "Country: the row has 9 columns, 8 expected",
    ),
    (
        b"5,8,\xff,6,2010-12-01 08:26,2.55,1,France",
        "Description: not UTF-8",
    ),
    (b",8,,6,2010-12-01 08:26,2.55,1,France", "InvoiceNo: empty"),
    (
        b"5,8@1,,6,2010-12-01 08:26,2.55,1,France",
        "StockCode: '@' may not be part of an id",
    ),
    (
        b"5,8\t,,6,2010-12-01 08:26,2.55,1,France",
        "StockCode: '\\t' may not be part of an id",
    ),
    (
        b"5,8,,6.5,2010-12-01 08:26,2.55,1,France",
        "Quantity: \"6.5\" is not a number",
    ),
    (
        b"5,8,,2000000000,2010-12-01 08:26,1,1,France",
        "Quantity: \"2000000000\" is out of range",
    ),
    (
        b"5,8,,-9223372036854775808,2010-12-01 08:26,1,1,France",
        "Quantity: \"-9223372036854775808\" is out of range",
    ),
    (
        b"5,8,,6,2010-13-01 08:26,2.55,1,France",
        "InvoiceDate: \"2010-13-01 08:26\" is not a date",
    ),
    (
        b"5,8,,6,2010-12-01 08:26,1e9,1,France",
        "UnitPrice: \"1e9\" is not a number",
    ),
    (
        b"5,8,,6,2010-12-01 08:26,2000000000,1,France",
        "UnitPrice: \"2000000000\" is out of range",
    ),
    (
        b"5,8,,6,2010-12-01 08:26,0.00001,1,France",
        "UnitPrice: \"0.00001\" is out of range",
    ),
    (
        b"5,8,,6,2010-12-01 08:26,2.55,guest.5,France",
        "CustomerID: the prefix \"guest.\" is reserved",
    ),
];

/// Goal: each bad field is named with its line, and the good line behind it is still read.
#[test]
fn bad_rows_are_named_and_passed() {
    let good = "536365,85123A,LAMP,6,2010-12-01 08:26,2.55,17850,France";
    for line_end in ["\n", "\r\n"] {
        for (bad, expected) in BAD_ROWS {
            let header = COLUMNS.join(",");
            let end = line_end.as_bytes();
            let bytes = [
                header.as_bytes(),
                end,
                good.as_bytes(),
                end,
                bad,
                end,
                good.as_bytes(),
            ]
            .concat();
            let lines = read(bytes).unwrap();
            let numbers: Vec<_> = lines
                .iter()
                .map(|line| line.as_ref().ok().map(|line| line.number))
                .collect();
            assert_eq!(numbers, [Some(2), None, Some(4)], "{expected}");
            let error = lines[1].as_ref().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("hostile.csv, line 3, {expected}")
            );
            let Err(TableError::Bad(bad)) = &lines[1] else {
                panic!("{error}")
            };
            let mut findings = Findings::default();
            findings.add_unreadable(bad.clone());
            assert_eq!(
                (findings.unreadable, findings.unreadable_first.len()),
                (1, 1)
            );
        }
    }
}

#[test]
fn wrong_header_is_named_column_by_column() {
    let text = "InvoiceNo,Code,Description,Quantity,InvoiceDate,UnitPrice,CustomerID\n";
    let error = read(text.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "hostile.csv has another header: column 2: \"Code\" instead of StockCode; \
         column 8: Country is missing"
    );
    let more = [COLUMNS.join(",").as_str(), ",Tax\r\n"].concat();
    let error = read(more.into()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("column 9: \"Tax\" is not expected"),
        "{error}"
    );
    let TableError::Header { columns, .. } = read(Vec::new()).unwrap_err() else {
        panic!("empty")
    };
    assert_eq!(columns.len(), 8);
}

/// Goal: an open quote does not take the file into memory.
#[test]
fn endless_row_ends_the_reading() {
    let mut bytes = with_header(b"5,\"");
    bytes.resize(8 << 20, b'\n');
    let lines = read(bytes).unwrap();
    assert_eq!(lines.len(), 1);
    assert!(matches!(lines[0], Err(TableError::Read { .. })));
}

/// Goal: no bytes make the reader panic, and none are read as a line outside of the limits.
#[test]
fn any_bytes_are_lines_or_errors() {
    let field = prop_oneof![
        Just("6".to_owned()),
        Just("2.55".to_owned()),
        Just("2010-12-01 08:26".to_owned()),
        Just("\"".to_owned()),
        any::<i128>().prop_map(|number| number.to_string()),
        ".{0,12}",
    ];
    let row = proptest::collection::vec(field, 0..10).prop_map(|fields| fields.join(","));
    let rows = proptest::collection::vec(row, 0..6).prop_map(|rows| rows.join("\n").into_bytes());
    let noise = proptest::collection::vec(any::<u8>(), 0..200);
    proptest!(|(bytes in prop_oneof![rows, noise])| {
        let _ = read(bytes.clone());
        let _ = oracle_of(&bytes);
        let mut findings = Findings::default();
        for line in read(with_header(&bytes)).unwrap() {
            match line {
                Ok(line) => {
                    findings.add(&line);
                    prop_assert_eq!(rules::kind(&line), commands(&line).kind);
                }
                Err(TableError::Bad(bad)) => findings.add_unreadable(bad),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    });
}

fn oracle_of(bytes: &[u8]) -> Result<oracle::Totals, oracle::OracleError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    oracle::totals(file.path())
}
