//! The real bank's history, and what is told of a bad one.

use std::collections::HashMap;
use std::io::Cursor;

use compact_str::CompactString;
use jiff::civil::date;

use super::*;
use crate::catalog::bank::account::ROUNDING_MAX;
use crate::catalog::bank::berka::{
    BerkaError, BerkaReport, History, INCOMPLETE_FROM, ORDER_COLUMNS, TRANS_COLUMNS,
};
use crate::catalog::bank::ledger::World;
use crate::catalog::testing::shared_data;

/// Goal: after each of the bank's transactions every account has the balance that the bank recorded.
#[test]
fn real_history_has_every_recorded_balance() {
    let trans = shared_data("berka/trans_prefix.asc.zst");
    let order = shared_data("berka/order_found.csv.zst");
    let (Some(trans), Some(order)) = (trans, order) else {
        return;
    };
    let history = History::open(&trans, &order, INCOMPLETE_FROM).unwrap();
    let mut accounts: HashMap<CompactString, Account> = HashMap::new();
    let mut ledger = Ledger::default();
    let mut last_us = i64::MIN;
    let mut below_zero = 0;
    for step in history.steps() {
        assert!(last_us <= step.at_us);
        last_us = step.at_us;
        let account = accounts.entry(step.id.clone()).or_default();
        for command in step.open.into_iter().chain([step.entry]).chain(step.round) {
            let events = send(account, command).unwrap_or_else(|refused| {
                panic!(
                    "line {} of account {}: {refused}",
                    step.recorded.line, step.id
                )
            });
            events
                .iter()
                .for_each(|event| ledger.apply(&step.id, event));
            assert_eq!(ledger.sum(), 0);
        }
        assert_eq!(
            account.balance(),
            step.recorded.balance,
            "line {}",
            step.recorded.line
        );
        below_zero += u64::from(account.balance() < Cents::ZERO);
    }
    let expected = BerkaReport {
        transactions: 46_997,
        accounts: 1_229,
        overdrafts: 26,
        exact: 44_966,
        rounded: 2_031,
        rounding_sum: Cents::new(-4_270),
        rounding_max: ROUNDING_MAX,
    };
    let balances = accounts
        .values()
        .map(|account| i128::from(account.balance().hundredths()));
    assert_eq!((ledger.owed(), ledger.sum_anew()), (balances.sum(), 0));
    let rounding_sum = i128::from(history.report().rounding_sum.hundredths());
    assert_eq!(ledger.world(World::Rounding), -rounding_sum);
    assert_eq!((history.report(), below_zero), (expected, 88));
}

fn import(trans: &str, order: &str) -> Result<History, BerkaError> {
    let header: Vec<_> = TRANS_COLUMNS
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    let trans = format!("{}\r\n{trans}", header.join(";"));
    let order = format!("{}\n{order}", ORDER_COLUMNS.join(","));
    History::from_readers(Cursor::new(trans), Cursor::new(order), date(1994, 3, 31))
}

const DEPOSIT: &str = "1;42;930101;\"PRIJEM\";\"VKLAD\";700.00;700.00;\"\";;\r\n";

#[test]
fn order_rounding_and_limit_are_found() {
    let trans = [
        "2;42;930102;\"VYDAJ\";\"VYBER KARTOU\";750.00;-50.00;\" \";;\r\n",
        "3;42;930102;\"VYDAJ\";\"VYBER\";10.00;-60.10;\"SANKC. UROK\";;\r\n",
        DEPOSIT,
        "4;42;940331;\"WHAT\";\"\";1.00;1.00;\"\";;\r\n",
    ];
    let order = "0,42,1,930101,2,0\n1,42,2,930102,0,0\n2,42,3,930102,1,-10\n";
    let history = import(&trans[..3].concat(), order).unwrap();
    let steps: Vec<_> = history.steps().collect();
    assert_eq!(
        steps
            .iter()
            .map(|step| step.recorded.id)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(
        steps[0].open,
        Some(AccountCommand::Open {
            overdraft_limit: cents("50")
        })
    );
    assert_eq!((&steps[1].open, &steps[1].round), (&None, &None));
    let round = AccountCommand::Round {
        difference: cents("-0.10"),
        reference: 3,
    };
    assert_eq!(steps[2].round, Some(round));
    assert_eq!(history.accounts().collect::<Vec<_>>(), [(42, cents("50"))]);
    // A word that is not known is an error on days left out, too.
    let error = import(&trans.concat(), order).unwrap_err();
    assert_eq!(
        error.to_string(),
        "trans, line 5, type: \"WHAT\" is not a known word"
    );
}

#[test]
fn bad_history_is_named_by_line_and_field() {
    let place = "0,42,1,930101,0,0\n";
    for (trans, order, expected) in [
        (
            DEPOSIT.replace("700.00;7", "700.001;7"),
            place,
            "trans, line 2, amount: \"700.001\" is not a number",
        ),
        (
            DEPOSIT.replace("700.00;7", "0.00;7"),
            place,
            "trans, line 2, amount: \"0.00\" is out of range",
        ),
        (
            DEPOSIT.replace("930101", "931301"),
            place,
            "trans, line 2, date: \"931301\" is not a date",
        ),
        (
            DEPOSIT.replace("VKLAD", "VYBER"),
            place,
            "trans, line 2, operation: \"VYBER\" is not a known word",
        ),
        (
            DEPOSIT.replace("\"\";;", "\"SLUZBY\";;"),
            place,
            "trans, line 2, k_symbol: \"SLUZBY\" is not a known word",
        ),
        (
            DEPOSIT.replace(";700.00;\"", ";700.11;\""),
            place,
            "trans, line 2, balance: 700.11 recorded, 700.00 computed",
        ),
        (
            DEPOSIT.repeat(2),
            place,
            "trans, line 3, trans_id: the order has no transaction 1 of account 42",
        ),
        (
            DEPOSIT.to_owned(),
            "",
            "trans, line 2, trans_id: the order has no transaction 1 of account 42",
        ),
        (
            DEPOSIT.to_owned(),
            "0,42,1,,,\n1,42,1,,,\n",
            "order, line 3, trans_id: transaction 1 is there twice",
        ),
        (
            DEPOSIT.to_owned(),
            "-1,42,1,,,\n",
            "order, line 2, seq: \"-1\" is not a number",
        ),
    ] {
        assert_eq!(import(&trans, order).unwrap_err().to_string(), expected);
    }
}

/// Goal: no rows make the import panic.
#[test]
fn any_rows_are_history_or_errors() {
    let field = prop_oneof![
        Just("1".to_owned()),
        Just("930101".to_owned()),
        Just("PRIJEM".to_owned()),
        Just("VKLAD".to_owned()),
        Just("\"".to_owned()),
        Just("-92233720368547758.08".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        ".{0,8}",
    ];
    let row = proptest::collection::vec(field, 0..12);
    let amount = || any::<i64>().prop_map(|hundredths| Cents::new(hundredths).to_string());
    let nearly = (amount(), amount()).prop_map(|(amount, balance)| {
        DEPOSIT.replace("700.00;700.00", &format!("{amount};{balance}"))
    });
    proptest!(|(row in row, nearly in nearly)| {
        let _ = import(&row.join(";"), &row.join(","));
        let _ = import(&nearly, "0,42,1,930101,0,0\n");
    });
}
